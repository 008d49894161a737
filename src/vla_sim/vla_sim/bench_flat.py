"""What the flat costs: `./vla python -m vla_sim.bench_flat [--seeds 0 4] [--seconds 2]`, JSON on stdout.

Times are CPU times of this process, so a busy machine changes them by cache misses only. Real-time factors are
simulated seconds per second of one core: of physics alone, with lidars, IMU and odometry at their rates, and with
colour and depth of both cameras at theirs too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.world import FlatWorld

_CALLS = 20


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 4], help="flats (default 0 4)")
    parser.add_argument("--seconds", type=float, default=2.0, help="simulated time per row (default 2)")
    args = parser.parse_args()
    world = FlatWorld()
    print(json.dumps([measure(world, seed, args.seconds) for seed in args.seeds], indent=1))


def measure(world: FlatWorld, seed: int, seconds: float) -> dict[str, float]:
    """Figures of one flat: real-time factors, and CPU time per call [ms]."""
    begun = time.process_time()
    world.reset(seed)
    row: dict[str, float] = {"seed": seed, "reset_ms": 1e3 * (time.process_time() - begun), "geoms": world.model.ngeom}
    cameras = RgbdCameras(world)
    row["rtf_physics"] = factor(world, seconds, {})
    every: dict[Callable[[], object], float] = {
        lambda: world.imu.read(world.data): float(world.scene["imu"]["rate_hz"]),
        lambda: world.lidar_2d.scan(world.model, world.data): world.lidar_2d.config.rate_hz,
        lambda: world.lidar_3d.points(world.lidar_3d.scan(world.model, world.data)): world.lidar_3d.config.rate_hz,
    }
    row["rtf_without_cameras"] = factor(world, seconds, every)
    for camera in world.scene["cameras"]:
        for picture in (cameras.rgb, cameras.depth):
            picture(camera["name"])
            shoot = lambda shot=picture, name=camera["name"]: shot(name)  # noqa: E731
            row[f"{camera['name']}_{picture.__name__}_ms"] = cost_ms(shoot)
            every[shoot] = camera["rate_hz"]
    row["lidar_2d_ms"] = cost_ms(lambda: world.lidar_2d.scan(world.model, world.data))
    row["lidar_3d_ms"] = cost_ms(lambda: world.lidar_3d.scan(world.model, world.data))
    row["rtf_all_sensors"] = factor(world, seconds, every)
    cameras.close()
    return {key: round(value, 2) for key, value in row.items()}


def factor(world: FlatWorld, seconds: float, every: dict[Callable[[], object], float]) -> float:
    """Simulated seconds per CPU second while the base turns slowly; `every` are sensors with their rates [Hz]."""
    timestep_s, home = float(world.model.opt.timestep), world.robot.home_rad
    due = [(read, round(1.0 / (rate * timestep_s))) for read, rate in every.items()]
    width, force = np.array([0.0]), np.array([10.0])
    begun = time.process_time()
    for i in range(round(seconds / timestep_s)):
        if i % 50 == 0:
            world.command_base(0.05, 0.6)
        world.step(home, width, force)
        for read, steps in due:
            if i % steps == 0:
                read()
    return seconds / (time.process_time() - begun)


def cost_ms(call: Callable[[], object]) -> float:
    """CPU time of a call [ms]."""
    begun = time.process_time()
    for _ in range(_CALLS):
        call()
    return 1e3 * (time.process_time() - begun) / _CALLS


if __name__ == "__main__":
    main()
