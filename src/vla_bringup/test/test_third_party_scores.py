"""Rows of a benchmark's table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_bringup.core import third_party_scores
from vla_bringup.statistics import wilson
from vla_sim.libero import tasks as libero
from vla_sim.metaworld.tasks import GROUPS, TASKS
from vla_sim.third_party.evaluation import ScoredEpisode


def rows(policy: str, episodes: list[ScoredEpisode], limit: int) -> list[dict]:
    """As Meta-World's suite asks for them."""
    return third_party_scores.rows(policy, episodes, limit, GROUPS)


def _episodes(won: dict[str, int], each: int = 10, steps: int = 100) -> list[ScoredEpisode]:
    """`each` episodes of all 50 tasks, of which the first so many per task of a group are won."""
    return [ScoredEpisode(t.name, t.group, k, k < won[t.group], steps, (5.0,)) for t in TASKS for k in range(each)]


def _find(made: list[dict], task: str, group: str) -> dict:
    return next(row for row in made if row["task"] == task and row["group"] == group)


def test_the_two_averages_weigh_differently() -> None:
    made = rows("p", _episodes({"easy": 10, "medium": 5, "hard": 5, "very_hard": 0}), 500)
    assert len(made) == 50 + 4 + 2
    assert _find(made, "all", "mean of groups")["success"] == 0.5
    assert _find(made, "all", "all")["success"] == pytest.approx((28 + 5.5 + 3) / 50)
    easy = _find(made, "all", "easy")
    assert (easy["episodes"], easy["tasks"], easy["success"]) == (280, 28, 1.0)
    assert easy["ci_low"] == pytest.approx(wilson(280, 280)[0], abs=1e-3)
    assert _find(made, "door-open-v3", "easy")["episodes"] == 10


def test_success_after_the_limit_does_not_count() -> None:
    late = _episodes(dict.fromkeys(GROUPS, 10), steps=401)
    assert _find(rows("p", late, 400), "all", "all")["success"] == 0.0
    assert _find(rows("p", late, 401), "all", "all")["success"] == 1.0


def test_some_groups_alone_have_no_mean_of_groups() -> None:
    some = [e for e in _episodes(dict.fromkeys(GROUPS, 4)) if e.group != "hard"]
    assert not [row for row in rows("p", some, 500) if row["group"] == "mean of groups"]


@given(st.tuples(*[st.integers(0, 10)] * 4))
def test_every_rate_lies_in_its_interval_and_the_mean_is_surer_than_its_widest_group(won: tuple[int, ...]) -> None:
    made = rows("p", _episodes(dict(zip(GROUPS, won, strict=True))), 500)
    assert all(0.0 <= r["ci_low"] <= r["success"] <= r["ci_high"] <= 1.0 for r in made)
    width = {r["group"]: r["ci_high"] - r["ci_low"] for r in made if r["task"] == "all"}
    assert width["mean of groups"] < max(width[group] for group in GROUPS)


def test_a_benchmark_without_groups_has_one_average() -> None:
    episodes = [ScoredEpisode(t.name, t.group, k, k < 5, 90, (5.0,)) for t in libero.TASKS for k in range(10)]
    made = third_party_scores.rows("p", episodes, 220)
    assert [row["task"] for row in made] == [*(t.name for t in libero.TASKS), "all"]
    assert (made[-1]["episodes"], made[-1]["success"], made[-1]["step_limit"]) == (100, 0.5, 220)
    assert made[-1]["ci_low"] == pytest.approx(wilson(50, 100)[0], abs=1e-3)
