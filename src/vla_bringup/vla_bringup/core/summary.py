"""The numbers of `result.json`, from a recording."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vla_bringup.core.recording import Recording, StageTrace
from vla_bringup.statistics import quantiles, rounded
from vla_core.types import NS

SKEW_NS = 30_000_000  # a joint state may be that much older than the picture that it is matched with


@dataclass(frozen=True, slots=True)
class Span:
    """One run: from sending the goal to its result [ns], on both clocks."""

    start_ns: int
    end_ns: int
    monotonic_start_ns: int
    monotonic_end_ns: int

    @property
    def sim_s(self) -> float:
        return (self.end_ns - self.start_ns) / NS

    @property
    def wall_s(self) -> float:
        return (self.monotonic_end_ns - self.monotonic_start_ns) / NS


def summarise(
    recording: Recording,
    span: Span,
    captured_ns: Sequence[int],
    image_to_torque_ms: Sequence[float],
    limits_before: Mapping[str, int],
) -> dict[str, Any]:
    """Everything that is measured during a run; rates are per second of the ROS clock.

    Args:
        recording: Of the whole run.
        span: What to look at.
        captured_ns: Stamps of all pictures taken.
        image_to_torque_ms: Latencies of the span.
        limits_before: Ticks in which each limit had acted when the span began. From the servo's record: in lockstep the
            clock stands before a goal, and no message tells of the ticks before it.
    """
    begin, end = span.start_ns, span.end_ns  # the world goes on after the end, in lockstep as fast as it can
    chunks = [c for c in recording.chunks if begin <= c.stamp_ns <= end]
    controls = [c for c in recording.controls if begin <= c.stamp_ns <= end]
    last = controls[-1] if controls else None
    observations = [stamp for stamp in recording.observations_ns if begin <= stamp <= end]
    return {
        "stages": stages(recording.stages, span),
        "wall_s": rounded(span.wall_s),
        "sim_s": rounded(span.sim_s),
        "real_time_factor": rounded(span.sim_s / span.wall_s) if span.wall_s > 0 else None,
        "observation_hz": rate_hz(observations),
        "chunk_hz": rate_hz([c.stamp_ns for c in chunks]),
        "inference_ms": quantiles([1e3 * c.inference_s for c in chunks], ("p50", "p95")),
        "image_to_torque_ms": quantiles(image_to_torque_ms),
        "dropped_frames": dropped(captured_ns, observations),
        "starved_s": rounded(recording.starved_s(begin, end)),
        "limits_hit": limits(last.limit_counts if last else {}, limits_before),
        "max_jerk": rounded(last.max_jerk) if last else None,
    }


def rate_hz(stamps_ns: Sequence[int]) -> float:
    """Mean rate of stamps [Hz]; 0 with fewer than two."""
    distinct = sorted(set(stamps_ns))
    if len(distinct) < 2:
        return 0.0
    return rounded((len(distinct) - 1) * NS / (distinct[-1] - distinct[0]))


def dropped(captured_ns: Sequence[int], observations_ns: Sequence[int]) -> int:
    """Pictures taken between the first and the last observation that no observation holds.

    An observation carries the stamp of its OLDEST source, so it may be a little older than its pictures.
    """
    if not observations_ns:
        return len(captured_ns)
    made = sorted(set(observations_ns))
    between = [stamp for stamp in captured_ns if made[0] <= stamp <= made[-1]]
    return sum(stamp - made[bisect_right(made, stamp) - 1] > SKEW_NS for stamp in between)


def limits(counts: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Ticks in which each limit acted, without those that never did."""
    hit = {name: count - before.get(name, 0) for name, count in counts.items()}
    return {name: count for name, count in hit.items() if count > 0}


def stages(traces: Sequence[StageTrace], span: Span) -> list[dict[str, Any]]:
    """Stages with their begin since the goal, in both times."""
    return [
        {
            "stage": trace.stage,
            "sim_s": rounded((trace.stamp_ns - span.start_ns) / NS),
            "wall_s": rounded((trace.monotonic_ns - span.monotonic_start_ns) / NS),
        }
        for trace in traces
    ]
