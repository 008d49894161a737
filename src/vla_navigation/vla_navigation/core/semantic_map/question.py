"""A thing as it is asked for, 'the red mug next to the sink', with or without a verb, in English or Chinese."""

from __future__ import annotations

import contextlib

from vla_core.errors import InstructionError
from vla_navigation.core.task.meaning import Noun, Relation
from vla_navigation.core.task.understanding import understand


def asked_for(text: str) -> tuple[Noun, tuple[Relation, ...]]:
    """The thing that a text names, and what is said of its place.

    Raises:
        InstructionError: it names no thing.
    """
    for sentence in (text, f"find {text}"):
        with contextlib.suppress(InstructionError):
            for meaning in understand(sentence):
                if meaning.thing is not None:
                    return meaning.thing, meaning.where
    raise InstructionError(f"'{text}'", "a thing", "say it like 'the red mug next to the sink'")
