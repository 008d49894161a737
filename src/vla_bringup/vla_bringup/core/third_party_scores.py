"""Rows of a benchmark's table: every task, every group of tasks, and the averages that are in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vla_bringup.statistics import quantiles, rounded, wilson
from vla_sim.third_party.evaluation import ScoredEpisode

Row = dict[str, Any]
Episodes = Sequence[ScoredEpisode]


def rows(policy: str, episodes: Episodes, limit: int, groups: Sequence[str] = ()) -> list[Row]:
    """One row per task, per group, for all tasks, and for the mean of the groups, as Evo-1 and SmolVLA report it.

    Args:
        policy: Name of the policy.
        episodes: At least one.
        limit: Success after more steps doesn't count.
        groups: In which order; none where the benchmark has no groups.
    """
    tasks = {e.task: e.group for e in episodes}
    parts = [(name, group, [e for e in episodes if e.task == name]) for name, group in tasks.items()]
    made = [_row(policy, name, group, limit, part) for name, group, part in parts]
    counted = [(group, [e for e in episodes if e.group == group]) for group in groups if group in tasks.values()]
    grouped = [_row(policy, "all", group, limit, part) for group, part in counted]
    means = [_row(policy, "all", "all", limit, episodes)]
    if grouped and len(grouped) == len(groups):
        means.append(_mean(policy, limit, grouped, episodes))
    return [*made, *grouped, *means]


def _row(policy: str, task: str, group: str, limit: int, episodes: Episodes) -> Row:
    count = sum(e.success and e.steps <= limit for e in episodes)
    low, high = wilson(count, len(episodes))
    return _cells(policy, task, group, limit, episodes, count / len(episodes), low, high)


def _mean(policy: str, limit: int, groups: Sequence[Row], episodes: Episodes) -> Row:
    """Mean of the groups' rates, each weighing the same.

    Its interval combines theirs (MOVER, Zou and Donner 2008, Stat. Med. 27:1693, with Wilson intervals).
    """
    rate = sum(g["success"] for g in groups) / len(groups)
    below = math.sqrt(sum((g["success"] - g["ci_low"]) ** 2 for g in groups)) / len(groups)
    above = math.sqrt(sum((g["ci_high"] - g["success"]) ** 2 for g in groups)) / len(groups)
    return _cells(policy, "all", "mean of groups", limit, episodes, rate, rate - below, rate + above)


def _cells(
    policy: str, task: str, group: str, limit: int, episodes: Episodes, rate: float, low: float, high: float
) -> Row:
    times = [ms for e in episodes for ms in e.ms_per_chunk]
    return {
        "policy": policy,
        "group": group,
        "task": task,
        "tasks": len({e.task for e in episodes}),
        "step_limit": limit,
        "episodes": len(episodes),
        "success": rounded(rate),
        "ci_low": rounded(min(rate, low)),
        "ci_high": rounded(max(rate, high)),
        "ms_per_chunk_p50": quantiles(times, ("p50",))["p50"],
    }
