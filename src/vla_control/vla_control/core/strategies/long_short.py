"""Long-short chunking (Chen et al., "NanoVLA: Routing Decoupled Vision-Language Understanding for Nano-sized
Generalist Robotic Policies", 2025, arXiv:2510.25122): predicted long, executed short, predicted again from a new look.

    a(t) = A[(t - capture) / dt]   for t < now + h dt,   h much smaller than A is long

Only `horizon` steps from now are kept, so a policy that falls silent stops the arm early instead of acting blindly on.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.chunk_buffer import ChunkBuffer, Steps, step_times_ns


class LongShort:
    """Executes a short window of each chunk, aligned by its capture stamp.

    Args:
        horizon: Length of the window [steps].
    """

    waits = False

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon

    def steps(self, buffer: ChunkBuffer, branch_ns: int) -> Steps:
        """The newest chunk up to `horizon` steps from the branch."""
        chunk = buffer.newest
        past = int(np.searchsorted(step_times_ns(chunk), branch_ns))
        return Steps(chunk.actions[: past + self._horizon + 1].astype(np.float64), chunk.stamp_ns)
