"""Suite `tabletop`: task families, the words for them, and which of them are held out of training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vla_core.errors import UnknownNameError, UnknownObjectError

COLOURS = ("red", "green", "blue", "yellow", "purple")
SHAPES = ("cube", "cylinder", "ball")
SIDES = ("left", "right")
FAMILIES = ("pick", "place_in", "stack", "push", "open_drawer", "close_drawer", "press_button", "sort")
SPLITS = ("train", "heldout_pose", "heldout_pair", "heldout_phrase")
Split = Literal["train", "heldout_pose", "heldout_pair", "heldout_phrase"]

#: Colour-shape pairs that no training scene contains, not even as a distractor.
HELD_OUT_PAIRS = (("green", "cylinder"), ("yellow", "ball"), ("blue", "cube"))

#: Phrases per family; {a}: object, {b}: destination, {c}: second object. The last two are held out of training.
PHRASES: dict[str, tuple[str, ...]] = {
    "pick": (
        "pick up the {a}",
        "lift the {a}",
        "grab the {a}",
        "take the {a}",
        "pick the {a} up from the table",
        "raise the {a} off the table",
        "please lift up the {a}",
    ),
    "place_in": (
        "put the {a} in the {b}",
        "place the {a} in the {b}",
        "put the {a} into the {b}",
        "drop the {a} in the {b}",
        "move the {a} to the {b}",
        "set the {a} inside the {b}",
        "the {a} goes into the {b}",
    ),
    "stack": (
        "stack the {a} on the {b}",
        "put the {a} on top of the {b}",
        "place the {a} on the {b}",
        "stack the {a} onto the {b}",
        "build a tower with the {a} on the {b}",
        "set the {a} on top of the {b}",
        "the {a} goes on the {b}",
    ),
    "push": (
        "push the {a} to the {b}",
        "push the {a} to the {b} side",
        "slide the {a} to the {b}",
        "move the {a} to the {b} side of the table",
        "shove the {a} to the {b}",
        "slide the {a} over to the {b} side",
        "push the {a} towards the {b}",
    ),
    "open_drawer": (
        "open the drawer",
        "pull the drawer open",
        "pull out the drawer",
        "slide the drawer open",
        "please open the drawer",
        "get the drawer open",
        "pull the drawer",
    ),
    "close_drawer": (
        "close the drawer",
        "push the drawer closed",
        "shut the drawer",
        "slide the drawer shut",
        "please close the drawer",
        "get the drawer shut",
        "push the drawer in",
    ),
    "press_button": (
        "press the button",
        "push the button",
        "press down the button",
        "hit the button",
        "press down on the button",
        "please press the button",
        "push down the button",
    ),
    "sort": (
        "sort the {a} and the {c} into the bowls of their colour",
        "put the {a} and the {c} in the bowls of the same colour",
        "sort the {a} and the {c} by colour",
        "put the {a} and the {c} into the matching bowls",
        "place the {a} and the {c} in bowls of their own colour",
        "sort the {a} and the {c} into the matching bowls",
        "the {a} and the {c} go in the bowls of their colour",
    ),
}
HELD_OUT_PHRASES = 2

#: Words that a policy trained on this suite knows; nouns and colours outside are refused.
VOCABULARY = {
    "colours": COLOURS,
    "nouns": (*SHAPES, "bowl", "bowls", "drawer", "button", "table", "side", "tower", "colour", "top"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A named thing: colour and shape ('cube', 'cylinder', 'ball' or 'bowl')."""

    colour: str
    shape: str

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Task:
    """One instruction with what it is about.

    Attributes:
        objects: Things to move, in order: none for drawer and button, two for sort, else one.
        places: Where each goes: bowls or the base of a stack; empty when the family has none.
        side: 'left' (+y of the robot) or 'right' for push, else ''.
    """

    family: str
    instruction: str
    objects: tuple[Item, ...] = ()
    places: tuple[Item, ...] = ()
    side: str = ""


def phrases(family: str, split: str) -> tuple[str, ...]:
    """Templates of a family that a split may use."""
    every = PHRASES[family]
    return every[-HELD_OUT_PHRASES:] if split == "heldout_phrase" else every[:-HELD_OUT_PHRASES]


def allowed_pairs(split: str) -> tuple[tuple[str, str], ...]:
    """Colour-shape pairs of graspable things that a split's targets may have."""
    if split == "heldout_pair":
        return HELD_OUT_PAIRS
    return tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT_PAIRS)


def sample_task(rng: np.random.Generator, split: str, family: str | None = None) -> Task:
    """Draw a task of a split, uniformly over families when none is given.

    Raises:
        UnknownNameError: unknown split or family.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if family is None:
        # held-out pairs only concern families that name a coloured object
        family = str(rng.choice(FAMILIES if split != "heldout_pair" else ("pick", "place_in", "stack", "push", "sort")))
    if family not in FAMILIES:
        raise UnknownNameError("task family", family, FAMILIES)
    template = str(rng.choice(phrases(family, split)))
    if family in ("open_drawer", "close_drawer", "press_button"):
        return Task(family, template)
    pairs = [Item(*p) for p in allowed_pairs(split)]
    if family in ("push", "stack"):
        pairs = [p for p in pairs if p.shape != "ball"]
    first = pairs[rng.integers(len(pairs))]
    if family == "pick":
        return Task(family, template.format(a=first.name), (first,))
    if family == "push":
        side = str(rng.choice(SIDES))
        return Task(family, template.format(a=first.name, b=side), (first,), side=side)
    if family == "place_in":
        bowl = Item(str(rng.choice(COLOURS)), "bowl")
        return Task(family, template.format(a=first.name, b=bowl.name), (first,), (bowl,))
    if family == "stack":
        bases = [Item(c, "cube") for c in COLOURS if (c, "cube") not in HELD_OUT_PAIRS and c != first.colour]
        base = bases[rng.integers(len(bases))]
        return Task(family, template.format(a=first.name, b=base.name), (first,), (base,))
    every = [Item(*p) for p in allowed_pairs("train")] if split == "heldout_pair" else pairs
    others = [p for p in every if p.colour != first.colour]
    second = others[rng.integers(len(others))]
    bowls = (Item(first.colour, "bowl"), Item(second.colour, "bowl"))
    return Task(family, template.format(a=first.name, c=second.name), (first, second), bowls)


def parse_instruction(text: str) -> Task:
    """Understand an instruction well enough to build a scene for it and to judge it (the policy never sees this).

    Raises:
        UnknownObjectError: no task of the suite, or a thing that the scene can't contain.
    """
    words = re.sub(r"[^a-z ]", " ", text.lower())
    names = "|".join((*SHAPES, "bowl"))
    items = [Item(c, s) for c, s in re.findall(rf"\b({'|'.join(COLOURS)}) ({names})\b", words)]
    things = tuple(i for i in items if i.shape != "bowl")
    bowls = tuple(i for i in items if i.shape == "bowl")
    side = next((s for s in SIDES if re.search(rf"\b{s}\b", words)), "")
    if "drawer" in words:
        closes = re.search(r"\b(close|closed|shut|in)\b", words)
        return Task("close_drawer" if closes else "open_drawer", text)
    if "button" in words:
        return Task("press_button", text)
    if len(things) == 2 and re.search(r"\b(sort|bowls|colour|color)\b", words):
        return Task("sort", text, things, tuple(Item(t.colour, "bowl") for t in things))
    if len(things) == 2 and things[1].shape == "cube":
        return Task("stack", text, things[:1], things[1:])
    if len(things) == 1 and bowls:
        return Task("place_in", text, things, bowls[:1])
    if len(things) == 1 and side and things[0].shape != "ball":
        return Task("push", text, things, side=side)
    if len(things) == 1 and not bowls and re.search(r"\b(pick|lift|grab|take|raise|get)\b", words):
        return Task("pick", text, things)
    known = f"{', '.join(COLOURS)} × {', '.join(SHAPES)}, bowls, the drawer, the button"
    fix = "say it like 'put the red cube in the blue bowl'"
    raise UnknownObjectError(f"instruction '{text}'", f"one of the suite's tasks about {known}", fix)
