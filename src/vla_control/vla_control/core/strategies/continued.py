"""Real-time chunking's side of the executor (Black et al. 2025, arXiv:2506.07339): the chunk continues what runs.

Its first steps are those that were told to the policy, so nothing is to be combined; but where it comes later than was
told, or after an answer that got lost, it is free where it takes over. There it fades in over a few steps, from the
motion that is really under way, a brake included:

    a_t = (1 - w) running_t + w A_t,   w = (t - first step after the branch) / (fade dt), within 0 .. 1

It begins with the first step after the branch: the curve runs between two steps there, and only where both are the
running motion it joins without a seam. For a chunk that continues the motion all this changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps
from vla_control.core.strategies.weighted_overlap import cross_fade
from vla_core.types import NS


class Continued:
    """Takes the newest chunk, faded in.

    Args:
        fade: Over how many steps.
    """

    waits = False

    def __init__(self, fade: int) -> None:
        self._fade = fade

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The newest chunk, from the branch on."""
        chunk = buffer.newest
        if buffer.led is None:
            return Steps(chunk.actions.astype(np.float64), chunk.stamp_ns)
        dt_ns = chunk.dt_s * NS
        first = max(0, int(np.ceil((branch_ns - chunk.stamp_ns) / dt_ns)))
        begin_ns = chunk.stamp_ns + round(first * dt_ns)
        faded = cross_fade(buffer, buffer.led, begin_ns, begin_ns + round(self._fade * dt_ns))
        return replace(faded, running=first + 1)
