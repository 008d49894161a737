"""What is said about a labelled frame: sub-tasks follow the task, answers are true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import UnknownNameError
from vla_policy.core.words import END, Words
from vla_policy.training.scene_texts import Frame, all_questions, all_texts, question, subtask

NAMES = ("red cube", "blue bowl", "green ball", "yellow bowl")
XYZ = np.array([[0.45, -0.2, 0.02], [0.6, 0.2, 0.02], [0.5, 0.0, 0.02], [0.4, 0.15, 0.02]])
FRAME = Frame(
    "place_in", NAMES, XYZ, np.ones(4, bool), np.array([0, 1, -1, -1]), np.array([0.45, 0.1, 0.3]), False, False
)
WORDS = Words.of([*all_texts(NAMES), *all_questions(NAMES)])


def at(thing: int, closed: bool, **changes: object) -> Frame:
    """The tool at a thing."""
    return replace(FRAME, tool=XYZ[thing] + [0.0, 0.0, 0.01], closed=closed, **changes)  # type: ignore[arg-type]


def test_the_sub_tasks_of_placing_in_their_order() -> None:
    held = XYZ.copy()
    held[0] = [0.6, 0.2, 0.1]
    over = replace(FRAME, xyz=held, tool=held[0])
    said = [FRAME, at(0, False), at(0, True), replace(over, closed=True), over, replace(FRAME, success=True)]
    assert [subtask(frame) for frame in said] == [
        "reach the red cube", "grasp the red cube", "carry the red cube to the blue bowl",
        "lower the red cube to the blue bowl", "release the red cube", "done",
    ]  # fmt: skip


def test_sorting_goes_on_to_the_second_thing_when_the_first_lies_in_its_bowl() -> None:
    roles = np.array([0, 1, 2, 3])
    first = replace(FRAME, family="sort", roles=roles)
    assert subtask(first) == "reach the red cube"
    there = XYZ.copy()
    there[0] = there[1]
    assert subtask(replace(first, xyz=there)) == "reach the green ball"
    assert (
        subtask(replace(at(2, True), family="sort", roles=roles, xyz=there))
        == "carry the green ball to the yellow bowl"
    )


@pytest.mark.parametrize(("family", "verb"), [("pick", "lift"), ("push", "push")])
def test_things_without_a_place(family: str, verb: str) -> None:
    frame = replace(at(0, True), family=family, roles=np.array([0, -1, -1, -1]))
    assert subtask(frame) == f"{verb} the red cube"


@given(st.integers(0, 2**32 - 1))
def test_answers_are_true_and_every_word_is_known(seed: int) -> None:
    asked, answer = question(FRAME, (*NAMES, "purple cube"), np.random.default_rng(seed))
    WORDS.encode(answer)
    if asked.startswith("is there a"):
        assert answer == ("yes" if asked.removeprefix("is there a ") in NAMES else "no")
    elif asked.startswith("how many"):
        shape = asked.split()[2].removesuffix("s")
        assert answer == {"cube": "one", "bowl": "two", "ball": "one", "cylinder": "zero"}[shape]
    elif asked == "what is closest to the gripper":
        assert answer == "yellow bowl"
    elif asked.startswith("what is closest to the"):
        assert answer in NAMES and answer not in asked
    else:
        assert answer == {"red cube": "near right", "blue bowl": "far left", "green ball": "near middle",
                          "yellow bowl": "near left"}[asked.removeprefix("where is the ")]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS.words), min_size=1, max_size=9))
def test_words_survive_their_tokens(words: list[str]) -> None:
    text = " ".join(words)
    assert WORDS.decode([*WORDS.encode(text), END, 5]) == text


def test_a_word_that_was_never_learnt_is_named() -> None:
    with pytest.raises(UnknownNameError, match="zebra"):
        WORDS.encode("the zebra")
