"""Hints for a search, from what is asked for and from the furniture that is known so far.

    target -> thing, what is said of its place -> pieces of furniture that speak for it -> bumps of worth around them

Three things speak: the place that was named ("on the shelf"), the room that was named, by the furniture that shows it
("in the kitchen": around stove and fridge), and habit (cups are on tables). The words are those of the lexicon, `shows`
and `usually_on` in config/language/household.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vla_core.errors import InstructionError
from vla_navigation.core.explore.prior import Hint
from vla_navigation.core.semantic_map.question import asked_for
from vla_navigation.core.task.lexicon import lexicon

_SAID, _ROOM, _HABIT = 6.0, 3.0, 1.5  # how much more a cell is worth, for a piece that is certain
_ROOM_M = 1.5
_AROUND_M = 0.4  # a thing is seen on and around a piece
_LEAST = 0.1  # what speaks for less is no hint


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of furniture that the map of objects knows.

    Attributes:
        x, y: Of its middle, map frame [m].
        half_m: Half of its longer side.
        likely: Canonical class → probability, times that it exists.
    """

    x: float
    y: float
    half_m: float
    likely: Mapping[str, float]


def hints(target: str, pieces: Sequence[Piece]) -> tuple[Hint, ...]:
    """Places near which the target is likelier; none for a target that says nothing.

    Args:
        target: Plain language, English or Chinese, as `Explore.action` takes it.
        pieces: Known furniture.
    """
    try:
        thing, where = asked_for(target)
    except InstructionError:
        return ()
    anchors = [relation.anchor for relation in where]
    said = {anchor.name for anchor in anchors if anchor.kind == "place"}
    rooms = {anchor.room or anchor.name for anchor in anchors if anchor.room or anchor.kind == "room"}
    known = lexicon("en")
    habit = set() if said else set(known.habits.get(thing.name, ()))
    out = []
    for piece in pieces:
        around_m = piece.half_m + _AROUND_M
        for places, weight, radius_m in ((said, _SAID, around_m), (habit, _HABIT, around_m)):
            likely = sum(p for name, p in piece.likely.items() if {name, known.wider.get(name)} & places)
            out.append(Hint(piece.x, piece.y, radius_m, weight * likely))
        shown = sum(p for name, p in piece.likely.items() if known.shows.get(name) in rooms)
        out.append(Hint(piece.x, piece.y, _ROOM_M, _ROOM * shown))
    return tuple(hint for hint in out if hint.weight >= _LEAST)
