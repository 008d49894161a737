"""Which object is meant: by name and colour, by free text, and by where it is said to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vla_core.types import Float64
from vla_navigation.core.semantic_map.instance import Instance
from vla_navigation.core.semantic_map.map import SemanticMap
from vla_navigation.core.task.lexicon import lexicon
from vla_navigation.core.task.meaning import (
    AT,
    BEHIND,
    IN,
    IN_FRONT_OF,
    LEFT_OF,
    NEXT_TO,
    ON,
    RIGHT_OF,
    UNDER,
    Noun,
    Relation,
)  # fmt: skip

_NEXT_M = 0.8  # "next to": between the nearest sides
_TOUCH_M = 0.08  # "on": between bottom and top
_UNKNOWN, _SAME = 0.4, 0.65  # cosines of sentence vectors: below, a word names nothing here; above, the very thing
_TEMPERATURE = 0.08
#: Texts (N,) → unit vectors (N,D).
Embed = Callable[[Sequence[str]], Float64]
#: Object → canonical name of the room that it is in, or ''.
RoomOf = Callable[[Instance], str]


@dataclass(frozen=True, slots=True)
class Found:
    """An object that may be meant, and how likely (0..1) it is that."""

    thing: Instance
    likelihood: float
    confirmed: bool


class Finder:
    """Answers questions about a map.

    Args:
        map: The map.
        embed: Reads words that are no class of the map.
        room_of: Knows the rooms.
    """

    def __init__(self, map: SemanticMap, embed: Embed, room_of: RoomOf) -> None:
        self._map, self._embed, self._room_of = map, embed, room_of

    def find(
        self, noun: Noun, where: Sequence[Relation] = (), excluded: frozenset[int] = frozenset(), least: float = 0.2
    ) -> list[Found]:
        """Objects by likelihood, the likeliest first; none below `least`."""
        found = []
        for thing in self._map.objects.values():
            if thing.id in excluded:
                continue
            likelihood = self.likelihood(thing, noun)
            for relation in where:
                likelihood *= self._holds(thing, relation) if likelihood >= least else 0.0
            if likelihood >= least:
                found.append(Found(thing, likelihood, self._map.confirmed(thing)))
        return sorted(found, key=lambda one: (-one.likelihood, one.thing.id))

    def likelihood(self, thing: Instance, noun: Noun) -> float:
        """That it exists, is such a thing, and has the colour."""
        out = thing.existence * float(thing.class_probability @ self.meant(noun))
        if noun.colour in self._map.colours:
            out *= float(thing.colour_probability[self._map.colours.index(noun.colour)])
        elif noun.colour:
            return 0.0
        return out

    def meant(self, noun: Noun) -> Float64:
        """(K,) how well every class of the map fits a noun: 1 for it and narrower ones, by likeness for others."""
        classes = self._map.classes
        wider = lexicon("en").wider
        if noun.kind != "unknown" or noun.name in classes:
            return np.array([float(noun.name in (name, wider.get(name))) for name in classes])
        vectors = self._embed([noun.said or noun.name, *classes])
        likeness = vectors[1:] @ vectors[0]
        share = np.exp((likeness - likeness.max()) / _TEMPERATURE)
        trust = np.clip((likeness.max() - _UNKNOWN) / (_SAME - _UNKNOWN), 0.0, 1.0)
        out: Float64 = trust * share / share.max()
        return out

    def _holds(self, thing: Instance, relation: Relation) -> float:
        """How well a relation holds, 0..1."""
        anchor = relation.anchor
        if anchor.kind == "room":
            return float(self._room_of(thing) == anchor.name)
        best = 0.0
        for other in self._map.objects.values():
            if other.id == thing.id or (anchor.room and self._room_of(other) != anchor.room):
                continue
            likely = self.likelihood(other, anchor)
            if likely > best and _related(thing, other, relation.kind):
                best = likely
        return best


def _related(thing: Instance, anchor: Instance, kind: str) -> bool:
    """Whether `thing` is there, as seen from where the anchor was last seen from."""
    sides = _Sides(thing, anchor)
    close = sides.gap_m <= _NEXT_M
    level: dict[str, Callable[[], bool]] = {
        NEXT_TO: lambda: close and not sides.on and not sides.under,
        ON: lambda: sides.on,
        IN: lambda: sides.inside,
        UNDER: lambda: sides.under,
        AT: lambda: close,
    }
    if kind in level:
        return level[kind]()
    if sides.gap_m > 2.0 * _NEXT_M or not anchor.eyes_m:
        return False
    right_m, behind_m = sides.seen_from(anchor.eyes_m[-1])
    aside = {LEFT_OF: -right_m, RIGHT_OF: right_m, BEHIND: behind_m, IN_FRONT_OF: -behind_m}[kind]
    return aside > 0.0 and aside >= 0.7 * float(np.hypot(right_m, behind_m))


class _Sides:
    """How two boxes lie to each other."""

    def __init__(self, thing: Instance, anchor: Instance) -> None:
        (self._low, self._high), (self._from, self._to) = thing.extent_m, anchor.extent_m

    @cached_property
    def _over(self) -> bool:
        """The middle of the thing lies within the anchor, seen from above."""
        middle = 0.5 * (self._low + self._high)[:2]
        return bool(((middle >= self._from[:2]) & (middle <= self._to[:2])).all())

    @property
    def on(self) -> bool:
        return self._over and abs(self._low[2] - self._to[2]) <= _TOUCH_M

    @property
    def under(self) -> bool:
        return self._over and self._high[2] <= self._to[2] - _TOUCH_M

    @property
    def inside(self) -> bool:
        return self._over and self._low[2] >= self._from[2] - _TOUCH_M and self._low[2] < self._to[2] - _TOUCH_M

    @property
    def gap_m(self) -> float:
        """Between their sides, level; 0 where they overlap."""
        apart = np.maximum(0.0, np.maximum(self._from - self._high, self._low - self._to))
        return float(np.linalg.norm(apart[:2]))

    def seen_from(self, eye_m: Float64) -> tuple[float, float]:
        """How far the thing lies to the right of the anchor and behind it."""
        anchor, thing = 0.5 * (self._from + self._to), 0.5 * (self._low + self._high)
        ahead = (anchor - eye_m)[:2]
        ahead = ahead / max(1e-9, float(np.linalg.norm(ahead)))
        off = (thing - anchor)[:2]
        return float(off @ np.array([ahead[1], -ahead[0]])), float(off @ ahead)
