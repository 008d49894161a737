"""The chunks of the present task, by capture stamp: what each of them says about a moment."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from vla_core.actions import ActionAlgebra
from vla_core.types import NS, ActionChunk, Bool, Float64, Int64


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be executed.

    Attributes:
        actions: float64 (N,B) absolute rows (`action_spaces`); a contract of absolute actions has them as they are.
        origin_ns: When step 0 is due [ns, ROS clock]; step i follows i * dt later.
        running: So many first rows are the motion in execution, which is to be joined without a seam.
    """

    actions: Float64
    origin_ns: int
    running: int = 0


class ChunkBuffer:
    """Keeps the newest chunks, oldest first.

    Args:
        algebra: Of the actions of these chunks.
        size: How many chunks are kept.

    Attributes:
        algebra: As given.
        executed: The steps in execution, None before the first.
        led: The same, followed by the brake and the hold that would come after them.
    """

    def __init__(self, algebra: ActionAlgebra, size: int = 32) -> None:
        self.algebra = algebra
        self.executed: Steps | None = None
        self.led: Steps | None = None
        self._chunks: deque[ActionChunk] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def newest(self) -> ActionChunk:
        """The chunk added last; IndexError while there is none."""
        return self._chunks[-1]

    def add(self, chunk: ActionChunk) -> None:
        """Take a chunk that answers a newer observation than all before."""
        self._chunks.append(chunk)

    def clear(self) -> None:
        """Forget everything: another task, or the robot has been stopped."""
        self._chunks.clear()
        self.executed = self.led = None

    def drop_newest(self) -> None:
        """Forget the chunk added last: it turned out that it can't be executed."""
        self._chunks.pop()

    def execute(self, led: Steps, count: int) -> None:
        """Note what the chunk added last has become.

        One that didn't begin at its stamp (it waited for its arrival) counts from where it began, and as far as it is
        executed; what was said before it is void. The robot rested in between: whatever reads these chunks later, under
        another strategy, would take steps for due that the robot has yet to come to.

        Args:
            led: The steps in execution, followed by the brake and the hold that would come after them.
            count: How many of them are in execution.
        """
        self.led, self.executed = led, Steps(led.actions[:count], led.origin_ns)
        newest = self._chunks[-1]
        if newest.stamp_ns != led.origin_ns:
            self._chunks.clear()
            self._chunks.append(replace(newest, stamp_ns=led.origin_ns, actions=newest.actions[:count]))

    def predictions(self, times_ns: Int64) -> tuple[Float64, Bool]:
        """What each chunk says about each moment.

        Args:
            times_ns: (N,) [ns, ROS clock].

        Returns:
            Actions float64 (K,N,A), oldest chunk first, and whether a chunk reaches that far (K,N); what it says where
            it does not reach is its nearest step, and means nothing.
        """
        said, known = [], []
        for chunk in self._chunks:
            place = (times_ns - chunk.stamp_ns) / (chunk.dt_s * NS)
            known.append((place > -1e-6) & (place < len(chunk.actions) - 1 + 1e-6))
            said.append(self.algebra.at(chunk.actions.astype(np.float64), np.clip(place, 0, len(chunk.actions) - 1)))
        return np.stack(said), np.stack(known)


def step_times_ns(chunk: ActionChunk) -> Int64:
    """When each step of a chunk is due (T,) [ns, ROS clock]."""
    return chunk.stamp_ns + np.round(np.arange(len(chunk.actions)) * chunk.dt_s * NS).astype(np.int64)
