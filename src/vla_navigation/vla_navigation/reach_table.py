"""Make the reach table of a robot's arm, which approaching needs: `./vla python -m vla_navigation.reach_table`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from vla_control.core.robot import RobotModel
from vla_core.errors import VlaError
from vla_core.files import asset_path
from vla_navigation.core.approach.reach_map import ReachMap

DISTANCES_M = np.arange(0.10, 0.50, 0.02)
HEIGHTS_M = np.arange(0.0, 0.62, 0.02)


def table_path(robot: str) -> Path:
    """Where the table of a robot lies: beside its model."""
    return asset_path("vla_description/robots") / robot / "reach.npz"


def main(arguments: list[str] | None = None) -> int:
    """Write the table and say what it holds; 2 after a VlaError, as a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", default="so101_mobile", help="a file of config/robots")
    parser.add_argument("--out", type=Path, help="file (default: beside the robot's model)")
    args = parser.parse_args(arguments)
    try:
        made = ReachMap.of(RobotModel.load(args.robot), DISTANCES_M, HEIGHTS_M)
    except VlaError as error:
        print(f"ERROR {error.code}: {error}", file=sys.stderr)
        return 2
    path = args.out or table_path(args.robot)
    made.save(path)
    lines = [f"{h:5.2f} m | " + "".join(" .:-=+*#%@"[round(9 * s)] for s in made.share[:, k])
             for k, h in reversed(list(enumerate(made.height_m)))]  # fmt: skip
    print("\n".join(lines))
    print(
        f"wrote {path}: share of hand directions, {made.distance_m[0]:.2f} to {made.distance_m[-1]:.2f} m from the pan"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
