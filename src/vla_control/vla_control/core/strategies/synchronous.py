"""Synchronous execution: act for some steps, come to rest, look, think, act again (the usual default).

    a(t) = A[(t - arrival) / dt]   for the first h steps

The receding horizon of Chi et al., "Diffusion Policy", 2023 (arXiv:2303.04137), without its overlap.

The chunk begins when it arrives, not when its picture was taken: the robot has not moved in between, because answers to
pictures taken in motion are passed over.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps


class Synchronous:
    """Executes the first steps of each chunk.

    Args:
        horizon: How many steps.
    """

    waits = True

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The newest chunk, its first step due now."""
        return Steps(buffer.newest.actions[: self._horizon + 1].astype(np.float64), branch_ns)
