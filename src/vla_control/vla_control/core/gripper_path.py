"""The grippers' share of a plan: widths and forces at the knots of the arm's trajectory."""

from __future__ import annotations

import numpy as np

from vla_control.core.action_spaces.gripper import GripperSteps
from vla_control.core.knots import Knots
from vla_control.core.robot import RobotConfig
from vla_control.core.trajectory import Trajectory
from vla_core.types import Float64


def last_told(running: Knots, trajectory: Trajectory, config: RobotConfig, knot_dt_s: float) -> GripperSteps:
    """What the running plan tells the grippers, (P,G), at the knots before a new plan leaves it."""
    prefix = int(np.count_nonzero(np.isnan(trajectory.chunk_s)))
    times = trajectory.start_ns + np.arange(prefix) * round(knot_dt_s * 1e9)
    widths, forces = (
        np.array([at(int(t)) for t in times])[:, : len(config.grippers)] for at in (running.width_at, running.force_at)
    )
    return GripperSteps(widths / config.gripper_width_max_m, forces / config.gripper_force_n)


def gripper_path(
    before: GripperSteps, said: GripperSteps, trajectory: Trajectory, config: RobotConfig, dt_s: float
) -> tuple[Float64, Float64]:
    """Widths [m] and forces [N] (N,G) per knot: the running plan's first, then each step's until the next.

    Args:
        before: Of `last_told`.
        said: (R,G) of the steps that the trajectory's `chunk_s` counts from 0 on.
        dt_s: Time between steps [s].
    """
    place = trajectory.chunk_s[len(before.opening) :]
    step = np.clip(np.floor(place / dt_s + 1e-6), 0, len(said.opening) - 1).astype(int)
    widths = config.gripper_width_max_m * np.concatenate([before.opening, said.opening[step]])
    return widths, config.gripper_force_n * np.concatenate([before.force, said.force[step]])
