"""Where the arm must be while nobody says so: the rigid-body model, driven by the torques that were sent.

    qdd = M^-1 (tau - h(q,qd) - B qd),   integrated from the last measurement (semi-implicit Euler, steps <= 5 ms)

Holding gravity compensation of the last pose instead looks safer and isn't: an upright arm is an inverted pendulum, so
a torque that stays while the arm coasts on drives it away. The reference arm, at 0.7 rad/s when its states end, reaches
up to 1.7 rad/s within 0.3 s that way, and comes to rest on the prediction. The prediction knows no contact and is
good for about a second under torques that answer it; the arm is at rest well before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pinocchio as pin

from vla_control.core.robot import RobotModel
from vla_core.types import Float64

_STEP_S = 0.005
_LONGEST_S = 0.1


class DeadReckoning:
    """A prediction of the arm's motion; `advance` allocates nothing.

    Attributes:
        q, qd: Measured or predicted joint positions and velocities [rad, rad/s], float64 (J,).
    """

    def __init__(self, robot: RobotModel) -> None:
        self._model: Any = robot.model
        self._data = robot.model.createData()
        self._damping_nm_s = robot.damping_nm_s
        self._low, self._high = robot.config.position_min_rad, robot.config.position_max_rad
        self.q, self.qd, self._joint_tau, self._inside = np.zeros((4, robot.joint_count))

    def correct(self, q: Float64, qd: Float64) -> None:
        """Take a measurement [rad, rad/s] (J,)."""
        self.q[:], self.qd[:] = q, qd

    def advance(self, tau: Float64, time_s: float) -> None:
        """Predict under a constant torque.

        Args:
            tau: Torque at work [N*m] (J,).
            time_s: How far [s], of which 0.1 s count: a robot that heard nothing for longer stands on its own brakes,
                and a torque that nobody corrects would lead the prediction anywhere.
        """
        if time_s <= 0.0:
            return
        time_s = min(time_s, _LONGEST_S)
        steps = math.ceil(time_s / _STEP_S)
        step_s = time_s / steps
        for _ in range(steps):
            np.multiply(self._damping_nm_s, self.qd, out=self._joint_tau)
            np.subtract(tau, self._joint_tau, out=self._joint_tau)
            np.multiply(pin.aba(self._model, self._data, self.q, self.qd, self._joint_tau), step_s, out=self._inside)
            self.qd += self._inside
            np.multiply(self.qd, step_s, out=self._inside)
            self.q += self._inside
            np.clip(self.q, self._low, self._high, out=self._inside)
            self.qd *= self._inside == self.q  # the end stops hold it
            self.q[:] = self._inside
