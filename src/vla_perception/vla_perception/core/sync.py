"""Match several sources by capture stamp, the same way whatever the order of arrival.

Each sample of the reference source (the first camera) asks every other source for its sample nearest in time. The
answer is final once that source has delivered a stamp at or after the reference's, or one so near before it (two
fifths of the source's shortest recent interval) that a later sample can't be nearer. Until then the set waits. Sets
whose members lie further apart than the allowed skew are given up, never filled from elsewhere. Because only stamps
decide, the same samples give the same sets however the transport interleaves them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from vla_core.errors import UnknownNameError

T = TypeVar("T")

_RECENT = 32  # intervals that the statistics look back on
_ENOUGH = 4  # intervals before the source's period counts as known
_MOST = 1024  # samples kept per source, whatever their stamps say


@dataclass(frozen=True, slots=True)
class Matched(Generic[T]):
    """One complete set.

    Attributes:
        reference_ns: Stamp of the reference sample [ns].
        oldest_ns: Stamp of the oldest member [ns].
        items: The member of each source, by name.
    """

    reference_ns: int
    oldest_ns: int
    items: Mapping[str, T]


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """What one source has delivered since start.

    Attributes:
        count: Accepted samples.
        newest_ns: Newest stamp [ns]; None: nothing yet.
        rate_hz: Mean rate of the last intervals by capture stamp; 0: unknown.
        lost: Samples that never came, estimated from gaps between capture stamps.
        late: Samples refused because their stamp didn't rise.
    """

    count: int
    newest_ns: int | None
    rate_hz: float
    lost: int
    late: int


class StampSynchronizer(Generic[T]):
    """Turns samples of several sources into sets.

    Args:
        reference: Source that opens a set with each sample.
        others: The other sources.
        max_skew_ns: Largest distance between two members of a set [ns].
        window_ns: Samples older than their source's newest by more than this are dropped [ns].
        set_back_ns: A stamp earlier than its source's newest by more than this means that the clock was set back:
            everything is forgotten [ns].

    Attributes:
        matched: Complete sets since start.
        unmatched: Reference samples since start for which no complete set exists.
    """

    def __init__(
        self, reference: str, others: tuple[str, ...], max_skew_ns: int, window_ns: int, set_back_ns: int
    ) -> None:
        self._reference, self._others = reference, others
        self._max_skew_ns, self._set_back_ns = max_skew_ns, set_back_ns
        self._sources: dict[str, _Source[T]] = {name: _Source(window_ns) for name in (reference, *others)}
        self.matched = 0
        self.unmatched = 0

    def push(self, source: str, stamp_ns: int, item: T) -> list[Matched[T]]:
        """Take one sample and return the sets that it completes, oldest first.

        Raises:
            UnknownNameError: no such source.
        """
        if source not in self._sources:
            raise UnknownNameError("source", source, self._sources)
        newest_ns = self._sources[source].newest_ns
        if newest_ns is not None and stamp_ns < newest_ns - self._set_back_ns:
            for each in self._sources.values():
                each.forget()
        dropped = self._sources[source].add(stamp_ns, item)
        if source == self._reference:
            self.unmatched += dropped
        return self._resolve()

    def statistics(self, source: str) -> SourceStatistics:
        """Statistics of one source."""
        return self._sources[source].statistics()

    def _resolve(self) -> list[Matched[T]]:
        """Settle pending reference samples in order, until one has to wait."""
        complete: list[Matched[T]] = []
        waiting = self._sources[self._reference].samples
        while waiting:
            reference_ns, item = waiting[0]
            if not all(self._sources[name].is_settled(reference_ns) for name in self._others):
                break
            waiting.popleft()
            members = {self._reference: (reference_ns, item)}
            for name in self._others:
                nearest = self._sources[name].take_nearest(reference_ns)
                if nearest is not None:
                    members[name] = nearest
            stamps = [stamp_ns for stamp_ns, _ in members.values()]
            if len(members) < len(self._sources) or max(stamps) - min(stamps) > self._max_skew_ns:
                self.unmatched += 1
                continue
            self.matched += 1
            complete.append(Matched(reference_ns, min(stamps), {name: member[1] for name, member in members.items()}))
        return complete


class _Source(Generic[T]):
    """Samples of one source in rising order of stamps, and its statistics."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self.samples: deque[tuple[int, T]] = deque()
        self.newest_ns: int | None = None
        self._intervals: deque[int] = deque(maxlen=_RECENT)
        self._count = self._lost = self._late = 0

    def forget(self) -> None:
        """Drop everything but the counters."""
        self.samples.clear()
        self._intervals.clear()
        self.newest_ns = None

    def add(self, stamp_ns: int, item: T) -> int:
        """Append a sample unless it is late; return how many old ones were dropped for it."""
        if self.newest_ns is not None:
            interval = stamp_ns - self.newest_ns
            if interval <= 0:
                self._late += 1
                return 0
            self._count_gap(interval)
            self._intervals.append(interval)
        self.newest_ns = stamp_ns
        self._count += 1
        self.samples.append((stamp_ns, item))
        dropped = 0
        while self.samples[0][0] < stamp_ns - self._window_ns or len(self.samples) > _MOST:
            self.samples.popleft()
            dropped += 1
        return dropped

    def is_settled(self, reference_ns: int) -> bool:
        """Whether no later sample can lie nearer to the reference than those that are here."""
        if self.newest_ns is None:
            return False
        if self.newest_ns >= reference_ns:
            return True
        return len(self._intervals) >= _ENOUGH and 5 * (reference_ns - self.newest_ns) < 2 * min(self._intervals)

    def take_nearest(self, reference_ns: int) -> tuple[int, T] | None:
        """Sample nearest to the reference, the older of two equally near; earlier ones are dropped."""
        while len(self.samples) > 1:
            here, following = self.samples[0][0], self.samples[1][0]
            if abs(following - reference_ns) >= abs(here - reference_ns):
                break
            self.samples.popleft()
        return self.samples[0] if self.samples else None

    def statistics(self) -> SourceStatistics:
        total_ns = sum(self._intervals)
        rate_hz = len(self._intervals) * 1e9 / total_ns if total_ns else 0.0
        return SourceStatistics(self._count, self.newest_ns, rate_hz, self._lost, self._late)

    def _count_gap(self, interval: int) -> None:
        if len(self._intervals) >= _ENOUGH:
            typical = sorted(self._intervals)[len(self._intervals) // 2]
            self._lost += max(round(interval / typical) - 1, 0)
