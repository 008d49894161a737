"""What instructions mean: the same in English and in Chinese, whatever words are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.errors import ConfigError, InstructionError
from vla_core.files import config_path, load_yaml
from vla_navigation.core.task.lexicon import lexicon
from vla_navigation.core.task.meaning import (
    AT,
    FETCH,
    FIND,
    GO,
    IN,
    LEFT_OF,
    NEXT_TO,
    ON,
    PLACE,
    START,
    Meaning,
    Noun,
    Relation,
)  # fmt: skip
from vla_navigation.core.task.understanding import (
    ANOTHER,
    DROP,
    NOT_THIS,
    RESUME,
    STOP,
    Interjection,
    interjection,
    understand,
)  # fmt: skip

WORDS = load_yaml(config_path("language", "household"))
MUG, SINK, KITCHEN = Noun("mug", kind="thing"), Noun("sink", kind="place"), Noun("kitchen", kind="room")
TABLE, SHELF = Noun("table", kind="place"), Noun("shelf", kind="place")


def red(noun: Noun) -> Noun:
    return Noun(noun.name, "red", noun.kind, noun.room)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("bring me the red mug", Meaning(FETCH, red(MUG), (), START)),
        ("Please fetch the cup next to the sink.", Meaning(FETCH, MUG, (Relation(NEXT_TO, SINK),), START)),
        ("can you get the can?", Meaning(FETCH, Noun("can", kind="thing"), (), START)),
        ("take the mug on the shelf and put it in the sink",
         Meaning(PLACE, MUG, (Relation(ON, SHELF),), Relation(IN, SINK))),
        ("go to the kitchen and bring me the red mug", Meaning(FETCH, red(MUG), (Relation(IN, KITCHEN),), START)),
        ("go to the kitchen, then bring me a mug", Meaning(FETCH, MUG, (Relation(IN, KITCHEN),), START)),
        ("put the mug on the shelf on the table", Meaning(PLACE, MUG, (Relation(ON, SHELF),), Relation(ON, TABLE))),
        ("put the cup into the sink", Meaning(PLACE, MUG, (), Relation(IN, SINK))),
        ("where is the mug?", Meaning(FIND, MUG)),
        ("look for my red coffee mug", Meaning(FIND, red(MUG))),
        ("go to the kitchen", Meaning(GO, destination=Relation(AT, KITCHEN))),
        ("pick up the mug and bring it here", Meaning(FETCH, MUG, (), START)),
        ("pick up the mug and bring it to the table", Meaning(PLACE, MUG, (), Relation(AT, TABLE))),
        ("get the mug from the table in the kitchen",
         Meaning(FETCH, MUG, (Relation(AT, Noun("table", kind="place", room="kitchen")),), START)),
        ("hand me the mug to the left of the sink", Meaning(FETCH, MUG, (Relation(LEFT_OF, SINK),), START)),
        ("bring the orange", Meaning(FETCH, Noun("orange fruit", kind="thing"), (), START)),
        ("bring the orange mug", Meaning(FETCH, Noun("mug", "orange", "thing"), (), START)),
        ("I need the stapler", Meaning(FETCH, Noun("stapler"), (), START)),
        ("把红色的杯子拿给我", Meaning(FETCH, red(MUG), (), START)),
        ("请帮我拿一下水槽旁边的杯子", Meaning(FETCH, MUG, (Relation(NEXT_TO, SINK),), START)),
        ("去厨房把红杯子拿过来", Meaning(FETCH, red(MUG), (Relation(IN, KITCHEN),), START)),
        ("厨房里的杯子拿来", Meaning(FETCH, MUG, (Relation(IN, KITCHEN),), START)),
        ("把架子上的杯子放到水槽里", Meaning(PLACE, MUG, (Relation(ON, SHELF),), Relation(IN, SINK))),
        ("把杯子放到厨房的桌子上", Meaning(PLACE, MUG, (), Relation(ON, Noun("table", kind="place", room="kitchen")))),
        ("厨房里桌子上的杯子拿来",
         Meaning(FETCH, MUG, (Relation(ON, Noun("table", kind="place", room="kitchen")),), START)),
        ("把杯子送到厨房", Meaning(PLACE, MUG, (), Relation(AT, KITCHEN))),
        ("杯子在哪里？", Meaning(FIND, MUG)),
        ("去厨房", Meaning(GO, destination=Relation(AT, KITCHEN))),
    ],
)  # fmt: skip
def test_sentences(said: str, meant: Meaning) -> None:
    assert understand(said) == (meant,)


def words_of(section: str) -> st.SearchStrategy[tuple[str, str, str]]:
    """Canonical name, an English and a Chinese word."""
    rows = [(name, en, zh) for name, words in WORDS[section].items() for en in words["en"] for zh in words["zh"]]
    return st.sampled_from(rows)


@settings(max_examples=300, deadline=None)
@given(words_of("things"), words_of("colours"), words_of("places"), words_of("rooms"))
def test_every_word_means_the_same_in_both_languages(
    thing: tuple[str, str, str], colour: tuple[str, str, str], place: tuple[str, str, str], room: tuple[str, str, str]
) -> None:
    wanted = Noun(thing[0], colour[0], "thing")
    there = Relation(NEXT_TO, Noun(place[0], kind="place", room=room[0]))
    meant = (Meaning(FETCH, wanted, (there,), START),)
    assert understand(f"bring me the {colour[1]} {thing[1]} next to the {place[1]} in the {room[1]}") == meant
    assert understand(f"把{room[2]}里{place[2]}旁边的{colour[2]}的{thing[2]}拿给我") == meant


def test_two_things_are_two_tasks_in_order() -> None:
    first, second = understand("put the mug in the sink and bring me the red box")
    assert (first.goal, first.thing) == (PLACE, MUG)
    assert (second.goal, second.thing) == (FETCH, Noun("box", "red", "thing"))


@pytest.mark.parametrize("said", ["", "hello there", "bring it", "put it in the sink", "给我", "go"])
def test_what_says_nothing_is_refused_in_one_sentence(said: str) -> None:
    with pytest.raises(InstructionError, match=r"got .*; expected .*; fix: "):
        understand(said)


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("stop!", STOP), ("wait a moment", STOP), ("停", STOP), ("go on", RESUME), ("继续", RESUME), ("leave it", DROP),
        ("never mind", DROP), ("算了", DROP), ("not that one", NOT_THIS), ("不是那个", NOT_THIS),
        ("the other one", ANOTHER),
        ("换一个", ANOTHER),
    ],
)  # fmt: skip
def test_calls(said: str, call: str) -> None:
    assert interjection(said) == Interjection(call)


def test_what_it_must_not_be_is_understood() -> None:
    found = interjection("no, not the blue one")
    assert found is not None and found.call == NOT_THIS and found.thing is not None and found.thing.colour == "blue"


@pytest.mark.parametrize("said", ["bring me the red mug", "把红色的杯子拿给我", "go to the kitchen", "去客厅"])
def test_an_instruction_is_no_interjection(said: str) -> None:
    assert interjection(said) is None


def test_a_word_of_two_meanings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("things: {a: {en: [x], zh: [x]}, b: {en: [x], zh: [z]}}\nplaces: {}\nrooms: {}\ncolours: {}\n")
    with pytest.raises(ConfigError, match="'x' for a and b"):
        lexicon("en", str(path))
