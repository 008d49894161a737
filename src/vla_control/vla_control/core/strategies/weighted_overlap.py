"""Weighted overlap: a linear cross-fade from what was being executed to the newest chunk.

    a_t = (1 - w) old_t + w new_t,   w = (t - branch) / (end of the old ones - branch)

The 'weighted average' of LeRobot's asynchronous client (Shukor et al., "SmolVLA", 2025, arXiv:2506.01844),
which has 0.7 for w: with a ramp the motion leaves the old steps without a jump and arrives at the new ones.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps, step_times_ns
from vla_core.types import NS


class WeightedOverlap:
    """Cross-fades from the steps in execution."""

    waits = False

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The cross-fade, at the step times of the newest chunk."""
        chunk, old = buffer.newest, buffer.executed
        end_ns = 0 if old is None else old.origin_ns + round((len(old.actions) - 1) * chunk.dt_s * NS)
        if old is None or end_ns <= branch_ns:  # it has ended, and a brake led on from there
            return Steps(chunk.actions.astype(np.float64), chunk.stamp_ns)
        return cross_fade(buffer, old, branch_ns, end_ns)


def cross_fade(buffer: ChunkBuffer, old: Steps, begin_ns: int, end_ns: int) -> Steps:
    """From old steps to the newest chunk, at its step times; only the new one counts from `end_ns` on."""
    chunk = buffer.newest
    times = step_times_ns(chunk)
    new = np.clip((times - begin_ns) / max(end_ns - begin_ns, 1), 0.0, 1.0)
    place = np.clip((times - old.origin_ns) / (chunk.dt_s * NS), 0.0, len(old.actions) - 1)
    both = np.stack([buffer.algebra.at(old.actions, place), chunk.actions.astype(np.float64)])
    return Steps(buffer.algebra.mean(both, np.stack([1.0 - new, new])), chunk.stamp_ns)
