"""Meta-World's task table and whose seeds are whose."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError, UnknownNameError
from vla_sim.metaworld.benchmark import METAWORLD
from vla_sim.metaworld.demonstrations import SEEDS_PER_EPISODE, DemonstrationConfig, seeds_of
from vla_sim.metaworld.tasks import EVALUATION_SEEDS, GROUPS, TASKS, TRAINING_SEEDS, select


def test_fifty_tasks_in_the_groups_that_others_report() -> None:
    assert len({t.name for t in TASKS}) == len({t.instruction for t in TASKS}) == 50
    assert [t.index for t in TASKS] == list(range(50))
    assert Counter(t.group for t in TASKS) == {"easy": 28, "medium": 11, "hard": 6, "very_hard": 5}
    assert {t.name for t in TASKS if t.group == "very_hard"} == {
        "shelf-place-v3", "disassemble-v3", "stick-pull-v3", "stick-push-v3", "pick-place-wall-v3",
    }  # fmt: skip


def test_tasks_are_chosen_by_name_or_group() -> None:
    assert select([]) == TASKS
    assert [t.name for t in select(["sweep-v3", "assembly-v3"])] == ["assembly-v3", "sweep-v3"]
    assert sum(len(select([group])) for group in GROUPS) == 50
    with pytest.raises(UnknownNameError, match="door-open-v3"):
        select(["door-open"])


@given(st.integers(0, len(TRAINING_SEEDS) // SEEDS_PER_EPISODE - 1))
def test_no_scene_that_is_scored_may_be_demonstrated(episode: int) -> None:
    assert all(seed in TRAINING_SEEDS for seed in seeds_of(episode)) and EVALUATION_SEEDS.start >= TRAINING_SEEDS.stop
    assert METAWORLD.seeds == EVALUATION_SEEDS
    assert not set(seeds_of(episode)) & set(seeds_of(episode + 1))


def test_more_demonstrations_than_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 250000"):
        DemonstrationConfig(per_task=250_001)
