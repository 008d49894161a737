"""How well each source of the observation does, for diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vla_core.errors import VlaError
from vla_core.types import NS
from vla_perception.core.sync import SourceStatistics


@dataclass(slots=True)
class Rejections:
    """Messages of one source that were refused.

    Attributes:
        count: Since start.
        last_error: got / expected / fix of the last one, empty: none.
        reported: `count` at the last report.
    """

    count: int = 0
    last_error: str = ""
    reported: int = 0

    def add(self, error: VlaError) -> None:
        """Count one refused message."""
        self.count += 1
        self.last_error = str(error)

    def since_report(self) -> int:
        """How many were refused since this was last asked."""
        new, self.reported = self.count - self.reported, self.count
        return new


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """One line of diagnostics.

    Attributes:
        level: 'ok', 'warn', 'error' or 'stale'.
        message: One sentence.
        values: Numbers by name with unit.
    """

    level: str
    message: str
    values: Mapping[str, object]


def judge(statistics: SourceStatistics, rejections: Rejections, now_ns: int, max_age_s: float) -> SourceHealth:
    """Judge one source.

    Args:
        statistics: Of the accepted samples.
        rejections: Of the refused ones; asked what came since the last report.
        now_ns: Now [ns, ROS clock].
        max_age_s: Older than this is stale [s].
    """
    age_s = -1.0 if statistics.newest_ns is None else (now_ns - statistics.newest_ns) / NS
    values = {
        "age_s": age_s,
        "rate_hz": statistics.rate_hz,
        "accepted": statistics.count,
        "lost": statistics.lost,
        "late": statistics.late,
        "rejected": rejections.count,
        "last_error": rejections.last_error,
    }
    if rejections.since_report():
        return SourceHealth("error", f"rejected: {rejections.last_error}", values)
    if statistics.newest_ns is None:
        return SourceHealth("error", "nothing received yet; check that its driver runs and the topic's name", values)
    if age_s > max_age_s:
        return SourceHealth("stale", f"newest sample is {age_s:.2f} s old, expected {max_age_s:g} s at most", values)
    if age_s < -max_age_s:
        text = f"stamps lie {-age_s:.2f} s in the future; set use_sim_time alike in the driver and here"
        return SourceHealth("warn", text, values)
    return SourceHealth("ok", "", values)
