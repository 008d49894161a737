"""From a picture to the torque that answers it, on the monotonic clock; read from the shared-memory link."""

from __future__ import annotations

import threading
from bisect import bisect_left

import numpy as np

from vla_bringup.core.summary import SKEW_NS
from vla_core.peer import Peer
from vla_core.records import CAPTURES, LIMITS, STATUS

_POLL_S = 0.02


class LatencyWatch:
    """Polls the mailboxes `captures` and `status` at 50 Hz in a thread of its own: answers come less often.

    An observation carries the stamp of its OLDEST source, so the picture that it belongs to is the first one captured
    at that stamp or at most 30 ms later.

    Args:
        link: Name of the link.
    """

    def __init__(self, link: str) -> None:
        self._captures, self._status = Peer(link, "captures", CAPTURES), Peer(link, "status", STATUS)
        self._captured: dict[int, int] = {}
        self._applied: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="latency", daemon=True)
        self._thread.start()

    @property
    def captured_ns(self) -> list[int]:
        """Stamps of all pictures taken, in order [ns, ROS clock]."""
        return sorted(self._captured)

    def image_to_torque_ms(self, from_ns: int = 0) -> list[float]:
        """One latency per answered observation since `from_ns` [ms]."""
        return join(self._captured, {stamp: at for stamp, at in self._applied.items() if stamp >= from_ns})

    def status(self) -> np.ndarray:
        """Copy of the newest STATUS record (1,); zeros before the first."""
        return self._status.record.copy()

    def limit_counts(self) -> dict[str, int]:
        """Ticks in which each limit has acted so far."""
        return dict(zip(LIMITS, self._status.record["limit_counts"][0].tolist(), strict=False))

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join()
        self._captures.close()
        self._status.close()

    def _run(self) -> None:
        turns = 0
        while not self._stop.wait(_POLL_S):
            if turns % 5 == 0:  # mailboxes appear, and appear anew, while we watch
                self._captures.refresh()
                self._status.refresh()
            turns += 1
            if self._captures.poll():
                self._take_captures(self._captures.record)
            if self._status.poll():
                answers_ns, at_ns = (int(self._status.record[f][0]) for f in ("answers_ns", "applied_monotonic_ns"))
                if answers_ns > 0 and at_ns > 0:
                    self._applied.setdefault(answers_ns, at_ns)

    def _take_captures(self, record: np.ndarray) -> None:
        count = int(record["next"][0])
        size = record["stamp_ns"].shape[1]
        for index in range(max(0, count - size), count):
            slot = index % size
            self._captured.setdefault(int(record["stamp_ns"][0, slot]), int(record["monotonic_ns"][0, slot]))


def join(captured: dict[int, int], applied: dict[int, int]) -> list[float]:
    """Latencies [ms] of answered observations.

    Args:
        captured: Stamp of a picture → monotonic time of its capture [ns].
        applied: Stamp of an observation → monotonic time of the first torque that answers it [ns].
    """
    stamps = sorted(captured)
    latencies = []
    for stamp, at_ns in sorted(applied.items()):
        index = bisect_left(stamps, stamp)
        if index < len(stamps) and stamps[index] - stamp <= SKEW_NS:
            latencies.append((at_ns - captured[stamps[index]]) / 1e6)
    return latencies
