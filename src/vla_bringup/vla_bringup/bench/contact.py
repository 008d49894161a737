"""`vla bench contact`: the force of the arm on a wall of 20 kN/m at 0.1 m/s, under every control law.

Chunks arrive 50 ms after the observation that they answer. One policy doesn't feel the wall and wants to get 5 cm
behind it, another one holds where it had got to as soon as a sensor feels 5 N. The force is that of the wall's own
spring. Under the stiff loop the wrist reaches its torque limit and the arm folds, which bounds the steady force.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vla_bringup.bench.wall import Wall
from vla_bringup.statistics import rounded
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel, load_robot_config
from vla_core.contract import load_contract
from vla_core.types import Float64

SPEED_M_S, DELAY_S, BEHIND_M, FELT_N = 0.1, 0.05, 0.05, 5.0
SECONDS = 3.5
_GAP_M, _REST_S = 0.06, 0.2
_OPEN = {"force_clamp_n": 1e6, "torque_clamp_nm": 1e6, "error_clamp_m": 10.0, "error_clamp_rad": 10.0}
_NEVER_N = 1e6
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Law:
    """One way to control the arm.

    Attributes:
        name: Row of the table.
        servo: Parameters that differ from config/control.yaml.
        interface: What the arm takes.
        measures_torque: A position arm says what torque it gives.
        stops: The limit on the contact force is in force.
    """

    name: str
    servo: dict[str, Any] = field(default_factory=dict)
    interface: str = "effort"
    measures_torque: bool = True
    stops: bool = False


def laws(params: ServoParameters) -> tuple[Law, ...]:
    """All laws of the table."""
    clamp = f"clamp {params.force_clamp_n:g} N"
    joint, task = {"compliance": "joint"}, {"compliance": "operational_space"}
    return (
        Law("stiff position", interface="position", measures_torque=False),
        Law("position, admittance", interface="position"),
        Law("joint impedance", joint | _OPEN),
        Law(f"joint impedance, {clamp}", joint),
        Law("operational space", task | _OPEN),
        Law(f"operational space, {clamp}", task),
        Law(f"operational space, {clamp}, phase contact", task | {"phase": "contact"}),
        Law("joint impedance, contact-force stop", joint | _OPEN, stops=True),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench contact`."""
    parser.add_argument("--walls", type=int, default=5, help="runs per row, each with a wall 1 mm further away")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--walls", str(args.walls)]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """All rows of `docs/results/contact.json`.

    Args:
        args: Of `add_arguments`.
        say: Takes progress lines.
    """
    params, rows = ServoParameters.from_config(), []
    for law in laws(params):
        say(law.name)
        for name, make in POLICIES.items():
            runs = [press(law, params, make, _GAP_M + 1e-3 * k) for k in range(args.walls)]
            peaks, steady = ([getattr(run, part) for run in runs] for part in ("peak_n", "steady_n"))
            row = {"law": law.name, "policy": name, "n": len(runs), "peak_n": rounded(max(peaks), 3)}
            medians = {"peak_median_n": np.median(peaks), "steady_n": np.median(steady)}
            rows.append(row | {key: rounded(float(value), 3) for key, value in medians.items()})
    return rows


Policy = Callable[[float, float, Float64], Float64]


def press(law: Law, params: ServoParameters, make: Callable[[float], Policy], gap_m: float) -> Any:
    """One run of a law against a wall `gap_m` in front of the fingers; a `Contact`."""
    config = load_robot_config("panda")
    force_n = config.contact_force_n if law.stops else _NEVER_N
    robot = RobotModel(replace(config, interface=law.interface, contact_force_n=force_n))
    wall = Wall(robot, load_contract("tabletop_panda"), replace(params, **law.servo), gap_m, law.measures_torque)
    return wall.press(make(gap_m + BEHIND_M), SECONDS, DELAY_S)


def _blind(goal_m: float) -> Policy:
    """Walks on to `goal_m`, whatever happens."""

    def policy(time_s: float, felt_n: float, steps_s: Float64) -> Float64:
        return np.clip(SPEED_M_S * (steps_s - _REST_S), 0.0, goal_m)

    return policy


def _feeling(goal_m: float) -> Policy:
    """Walks on to `goal_m` until it feels the wall, then holds where it was told to be at that time."""
    held: list[float] = []

    def policy(time_s: float, felt_n: float, steps_s: Float64) -> Float64:
        if felt_n > FELT_N and not held:
            held.append(float(np.clip(SPEED_M_S * (time_s - _REST_S), 0.0, goal_m)))
        if held:
            return np.full(len(steps_s), held[0])
        return np.clip(SPEED_M_S * (steps_s - _REST_S), 0.0, goal_m)

    return policy


#: What the arm is told, by its name in the table; each takes the goal [m] behind the wall.
POLICIES: dict[str, Callable[[float], Policy]] = {"blind, 5 cm behind the wall": _blind, "holds at 5 N": _feeling}
