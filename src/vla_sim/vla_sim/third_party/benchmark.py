"""What our side has to know of a benchmark to play it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Task(Protocol):
    """One of a benchmark's tasks: the name that its scene knows, how it is grouped, what a policy is told."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def instruction(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: For messages.
        scene: What `worker.py` loads there.
        views: Cameras, in the order in which a scene draws them.
        state: Numbers of proprioception.
        actions: Numbers of an action, each -1..1.
        limit: Longest episode [steps].
        seeds: Which scenes of a task may be scored; the first ones are.
        timeout_s: Longest wait for an answer [s].
    """

    name: str
    scene: Path
    views: tuple[str, ...]
    state: int
    actions: int
    limit: int
    seeds: range
    timeout_s: float = 120.0
