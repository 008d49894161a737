"""Asynchronous inference: the newest chunk replaces the running one, from the step that is due now on.

    a(t) = A[(t - capture) / dt],   A the newest chunk

Naive asynchronous execution in the terms of Black et al., "Real-Time Execution of Action Chunking Flow Policies", 2025
(arXiv:2506.07339), section 2: two chunks may follow different modes, and nothing here makes them agree. The strategies
that make the *policy* agree with what runs (BID, A2C2, VLASH) execute their chunks this way.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps


class Newest:
    """Takes the newest chunk as it is, aligned by its capture stamp."""

    waits = False

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The newest chunk."""
        return Steps(buffer.newest.actions.astype(np.float64), buffer.newest.stamp_ns)
