"""What a strategy is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vla_control.core.chunk_buffer import ChunkBuffer, Steps


@dataclass(frozen=True, slots=True)
class StrategyParameters:
    """Tuning; `config/control.yaml` explains each."""

    execution_horizon: int
    window: int
    fade: int
    ensemble_decay: float
    ensemble_similarity: float
    ensemble_chunks: int


class Strategy(Protocol):
    """One way to combine chunks; all that it needs to remember is in the buffer.

    Attributes:
        waits: Whether only answers to pictures taken at rest are executed.
    """

    waits: bool

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """What to execute now that the newest chunk of the buffer has come.

        Args:
            buffer: Chunks of the task; not empty.
            branch_ns: Motion up to here is committed and can't change [ns, ROS clock].
        """
