"""Velocity of the base within limits of acceleration and jerk (Ruckig's velocity interface, Berscheid & Kroeger, 2021).

All axes reach a new velocity together, and from a steady one along a straight line in (vx, vy, wz): from rest the base
sets out on the curve that was asked for. Ways are planned as changes of the present velocity, since Ruckig draws
straight lines from 0 only.

On its way no velocity is more than wheels and limits allow. What they allow is convex, so a straight line between two
such velocities keeps to it; a way that begins with the acceleration of another one bends, and is looked at first. Where
it would lead outside, the acceleration is taken back before (v + a t - a t^2 / 2T, a straight line again), and should
that lead outside too, the way before goes on until one of them doesn't: for some ticks, at the latest until its end.
A stop waits for nothing.
"""

from __future__ import annotations

import numpy as np
from ruckig import ControlInterface, InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory

from vla_control.core.base.config import BaseConfig
from vla_control.core.base.kinematics import BaseKinematics
from vla_core.types import Float64

_STILL = 1e-9
_LOOK_S = 0.004  # how close the looks at a way lie
_ROUNDING = 1e-9


class VelocitySmoother:
    """A velocity that follows its target.

    Attributes:
        velocity, acceleration: (A,) of the axes that the base has.
    """

    def __init__(self, config: BaseConfig) -> None:
        self._axes = np.flatnonzero(config.velocity)
        count = len(self._axes)
        self._kinematics, self._jerk = BaseKinematics(config), config.jerk[self._axes]
        self._otg, self._path, self._next = Ruckig(count), Trajectory(count), Trajectory(count)
        self._input = InputParameter(count)
        self._input.control_interface = ControlInterface.Velocity
        self._input.synchronization = Synchronization.Phase
        self._input.current_position = self._input.current_velocity = np.zeros(count)
        self._input.max_acceleration = config.acceleration[self._axes]
        self._input.max_jerk = self._jerk
        self._input.target_acceleration = np.zeros(count)
        self.velocity, self.acceleration = np.zeros(count), np.zeros(count)
        self._settling = np.zeros(count), np.zeros(count)  # velocity and acceleration that it begins with
        self._from = np.zeros(count)  # velocity where the path begins
        self._target, self._since_s, self._settling_s = np.full(count, np.nan), 0.0, 0.0

    def step(self, target: Float64, time_s: float) -> Float64:
        """Move on by `time_s` towards a twist (3,) that wheels and limits allow; returns the twist (3,) of then."""
        if not np.array_equal(target[self._axes], self._target):
            self._turn_to(target[self._axes])
        self._since_s += time_s
        self.velocity[:], self.acceleration[:] = self._at(self._since_s)
        return self._twists(self.velocity)

    def _turn_to(self, target: Float64) -> None:
        """Begin a way to another velocity; one that is under way is not planned again, so that it stays straight."""
        velocity, acceleration, settling_s = self.velocity.copy(), self.acceleration.copy(), 0.0
        start = velocity
        self._plan(acceleration, target - start)
        if not self._stays_allowed(start):
            settling_s = float(np.max(np.abs(acceleration) / self._jerk))
            start = velocity + 0.5 * settling_s * acceleration
            self._plan(np.zeros_like(start), target - start)
            if target.any() and not self._stays_allowed(start):
                return
        self._path, self._next, self._from = self._next, self._path, start
        self._settling, self._settling_s = (velocity, acceleration), settling_s
        self._target[:], self._since_s = target, 0.0

    def _plan(self, acceleration: Float64, change: Float64) -> None:
        inputs = self._input
        inputs.current_acceleration, inputs.target_velocity = acceleration, change
        try:
            good = self._otg.calculate(inputs, self._next) in (Result.Working, Result.Finished)
        except RuckigError:
            good = False
        assert good, "a velocity can always be changed within limits of acceleration and jerk"

    def _stays_allowed(self, start: Float64) -> bool:
        """Whether all of the next path, which begins at `start`, is what wheels and limits allow."""
        duration_s = self._next.duration
        times = [*np.arange(0.0, duration_s, _LOOK_S), duration_s]
        changes = np.array([self._next.at_time(time_s)[1] for time_s in times])
        return self._kinematics.load(self._twists(start + changes)) <= 1.0 + _ROUNDING

    def _at(self, since_s: float) -> tuple[Float64, Float64]:
        """Velocity and acceleration so long after the way began."""
        left_s = self._settling_s - since_s
        if left_s > 0.0:
            velocity, acceleration = self._settling
            slope = acceleration / self._settling_s
            return velocity + 0.5 * slope * (self._settling_s**2 - left_s**2), slope * left_s
        _, velocity, acceleration = self._path.at_time(-left_s)
        return self._from + velocity, np.array(acceleration)

    def _twists(self, velocities: Float64) -> Float64:
        twists = np.zeros((*velocities.shape[:-1], 3))
        twists[..., self._axes] = velocities
        return twists

    @property
    def at_rest(self) -> bool:
        """Whether the base stands still and stays so."""
        return bool(np.abs(self.velocity).max() < _STILL and np.abs(self.acceleration).max() < _STILL)
