"""From targets to commands of the base: watchdog, stop, limits, smoothing. It never jumps and always ends at rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_control.core.base.kinematics import BaseKinematics
from vla_control.core.base.smoother import VelocitySmoother
from vla_core.errors import ConfigError, VlaError
from vla_core.types import Float64

_LATE_TICKS = 3.0  # a tick later than this counts as this late: what is published never jumps


class BaseTargetError(VlaError):
    """A velocity for the base that can't be followed: not finite, or sideways for a base that can't."""

    code = "base_target"


@dataclass(frozen=True, slots=True)
class BaseCommand:
    """What the base shall do now.

    Attributes:
        twist: (3,) vx, vy [m/s], wz [rad/s] in the base's frame.
        mode: 'track', 'hold' (at rest), 'timeout' (no target any more: to rest) or 'stop' (to rest, until released).
    """

    twist: Float64
    mode: str


class BaseController:
    """Velocity control of one base.

    Args:
        config: The robot's base.
        period_s: Time between ticks [s], > 0.
        timeout_s: Without a new target for longer the base comes to rest [s], > 0.

    Raises:
        ConfigError: a time is not > 0.
    """

    def __init__(self, config: BaseConfig, period_s: float, timeout_s: float) -> None:
        if not (period_s > 0 and timeout_s > 0):
            got = f"period_s = {period_s}, timeout_s = {timeout_s}"
            raise ConfigError(got, "numbers > 0", "correct config/control.yaml")
        self._config, self._period_s = config, period_s
        self._timeout_ns = round(timeout_s * 1e9)
        self._kinematics, self._smoother = BaseKinematics(config), VelocitySmoother(config)
        self._target, self._rest = np.zeros(3), np.zeros(3)
        self._target_ns = self._now_ns = -1
        self._stopped = False

    def follow(self, twist: Float64, stamp_ns: int) -> None:
        """Take a target that holds from `stamp_ns` until the next or the timeout.

        Args:
            twist: (3,) vx, vy [m/s], wz [rad/s] in the base's frame; too fast, it is slowed down as a whole.

        Raises:
            BaseTargetError: it is not finite or not what this base can do; the target before goes on to its timeout.
        """
        if not all(math.isfinite(value) for value in twist):
            raise BaseTargetError(f"twist {np.asarray(twist).tolist()}", "finite numbers", "check the policy")
        if twist[1] != 0.0 and "vy" not in self._config.axes:
            fix = "use a contract with vx and wz only"
            raise BaseTargetError(f"vy = {twist[1]:g} m/s", f"0 for a {self._config.drive} base", fix)
        self._target, self._target_ns = self._kinematics.feasible(twist), stamp_ns

    def stop(self) -> None:
        """Come to rest within the limits, whatever targets come, until `release`."""
        self._stopped = True

    def release(self) -> None:
        """Follow targets again, newer ones than those before the stop."""
        if self._stopped:
            self._stopped, self._target_ns = False, -1

    @property
    def at_rest(self) -> bool:
        """Whether the base stands still and nothing sets it in motion."""
        return self._smoother.at_rest

    def tick(self, now_ns: int) -> BaseCommand:
        """The command for `now_ns` on the clock of the targets."""
        late_s = self._period_s if self._now_ns < 0 else (now_ns - self._now_ns) * 1e-9
        step_s = min(max(late_s, 0.0), _LATE_TICKS * self._period_s)
        self._now_ns = now_ns
        fresh = self._target_ns >= 0 and 0 <= now_ns - self._target_ns <= self._timeout_ns
        going = fresh and not self._stopped
        twist = self._smoother.step(self._target if going else self._rest, step_s)
        mode = "stop" if self._stopped else "track" if fresh else "hold" if self._smoother.at_rest else "timeout"
        return BaseCommand(twist, mode)
