"""The suite's words: every drawn task is understood again, and what is held out stays out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.errors import UnknownNameError, UnknownObjectError
from vla_sim.core import tasks

SEEDS = st.integers(0, 2**31)


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.sampled_from(tasks.SPLITS))
def test_every_drawn_instruction_is_parsed_to_the_same_task(seed: int, split: str) -> None:
    drawn = tasks.sample_task(np.random.default_rng(seed), split)
    read = tasks.parse_instruction(drawn.instruction)
    assert (read.family, read.objects, read.places, read.side) == (
        drawn.family, drawn.objects, drawn.places, drawn.side,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_training_never_names_a_held_out_pair_or_phrase(seed: int) -> None:
    task = tasks.sample_task(np.random.default_rng(seed), "train")
    assert all((item.colour, item.shape) not in tasks.HELD_OUT_PAIRS for item in task.objects + task.places)
    held_out = tasks.PHRASES[task.family][-tasks.HELD_OUT_PHRASES :]
    names = {"a": task.objects[0].name if task.objects else "", "b": "", "c": ""}
    names["b"] = task.places[0].name if task.places else task.side
    names["c"] = task.objects[1].name if len(task.objects) > 1 else ""
    assert task.instruction not in {phrase.format(**names) for phrase in held_out}


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_the_pair_split_always_moves_a_held_out_pair(seed: int) -> None:
    task = tasks.sample_task(np.random.default_rng(seed), "heldout_pair")
    assert (task.objects[0].colour, task.objects[0].shape) in tasks.HELD_OUT_PAIRS


@pytest.mark.parametrize("text", ["pick up the banana", "put the red cube in the microwave", "dance", ""])
def test_what_the_suite_cannot_build_is_refused_with_what_it_knows(text: str) -> None:
    with pytest.raises(UnknownObjectError, match="red, green, blue"):
        tasks.parse_instruction(text)


def test_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="heldout_pair"):
        tasks.sample_task(np.random.default_rng(0), "test")
