"""How smooth a motion was: jerk of the servo's target, and what each new chunk changed about what was planned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_control.core.robot import RobotModel
from vla_core.types import Float64


@dataclass(frozen=True, slots=True)
class MotionFigures:
    """Of one episode.

    Attributes:
        max_jerk_rad_s3, rms_jerk_rad_s3: Of the target, any joint.
        seam_jumps_mrad, seam_jumps_mm: Per new chunk that took over a running one: how far it lay from the motion
            before it where it took over, joint with the most, and tool. What a hard switch would make the robot jump.
        starved_s: Time without a fresh chunk.
    """

    max_jerk_rad_s3: float
    rms_jerk_rad_s3: float
    seam_jumps_mrad: tuple[float, ...]
    seam_jumps_mm: tuple[float, ...]
    starved_s: float


class MotionTrace:
    """Collects; call `tick` after every tick of the servo.

    Args:
        robot: For tool positions.
        tick_s: Time between ticks [s].
    """

    def __init__(self, robot: RobotModel, tick_s: float) -> None:
        self._robot, self._tick_s = robot, tick_s
        self._qd: list[Float64] = []
        self._jumps: list[tuple[float, float]] = []

    def tick(self, qd_target: Float64) -> None:
        """Velocity of the target (J,) [rad/s] at this tick."""
        self._qd.append(qd_target.copy())

    def seam(self, before_q: Float64, after_q: Float64) -> None:
        """A chunk took over: where the motion before it was then (J,) [rad], and where the chunk wanted to be."""
        apart_m = np.linalg.norm(self._robot.tool_pose(after_q)[0] - self._robot.tool_pose(before_q)[0])
        self._jumps.append((1e3 * float(np.abs(after_q - before_q).max()), 1e3 * float(apart_m)))

    def figures(self, starved_s: float) -> MotionFigures:
        """Everything so far; jerk is the second difference of the velocity."""
        jerk = np.diff(np.array(self._qd), n=2, axis=0) / self._tick_s**2 if len(self._qd) > 2 else np.zeros((1, 1))
        return MotionFigures(
            max_jerk_rad_s3=float(np.abs(jerk).max()),
            rms_jerk_rad_s3=float(np.sqrt((jerk**2).mean())),
            seam_jumps_mrad=tuple(j[0] for j in self._jumps),
            seam_jumps_mm=tuple(j[1] for j in self._jumps),
            starved_s=starved_s,
        )
