"""What an instruction means: the thing, where it is said to be, and where it shall go."""

from __future__ import annotations

from dataclasses import dataclass, field

FETCH, FIND, PLACE, GO = GOALS = ("fetch", "find", "place", "go")
NEXT_TO, ON, IN, UNDER, LEFT_OF, RIGHT_OF, BEHIND, IN_FRONT_OF, AT = RELATIONS = (
    "next_to", "on", "in", "under", "left_of", "right_of", "behind", "in_front_of", "at",
)  # fmt: skip
#: Where the robot stood when it was told.
START = "start"


@dataclass(frozen=True, slots=True)
class Noun:
    """A thing, a piece of furniture or a room.

    Attributes:
        name: Canonical name, see config/language; of a word that isn't there the word itself.
        colour: Canonical colour, or empty.
        kind: 'thing', 'place', 'room', or 'unknown' for a word that isn't there.
        room: Of a place: the room that it is said to be in, or empty.
        said: The speaker's words, for messages and for detectors that read free text.
    """

    name: str
    colour: str = ""
    kind: str = "unknown"
    room: str = ""
    said: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.colour} {self.name}".strip() + (f" of the {self.room}" if self.room else "")


@dataclass(frozen=True, slots=True)
class Relation:
    """Where something is: `kind` (one of RELATIONS; 'at': by it, on it or in it) to `anchor`."""

    kind: str
    anchor: Noun

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} the {self.anchor}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One task.

    Attributes:
        goal: FETCH brings it to `destination`, PLACE puts it there, FIND says where it is, GO only drives there.
        thing: What; None for GO.
        where: What is said of its place, all of which must hold; empty: anywhere.
        destination: START, or where to; None for FIND.
    """

    goal: str
    thing: Noun | None = None
    where: tuple[Relation, ...] = ()
    destination: Relation | str | None = None

    def __str__(self) -> str:
        thing = "" if self.thing is None else f" the {self.thing}"
        where = "".join(f" {relation}" for relation in self.where)
        to = "" if self.destination is None else f" -> {self.destination}"
        return f"{self.goal}{thing}{where}{to}"
