"""The console's numbers as Markdown, without ROS and without a browser."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

_WINDOW = 50  # chunks


@dataclass(slots=True)
class Panel:
    """What is shown beside the scene; the node fills it in. None and empty mean: nothing has been heard yet.

    Attributes:
        instruction: What the stack is doing; empty: idle.
        stage: Of a mission that was sent from the console.
        subtask, progress, success_estimate: Of the newest chunk.
        verdict: How the last mission ended.
        note: What the last button press led to.
        trouble: What is wrong with what a robot that drives tells of the place.
        stopped: Cause of a latched safety stop, None: free.
        warnings: Of the safety monitor.
        observation_age_ms: From the oldest capture to the observation's arrival here, ROS clock.
        inference_ms: Of the newest chunks.
        image_to_chunk_ms: From capture to the newest chunks' arrival here, ROS clock.
        executor: Mode of the executor.
        steps_left: Of the chunk in execution.
        starved_s: Time without a fresh chunk.
        chunks_rejected: Count.
        last_error: Of the executor.
        servo: Mode of the servo.
        tracking_error_mm: Distance of the tool from its target.
        contact_force_n: Estimated external force at the tool.
        tick_us: Compute time of a servo tick, p50 and p99.
        wake_us_p99: Wake-up latency of the servo, 0 in lockstep.
        overruns: Servo ticks that missed their deadline.
        limits_acting: Limits that act now.
        limit_counts: Limit → ticks in which it acted.
        real_time_factor: Simulated per wall time.
    """

    instruction: str = ""
    stage: str = ""
    subtask: str = ""
    progress: float = 0.0
    success_estimate: float = 0.0
    verdict: str = ""
    note: str = ""
    trouble: str = ""
    stopped: str | None = None
    warnings: tuple[str, ...] = ()
    observation_age_ms: float | None = None
    inference_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    image_to_chunk_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    executor: str = ""
    steps_left: int = 0
    starved_s: float = 0.0
    chunks_rejected: int = 0
    last_error: str = ""
    servo: str = ""
    tracking_error_mm: float = 0.0
    contact_force_n: float = 0.0
    tick_us: tuple[float, float] = (0.0, 0.0)
    wake_us_p99: float = 0.0
    overruns: int = 0
    limits_acting: tuple[str, ...] = ()
    limit_counts: Mapping[str, int] = field(default_factory=dict)
    real_time_factor: float | None = None

    def mission(self) -> str:
        """What goes on, in words."""
        lines = [f"**STOPPED**: {self.stopped}"] if self.stopped is not None else []
        if self.instruction:
            lines.append(f"**{self.stage or 'acting'}**: {self.instruction}")
            parts = [self.subtask, f"progress {self.progress:.0%}", f"success estimate {self.success_estimate:.2f}"]
            lines.append(", ".join(part for part in parts if part))
        else:
            lines.append("idle")
        lines += [f"last: {self.verdict}"] if self.verdict else []
        lines += [text for text in (self.note, self.trouble) if text]
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n\n".join(lines)

    def numbers(self) -> str:
        """Latencies and limits as a table."""
        rows = [
            ("observation age", _ms(self.observation_age_ms)),
            ("inference p50 / p95", _quantiles(self.inference_ms)),
            ("image to chunk p50 / p95, ROS clock", _quantiles(self.image_to_chunk_ms)),
            ("real-time factor", "–" if self.real_time_factor is None else f"{self.real_time_factor:.2f}"),
        ]
        if self.executor:
            rows.append(("executor", f"{self.executor}, {self.steps_left} steps left"))
            rows.append(("starved / rejected", f"{self.starved_s:.1f} s / {self.chunks_rejected}"))
        if self.servo:
            rows.append(("servo", f"{self.servo}, {self.tracking_error_mm:.1f} mm off, {self.contact_force_n:.1f} N"))
            rows.append(("tick p50 / p99", f"{self.tick_us[0]:.0f} / {self.tick_us[1]:.0f} µs"))
            rows.append(("wake p99, overruns", f"{self.wake_us_p99:.0f} µs, {self.overruns}"))
            rows.append(("limits acting", ", ".join(self.limits_acting) or "none"))
            hit = ", ".join(f"{name} {count}" for name, count in self.limit_counts.items() if count)
            rows.append(("limits hit [ticks]", hit or "none"))
        table = "\n".join(f"| {name} | {value} |" for name, value in rows)
        error = f"\n\nexecutor: {self.last_error}" if self.last_error else ""
        return f"| | |\n|---|---|\n{table}{error}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _quantiles(values: deque[float]) -> str:
    if not values:
        return "–"
    p50, p95 = np.percentile(values, [50, 95])
    return f"{p50:.0f} / {p95:.0f} ms"
