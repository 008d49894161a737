"""Inverse kinematics of the five-joint arm: where the tool is, how steeply it points down, how the wrist is rolled.

Five joints can't take every tool pose: which way the tool points as seen from above follows from its place, by the pan.
So four joints solve four equations, position and pitch (damped least squares), and the last one is the roll.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.robot import RobotModel
from vla_core.types import Float64

_ITERATIONS = 60
_PITCH_M = 0.1  # [m/rad] what another pitch costs
_DAMPING = 1e-5
_STEP_RAD = 0.25
_MET_M, _MET_RAD = 5e-4, 5e-3
_APART_M = 0.002  # the shapes of the robot file keep this distance


class Reach:
    """Solver for the first arm of a robot; not reentrant.

    Args:
        robot: Its tool's x axis is the approach direction, and its last joint rolls the tool about it.
    """

    def __init__(self, robot: RobotModel) -> None:
        self._robot, self._collision = robot, robot.collision_model()

    def solve(self, position_m: Float64, pitch_rad: float, roll_rad: float, q_start: Float64) -> Float64 | None:
        """Joint positions (J,) [rad] with the tool at a place.

        Args:
            position_m: (3,) in the base frame.
            pitch_rad: Of the approach direction below the horizontal: pi/2 points down.
            roll_rad: Of the last joint; at 0 the jaws open in the arm's plane, at pi/2 across it.
            q_start: (J,) where the search begins [rad].

        Returns:
            None when there is none within the joint limits, or the arm would touch the robot.
        """
        config, q = self._robot.config, np.array(q_start)
        q[-1] = roll_rad
        for _ in range(_ITERATIONS):
            pose = self._robot.tool_se3(q)
            axis, miss = np.array(pose.rotation)[:, 0], position_m - np.array(pose.translation)
            short = pitch_rad - float(np.arctan2(-axis[2], np.hypot(axis[0], axis[1])))
            if np.linalg.norm(miss) < _MET_M and abs(short) < _MET_RAD:
                touching = self._collision is not None and self._collision.distances(q).min() < _APART_M
                return None if touching else q
            jacobian = self._robot.jacobian(q)[:, :-1]
            sideways = np.array([axis[1], -axis[0], 0.0]) / max(float(np.hypot(axis[0], axis[1])), 1e-6)
            rows = np.vstack([jacobian[:3], -_PITCH_M * sideways @ jacobian[3:]])
            error = np.append(miss, _PITCH_M * short)
            step = np.linalg.solve(rows.T @ rows + _DAMPING * np.eye(len(q) - 1), rows.T @ error)
            q[:-1] += np.clip(step, -_STEP_RAD, _STEP_RAD)
            q = np.clip(q, config.position_min_rad, config.position_max_rad)
        return None
