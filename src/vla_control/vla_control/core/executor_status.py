"""What the executor tells about itself."""

from __future__ import annotations

from dataclasses import dataclass

from vla_core.types import Float32, Float64, Running


@dataclass(frozen=True, slots=True)
class ExecutorStatus:
    """What is committed and what is left; the fields of ExecutorState.msg.

    Attributes:
        committed: float32 (P,A): the steps of the chunk in execution within `committed_s` from now.
        seam_rad: float64 (J,): how far the chunk in execution lay from the motion before it where it took over.
        chunks_stretched, late_joins, steps_pulled_in: Counts since start: chunks slowed down to keep the joint limits,
            blends that met their chunk late, steps out of reach that were replaced by the nearest reachable pose.
    """

    stamp_ns: int
    mode: str
    strategy: str
    sequence: int
    answers_ns: int
    steps_consumed: int
    steps_left: int
    committed_s: float
    action_names: tuple[str, ...]
    committed: Float32
    running: Running
    seam_rad: Float64
    starved_s: float
    chunks_accepted: int
    chunks_rejected: int
    last_error: str
    chunks_stretched: int
    late_joins: int
    steps_pulled_in: int
