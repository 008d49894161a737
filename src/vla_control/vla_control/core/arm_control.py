"""One arm's share of a servo tick: torque, external wrench and admittance at its own tool.

Arms share no joint, so the mass matrix of a robot has a block for each and nothing between them: the laws of
`impedance` and `admittance` hold for every arm by itself, with its own rows of what the model says of all joints.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pinocchio as pin

from vla_control.core.admittance import Admittance
from vla_control.core.impedance import NOT_FINITE, impedance_torque, joint_table
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_core.types import Float64

_BASE_AXES = pin.LOCAL_WORLD_ALIGNED


class ArmControl:
    """One arm of a robot; `advance` allocates nothing.

    Args:
        robot: The robot and its rigid-body model. arm: Which of its arms.
        params: Tuning.
        terms, terms_t: pinocchio.Data of the robot at the joint state and at the target; filled by the caller.
        measured, predicted: q, qd (J,) [rad, rad/s] of the robot. target: q_t, qd_t, qdd_t (J,) of the robot.
        tau_previous, qd_previous: (J,) torque [N*m] at work and velocity measured in the last tick, of the robot.
        residual, tau: (J,) external torque [N*m], updated, and torque [N*m] towards the target, filled; of the robot.
        q_command: (J,) positions [rad] for the drives of the robot, filled where it takes those.
        error, wrench: See below; filled.

    Attributes:
        joints: Which of the robot's joints are the arm's.
        rotation, position: T_base_tool of the last `advance` (3,3), (3,) [m].
        error: (2,) distance of the tool from its target as last measured [m, rad].
        wrench: (6,) external force and torque at the tool as last measured [N, N*m], base frame.
        measures_torque: Whether the torque at work is known, so that there is a wrench.
        admittance: What the arm gives way by if it takes positions.
    """

    def __init__(
        self,
        robot: RobotModel,
        arm: int,
        params: ServoParameters,
        terms: Any,
        terms_t: Any,
        measured: tuple[Float64, Float64],
        predicted: tuple[Float64, Float64],
        target: tuple[Float64, Float64, Float64],
        tau_previous: Float64,
        qd_previous: Float64,
        residual: Float64,
        tau: Float64,
        q_command: Float64,
        error: Float64,
        wrench: Float64,
    ) -> None:
        joints = robot.joints_of(arm)
        self.joints, self._first = joints, joints.start
        self._model, self._tool = robot.model, robot.tool_ids[arm]
        self._terms, self._terms_t = terms, terms_t
        self._mass, self._bias = terms.M, terms.nle[joints]
        self._damping = robot.damping_nm_s[joints]
        self._table = np.ascontiguousarray(joint_table(robot.config)[:, joints])
        self._measured, self._predicted = ((q[joints], qd[joints]) for q, qd in (measured, predicted))
        self._q_t, self._qd_t, self._qdd_t = (row[joints] for row in target)
        self.tau_previous, self._qd_previous = tau_previous[joints], qd_previous[joints]
        self._residual, self._tau = residual[joints], tau[joints]
        self._by_position = robot.config.interface == "position"
        self.rotation, self.position = np.eye(3), np.zeros(3)
        self.admittance = Admittance(robot.config, params, joints, q_command)
        self._error_now, self._wrench_now = np.zeros(2), np.zeros(6)
        self._residual_before = np.zeros_like(self._residual)
        self.error, self.wrench = error, wrench
        self.reset()

    def reset(self) -> None:
        """Nothing is felt, and nothing measured yet."""
        self.measures_torque = not self._by_position
        self.error[:] = self.wrench[:] = 0.0

    def advance(self, seen: bool, gain: Float64, elapsed_s: float) -> int:
        """One tick, after the caller has filled what the constructor was given.

        Args:
            seen: Whether the joint state is measured; else it is predicted, and wrench and error stay as they are.
            gain: Of `Compliance`.
            elapsed_s: Time since the last tick [s].

        Returns:
            Bits of the limits that acted; NOT_FINITE as for `impedance_torque`.
        """
        model, terms, tool = self._model, self._terms, self._tool
        q, qd = self._measured if seen else self._predicted
        pose = pin.updateFramePlacement(model, terms, tool)
        target = pin.updateFramePlacement(model, self._terms_t, tool)
        self.rotation, self.position = rotation, position = pose.rotation, pose.translation
        jacobian = pin.getFrameJacobian(model, terms, tool, _BASE_AXES)
        unheard = self._by_position and not seen
        if unheard:
            self._residual_before[:] = self._residual
        acting = impedance_torque(
            q, qd, self._q_t, self._qd_t, self._qdd_t,
            rotation, position, target.rotation, target.translation,
            self._first, jacobian, self._mass, self._bias, self._damping,
            gain, self._table, self.tau_previous, self._qd_previous, elapsed_s,
            self._residual, self._tau, self._error_now, self._wrench_now,
        )  # fmt: skip
        if acting == NOT_FINITE:
            return NOT_FINITE
        if not self.measures_torque:
            self._residual[:] = self._wrench_now[:] = 0.0
        elif unheard:  # the observer knows no torque that leads along the target
            self._residual[:] = self._residual_before
        if seen:
            self.error[:], self.wrench[:] = self._error_now, self._wrench_now
        if self._by_position:
            return self.admittance.advance(self._q_t, jacobian, self.wrench, gain)
        return int(acting)
