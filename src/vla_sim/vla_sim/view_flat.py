"""Pictures of a flat: `./vla python -m vla_sim.view_flat OUT.png [--seed 0] [--split train] [--instruction TEXT]`.

From above, and what the robot's cameras see where it starts. The instruction is printed.
"""

from __future__ import annotations

import argparse

import cv2
import mujoco
import numpy as np

from vla_core.types import UInt8
from vla_sim.core.flat.errands import SPLITS
from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.world import FlatWorld


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="picture to write, .png or .jpg")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--instruction", default="", help="build the flat for this errand")
    args = parser.parse_args()
    world = FlatWorld()
    print(world.reset(args.seed, args.instruction or None, args.split))
    cameras = RgbdCameras(world, {"front": (320, 240), "wrist": (240, 240)})
    row = np.concatenate([from_above(world), cameras.rgb("front"), cameras.rgb("wrist")], axis=1)
    cameras.close()
    cv2.imwrite(args.out, cv2.cvtColor(row, cv2.COLOR_RGB2BGR))


def from_above(world: FlatWorld, width: int = 320, height: int = 240) -> UInt8:
    """The whole flat, a little from the south, uint8 (height,width,3)."""
    outline = world.plan.floor.outline
    camera = mujoco.MjvCamera()
    camera.lookat = [*outline.centre, 0.0]
    camera.azimuth, camera.elevation = 90.0, -70.0
    camera.distance = 1.45 * max(outline.y1, outline.x1 * height / width) + 0.6
    renderer = mujoco.Renderer(world.model, height, width)
    renderer.update_scene(world.data, camera)
    picture: UInt8 = renderer.render().copy()
    renderer.close()
    return picture


if __name__ == "__main__":
    main()
