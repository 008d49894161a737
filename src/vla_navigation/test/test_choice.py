"""SayCan: what is wanted, among what can be done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.errors import ConfigError, InstructionError
from vla_core.types import Float64
from vla_navigation.core.fetch.choice import Option, choose
from vla_navigation.core.fetch.wish import wished
from vla_navigation.core.task.understanding import understand
from vla_policy.core.text import minilm

THINGS = ("mug", "bottle", "book", "banana", "toy", "phone", "pen", "glasses", "towel")
ENCODER = minilm(32)


def embed(texts: Sequence[str]) -> Float64:
    vectors = np.asarray(ENCODER.encode(list(texts))[2], np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def options(**affordances: float) -> list[Option]:
    said = {thing: f"bring me the {thing}" for thing in THINGS}
    return [Option(text, understand(text)[0], affordances.get(thing, 0.9)) for thing, text in said.items()]


@pytest.mark.parametrize(
    ("said", "thing"),
    [
        ("I want something to drink", "bottle"), ("I would like to read", "book"), ("the child wants to play", "toy"),
        ("I must call my mother", "phone"), ("I want to write a letter", "pen"), ("my hands are wet", "towel"),
    ],
)  # fmt: skip
def test_needs_call_for_things(said: str, thing: str) -> None:
    assert choose(said, options(), embed).option.meaning.thing.name == thing  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "known", "thing"),
    [
        ("I am thirsty", (), "mug"), ("I want something to drink", ("bottle",), "bottle"),
        ("I want something to drink", ("mug",), "mug"), ("I would like to read something", (), "book"),
        ("I'm hungry, give me a fruit", ("apple", "banana"), "banana"),
    ],
)  # fmt: skip
def test_a_wish_becomes_the_task_that_fulfils_it(said: str, known: tuple[str, ...], thing: str) -> None:
    meaning = wished(said, known, embed)
    assert meaning.thing is not None
    assert (meaning.goal, meaning.thing.name, meaning.destination) == ("fetch", thing, "start")


@pytest.mark.parametrize("said", ["colourless green ideas", "hello", "the weather is nice", "tell me a joke", ""])
def test_what_calls_for_nothing_is_refused(said: str) -> None:
    with pytest.raises(InstructionError, match="a wish that a thing fulfils"):
        wished(said, ("mug", "ball"), embed)


def test_what_cannot_be_done_gives_way_to_what_can() -> None:
    """No bottle in the map: the mug."""
    found = choose("I want something to drink", options(bottle=0.0), embed)
    assert found.option.description == "bring me the mug"
    assert found.language[1] == found.language.max() and found.scores[1] == 0.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6), st.integers(0, 2**31))
def test_an_infeasible_skill_is_never_chosen(values: list[float], seed: int) -> None:
    """And of equally wanted ones the likelier succeeds."""
    vectors = np.random.default_rng(seed).normal(0.0, 1.0, (len(values) + 1, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given_options = [Option(str(i), understand("find the mug")[0], value) for i, value in enumerate(values)]
    if not any(values):
        with pytest.raises(InstructionError, match="nothing that can be done"):
            choose("?", given_options, lambda _: vectors)
        return
    found = choose("?", given_options, lambda _: vectors)
    assert found.option.affordance > 0.0
    np.testing.assert_allclose(found.scores, found.language * values)
    same = choose("?", given_options, lambda texts: np.ones((len(texts), 1)))
    assert same.option.affordance == max(values)


def test_affordances_are_probabilities() -> None:
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        choose("?", options(mug=1.2), embed)
