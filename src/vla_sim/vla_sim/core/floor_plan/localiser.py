"""What a good localisation would say: the true pose with an error that wanders (Ornstein-Uhlenbeck process)."""

from __future__ import annotations

import numpy as np

from vla_core import se2
from vla_core.types import Float64


class Localiser:
    """Wandering error.

    Args:
        seed: Of the error.
        sigma_m, sigma_rad: Its standard deviation, per axis.
        time_s: How long it stays alike.
    """

    def __init__(self, seed: int, sigma_m: float = 0.015, sigma_rad: float = 0.006, time_s: float = 10.0) -> None:
        self._rng, self._time_s = np.random.default_rng([seed, 4]), time_s
        self._sigma = np.array([sigma_m, sigma_m, sigma_rad])
        self._error: Float64 = self._sigma * self._rng.standard_normal(3)

    def measure(self, pose: Float64, dt: float) -> Float64:
        """The pose (3,) that is believed, `dt` seconds after the last one."""
        stay = np.exp(-dt / self._time_s)
        self._error = stay * self._error + np.sqrt(1.0 - stay * stay) * self._sigma * self._rng.standard_normal(3)
        believed = pose + self._error
        believed[2] = se2.wrap(believed[2])
        return believed
