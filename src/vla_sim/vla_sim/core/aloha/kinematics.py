"""Inverse kinematics of several arms for scripted experts: damped least squares, arm by arm, within joint limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pinocchio as pin

from vla_control.core.robot import RobotModel
from vla_core.types import Float64

_DAMPING = 1e-4
_STEP_RAD = 0.3
_CLOSE = 1e-4  # [m], [rad] of remaining error
_LENGTH_M = 0.2  # what a radian costs


class TwoArms:
    """Joint positions for tool poses.

    Args:
        robot: Any number of arms.
    """

    def __init__(self, robot: RobotModel) -> None:
        self._robot, config = robot, robot.config
        self._data = robot.model.createData()
        self._low, self._high = config.position_min_rad + 0.01, config.position_max_rad - 0.01
        ends = np.cumsum([0, *(len(arm.joints) for arm in config.arms)])
        self._joints = [slice(a, b) for a, b in pairwise(ends)]

    def solve(self, poses: list[tuple[Float64, Float64]], start: Float64, iterations: int) -> tuple[Float64, Float64]:
        """One posture for one pose per arm.

        Args:
            poses: Position (3,) [m] and rotation matrix (3,3) of each arm's tool, base frame.
            start: Where the search begins [rad] (J,).
            iterations: At most so many.

        Returns:
            Joint positions [rad] (J,), and per arm what is left of the error [m] (A,), a radian counting 0.2 m.
        """
        robot, data, q = self._robot, self._data, start.copy()
        targets = [pin.SE3(rotation, position) for position, rotation in poses]
        left = np.zeros(len(targets))
        for _ in range(iterations + 1):
            pin.computeJointJacobians(robot.model, data, q)
            for arm, target in enumerate(targets):
                tool = robot.tool_ids[arm]
                error = pin.log6(pin.updateFramePlacement(robot.model, data, tool).actInv(target)).vector
                error[3:] *= _LENGTH_M
                left[arm] = np.linalg.norm(error)
                jacobian = pin.getFrameJacobian(robot.model, data, tool, pin.LOCAL)[:, self._joints[arm]]
                jacobian[3:] *= _LENGTH_M
                step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + _DAMPING * np.eye(6), error)
                q[self._joints[arm]] += np.clip(step, -_STEP_RAD, _STEP_RAD)
            np.clip(q, self._low, self._high, out=q)
            if left.max() < _CLOSE:
                break
        return q, left

    def sag(self, q: Float64, stiffness_nm_rad: Float64) -> Float64:
        """How far drives of a stiffness [N*m/rad] (J,) give way under gravity at q, [rad] (J,)."""
        gravity: Float64 = pin.computeGeneralizedGravity(self._robot.model, self._data, q) / stiffness_nm_rad
        return gravity
