"""Velocity of the base within limits of acceleration and jerk (Ruckig's velocity interface, Berscheid & Kroeger, 2021).

All axes reach a new velocity together, and from rest along a straight line in (vx, vy, wz): the base sets out on the
curve that was asked for.
"""

from __future__ import annotations

import numpy as np
from ruckig import ControlInterface, InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory

from vla_control.core.base.config import BaseConfig
from vla_core.types import Float64

_STILL = 1e-9


class VelocitySmoother:
    """A velocity that follows its target.

    Attributes:
        velocity, acceleration: (A,) of the axes that the base has.
    """

    def __init__(self, config: BaseConfig) -> None:
        self._axes = np.flatnonzero(config.velocity)
        count = len(self._axes)
        self._otg, self._path = Ruckig(count), Trajectory(count)
        self._input = InputParameter(count)
        self._input.control_interface = ControlInterface.Velocity
        self._input.synchronization = Synchronization.Phase
        self._input.current_position = np.zeros(count)
        self._input.max_acceleration = config.acceleration[self._axes]
        self._input.max_jerk = config.jerk[self._axes]
        self._input.target_acceleration = np.zeros(count)
        self.velocity, self.acceleration = np.zeros(count), np.zeros(count)
        self._target, self._since_s = np.full(count, np.nan), 0.0

    def step(self, target: Float64, time_s: float) -> Float64:
        """Move on by `time_s` towards a twist (3,); returns the twist (3,) of then."""
        if not np.array_equal(target[self._axes], self._target):
            self._plan(target[self._axes])
        self._since_s += time_s
        _, velocity, acceleration = self._path.at_time(self._since_s)
        self.velocity[:], self.acceleration[:] = velocity, acceleration
        twist = np.zeros(3)
        twist[self._axes] = self.velocity
        return twist

    def _plan(self, target: Float64) -> None:
        """Begin a way to another velocity; one that is under way is not planned again, so that it stays straight."""
        inputs = self._input
        inputs.current_velocity, inputs.current_acceleration = self.velocity, self.acceleration
        inputs.target_velocity = target
        try:
            good = self._otg.calculate(inputs, self._path) in (Result.Working, Result.Finished)
        except RuckigError:
            good = False
        assert good, "a velocity can always be changed within limits of acceleration and jerk"
        self._target[:], self._since_s = target, 0.0

    @property
    def at_rest(self) -> bool:
        """Whether the base stands still and stays so."""
        return bool(np.abs(self.velocity).max() < _STILL and np.abs(self.acceleration).max() < _STILL)
