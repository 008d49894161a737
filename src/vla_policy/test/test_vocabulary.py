"""Strict about things, tolerant about words around them."""

from __future__ import annotations

import pytest

from vla_core.errors import UnknownObjectError
from vla_policy.core.vocabulary import Vocabulary

TAUGHT = Vocabulary.from_corpus(
    [
        "put the red cube in the blue bowl",
        "slide the blue cube to the left side of the table",
        "put the red ball and the blue cube into the matching bowls",
        "put the red ball and the blue cube in the bowls of the same colour",
        "build a tower with the red cube on the blue cube",
        "push the drawer closed",
        "press the button",
    ],
    ["red cube", "blue cube", "red ball", "blue bowl", "drawer", "button"],
)


@pytest.mark.parametrize(
    "instruction",
    [
        "put the red cube in the blue bowl",
        "Please, could you carefully place the blue ball into the red bowl now?",
        "the red ball goes into the blue bowl",
        "the red cube goes on the blue cube",
        "place the red cube and the blue ball in bowls of their own colour",
        "shove the red cube over to the left side",
        "get the drawer open",
        "push the drawer in",
        "push down the button",
        "pick up the small red cube quickly",
        "grab it",
    ],
)
def test_new_phrases_about_known_things_pass(instruction: str) -> None:
    TAUGHT.check(instruction)


@pytest.mark.parametrize(
    ("instruction", "word"),
    [
        ("pick up the banana", "banana"),
        ("put the red banana in the blue bowl", "banana"),
        ("put the red cube in the basket", "basket"),
        ("grab banana", "banana"),
        ("pick up the purple cube", "purple"),
        ("purple cube, lift it", "purple"),
        ("put the red cube next to the toaster please", "toaster"),
        ("fetch my keys", "keys"),
    ],
)
def test_unknown_things_are_named_and_the_known_ones_listed(instruction: str, word: str) -> None:
    with pytest.raises(UnknownObjectError) as caught:
        TAUGHT.check(instruction)
    assert f"'{word}'" in caught.value.got
    assert "red cube" in caught.value.expected and "drawer" in caught.value.expected


def test_metadata_round_trip() -> None:
    assert Vocabulary.from_metadata(TAUGHT.metadata()) == TAUGHT
