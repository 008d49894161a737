"""Rows of a published success table, from single episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vla_bringup.statistics import quantiles, rounded, wilson


@dataclass(frozen=True, slots=True)
class Score:
    """How one episode went: its seed, task family, instruction, the judge's verdict and times per chunk [ms]."""

    seed: int
    family: str
    instruction: str
    success: bool
    ms_per_chunk: tuple[float, ...]


def rows(policy: str, split: str, scores: Sequence[Score]) -> list[dict[str, Any]]:
    """One row per task family in order of first appearance, and one for 'all'.

    Args:
        policy: Name of the policy.
        split: Name of the split.
        scores: At least one.
    """
    families = list(dict.fromkeys(score.family for score in scores))
    groups = [(family, [s for s in scores if s.family == family]) for family in families]
    return [_row(policy, split, task, group) for task, group in [*groups, ("all", list(scores))]]


def _row(policy: str, split: str, task: str, scores: Sequence[Score]) -> dict[str, Any]:
    count = sum(score.success for score in scores)
    low, high = wilson(count, len(scores))
    times = [ms for score in scores for ms in score.ms_per_chunk]
    return {
        "policy": policy,
        "split": split,
        "task": task,
        "episodes": len(scores),
        "success": rounded(count / len(scores)),
        "ci_low": rounded(low),
        "ci_high": rounded(high),
        "ms_per_chunk_p50": quantiles(times, ("p50",))["p50"],
    }
