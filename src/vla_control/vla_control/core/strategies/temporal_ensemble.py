"""Temporal ensembling (Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", 2023, ACT).

    a_t = sum_i w_i a_t^(i) / sum_i w_i,   w_i = exp(-m i),   i = 0 the oldest chunk that says something about t

With a small m old and new chunks count nearly alike; modes are averaged, which is what the others try to avoid.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps, step_times_ns


class TemporalEnsemble:
    """Means over all chunks that reach a moment.

    Args:
        decay: m of the equation above, per chunk.
    """

    waits = False

    def __init__(self, decay: float) -> None:
        self._decay = decay

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The mean, at the step times of the newest chunk."""
        chunk = buffer.newest
        said, known = buffer.predictions(step_times_ns(chunk))
        rank = np.cumsum(known, axis=0) - 1  # 0: the oldest that knows the moment
        return Steps(buffer.algebra.mean(said, np.where(known, np.exp(-self._decay * rank), 0.0)), chunk.stamp_ns)
