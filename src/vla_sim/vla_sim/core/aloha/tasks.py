"""Suite `aloha`: what two arms do together, the words for it, and which of them are held out of training."""

from __future__ import annotations

import re

import numpy as np

from vla_core.errors import UnknownNameError, UnknownObjectError
from vla_sim.core.tasks import COLOURS, HELD_OUT_PHRASES, SPLITS, Item, Task

FAMILIES = ("transfer_cube", "lift_together")
SHAPE = {"transfer_cube": "cube", "lift_together": "bar"}

#: Colours that no training scene shows a thing in.
HELD_OUT_PAIRS = (("blue", "cube"), ("green", "bar"))

#: Phrases per family; {a}: the thing. The last two are held out of training.
PHRASES: dict[str, tuple[str, ...]] = {
    "transfer_cube": (
        "hand the {a} to the left arm",
        "pass the {a} from the right hand to the left",
        "transfer the {a} to the left hand",
        "give the {a} to the left arm",
        "take the {a} with the right hand and hand it to the left",
        "let the left hand take the {a} from the right",
        "pass the {a} over to the left hand",
    ),
    "lift_together": (
        "lift the {a} with both hands",
        "pick up the {a} with both arms",
        "raise the {a} with both hands",
        "lift the {a} together",
        "lift the {a} level with both arms",
        "take the {a} with both hands and lift it",
        "raise the {a} together",
    ),
}


def phrases(family: str, split: str) -> tuple[str, ...]:
    """Templates of a family that a split may use."""
    every = PHRASES[family]
    return every[-HELD_OUT_PHRASES:] if split == "heldout_phrase" else every[:-HELD_OUT_PHRASES]


def colours(family: str, split: str) -> tuple[str, ...]:
    """Colours that the thing of a family may have in a split."""
    held_out = tuple(colour for colour, shape in HELD_OUT_PAIRS if shape == SHAPE[family])
    return held_out if split == "heldout_pair" else tuple(c for c in COLOURS if c not in held_out)


def sample_task(rng: np.random.Generator, split: str, family: str | None = None) -> Task:
    """Draw a task of a split, uniformly over families when none is given.

    Raises:
        UnknownNameError: unknown split or family.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    family = family or str(rng.choice(FAMILIES))
    if family not in FAMILIES:
        raise UnknownNameError("task family", family, FAMILIES)
    item = Item(str(rng.choice(colours(family, split))), SHAPE[family])
    return Task(family, str(rng.choice(phrases(family, split))).format(a=item.name), (item,))


def parse_instruction(text: str) -> Task:
    """Understand an instruction well enough to build a scene for it and to judge it (the policy never sees this).

    Raises:
        UnknownObjectError: no task of the suite, or a thing that the scene can't contain.
    """
    words = re.sub(r"[^a-z ]", " ", text.lower())
    things = [Item(c, s) for c, s in re.findall(rf"\b({'|'.join(COLOURS)}) (cube|bar)\b", words)]
    if len(things) == 1 and things[0].shape == "cube" and "left" in words:
        return Task("transfer_cube", text, tuple(things))
    if len(things) == 1 and things[0].shape == "bar" and re.search(r"\b(both|together)\b", words):
        return Task("lift_together", text, tuple(things))
    known = f"a cube to hand over or a bar to lift with both hands, {', '.join(COLOURS)}"
    fix = "say it like 'hand the red cube to the left arm' or 'lift the red bar with both hands'"
    raise UnknownObjectError(f"instruction '{text}'", f"one of the suite's tasks: {known}", fix)
