"""`vla bench ik`: inverse kinematics of chunks with and without collision barriers, high up and at the table."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vla_bringup.statistics import rounded, spread
from vla_control.core.ik import ChunkIk
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel, load_robot_config
from vla_core import tool_steps
from vla_core.types import Float64

STEPS, DT_S = 20, 0.05
#: Motion → lowest point of the tool [m] above the table; the hand ends 4 cm above the tool.
MOTIONS = {"free": 0.15, "hand pressed towards the table": -0.045}
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench ik`."""
    parser.add_argument("--chunks", type=int, default=300, help="chunks of 20 steps per row (default 300)")
    parser.add_argument("--robot", default="panda", help="robot, a file of config/robots with a section `collision`")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--chunks", f"{args.chunks}", "--robot", args.robot]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Time on the CPU of this thread; a busy machine lengthens it by cache misses only."""
    config, rows = load_robot_config(args.robot), []
    guarded, bare = RobotModel(config), RobotModel(replace(config, collision=None))
    for motion, lowest_m in MOTIONS.items():
        poses = swaying(guarded, args.chunks, lowest_m)
        for barriers, robot in (("with barriers", guarded), ("without", bare)):
            say(f"{motion}, {barriers}")
            rows += _measure(robot, guarded, poses, f"{motion}, {barriers}")
    return rows


def swaying(robot: RobotModel, chunks: int, lowest_m: float) -> Float64:
    """Tool poses (N,7) of a motion over the table that begins at home and dips to `lowest_m` again and again."""
    position, quaternion = robot.tool_pose(robot.config.home_rad)
    time_s = DT_S * np.arange(chunks * STEPS)
    dip = position[2] - lowest_m
    moves = [
        0.06 * np.sin(0.9 * time_s), 0.2 * np.sin(0.7 * time_s), -0.5 * dip * (1 - np.cos(0.5 * time_s)),
        0.2 * np.sin(0.8 * time_s), 0.2 * np.sin(0.6 * time_s), 0.4 * np.sin(0.5 * time_s),
    ]  # fmt: skip
    return tool_steps.moved(np.concatenate([position, quaternion])[None], np.stack(moves, 1), "base")


def _measure(robot: RobotModel, judge: RobotModel, poses: Float64, where: str) -> list[Row]:
    params = replace(ExecutorParameters.from_config(), leash_m=1.0, leash_rad=3.0)
    ik, collision = ChunkIk(robot, params), judge.collision_model()
    assert collision is not None
    q, chunk_us, problem_us, nearest_m = robot.config.home_rad, [], [], np.inf
    for chunk in poses.reshape(-1, STEPS, 7):
        before, begin = ik.problems, time.thread_time_ns()
        path = ik.solve(chunk[:, :3], chunk[:, 3:], q, DT_S)
        spent_us = (time.thread_time_ns() - begin) * 1e-3
        chunk_us.append(spent_us)
        problem_us.append(spent_us / (ik.problems - before))
        q = path.q_rad[-1]
        nearest_m = min(nearest_m, *(float(collision.distances(row).min()) for row in path.q_rad))
    kept = {"nearest_mm": rounded(1e3 * nearest_m)}
    return [
        {
            "measure": "one problem of inverse kinematics",
            "conditions": where,
            "unit": "µs",
            **spread(problem_us),
            **kept,
        },
        {"measure": f"chunk of {STEPS} poses", "conditions": where, "unit": "µs", **spread(chunk_us), **kept},
    ]
