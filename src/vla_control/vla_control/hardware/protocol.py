"""What the servo asks of a robot; nothing else in the stack knows which robot it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vla_core.types import Float64


@dataclass(frozen=True, slots=True)
class HardwareLimits:
    """What the robot itself accepts; the servo refuses to start when the robot file allows more.

    Attributes:
        torque_nm: float64 (J,), > 0.
        gripper_force_n: float64 (G,) [N].
    """

    torque_nm: Float64
    gripper_force_n: Float64


class Hardware(Protocol):
    """A robot with an effort interface.

    Attributes:
        state: Newest STATE record, shape (1,); the same object for ever, filled by `read`.
        mode: 'lockstep': the robot waits for the command of each tick. 'real_time': it does not.
        limits: What it accepts.
    """

    state: np.ndarray
    mode: str
    limits: HardwareLimits

    def read(self) -> bool:
        """Take the newest state without waiting; True if it is news."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there is a newer state, take it and return True; False after `timeout_s`."""

    def write(self, command: np.ndarray) -> None:
        """Send a COMMAND record, shape (1,)."""

    def refresh(self) -> None:
        """Look whether the robot's side was restarted; may touch files, so it is called outside of the tick."""

    def close(self) -> None:
        """Let go; a robot without commands brakes by its own means."""
