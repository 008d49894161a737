"""Adaptive action ensemble (Li et al., "CogACT", 2024, section 3.4): old chunks count as far as they agree.

    w_k = exp(alpha cos(a_t | o_t, a_t | o_{t-k})),   over the newest K+1 chunks

CogACT's actions are displacements; ours are poses, all but parallel as vectors, so the cosine is taken between the
displacements from one step to the next, and a chunk of another mode gets the weight that it deserves.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps, step_times_ns
from vla_core.actions import ActionAlgebra
from vla_core.types import Float64

_STILL = 1e-4  # displacements below are no direction [m or rad per step]


class AdaptiveEnsemble:
    """Means over chunks, weighted by how alike they move.

    Args:
        similarity: alpha of the equation above.
        chunks: K + 1, how many of the newest chunks count.
    """

    waits = False

    def __init__(self, similarity: float, chunks: int) -> None:
        self._similarity, self._chunks = similarity, chunks

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The mean, at the step times of the newest chunk."""
        chunk = buffer.newest
        said, known = buffer.predictions(step_times_ns(chunk))
        said, known = said[-self._chunks :], known[-self._chunks :]
        cosine = _cosine(_displacements(said, buffer.algebra))
        return Steps(buffer.algebra.mean(said, np.where(known, np.exp(self._similarity * cosine), 0.0)), chunk.stamp_ns)


def _displacements(said: Float64, algebra: ActionAlgebra) -> Float64:
    """(K,N,M) from each step to the next, without the gripper; the last step repeats the one before."""
    moved = np.diff(said[..., algebra.motion], axis=1)
    return (
        np.concatenate([moved, moved[:, -1:]], axis=1) if moved.shape[1] else np.zeros_like(said[..., algebra.motion])
    )


def _cosine(moved: Float64) -> Float64:
    """(K,N) between each chunk and the newest, the last; 1 where either stands still."""
    length = np.linalg.norm(moved, axis=-1)
    still = (length < _STILL) | (length[-1] < _STILL)
    dot = (moved * moved[-1]).sum(-1)
    return np.where(still, 1.0, dot / np.maximum(length * length[-1], _STILL**2))
