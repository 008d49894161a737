"""A wish that names no task, 'I want something to drink': what it calls for is brought, by `choose`."""

from __future__ import annotations

from collections.abc import Collection

from vla_core.errors import InstructionError
from vla_navigation.core.fetch.choice import Embed, Option, choose
from vla_navigation.core.task.lexicon import lexicon
from vla_navigation.core.task.meaning import FETCH, START, Meaning, Noun

_KNOWN, _UNKNOWN = 0.9, 0.3  # how likely it is brought: what the map has, and what would have to be searched for
_CALLS = 0.36  # cosine below which a sentence calls for nothing: 'I am thirsty' has 0.39 for a mug, no-sense up to 0.30


def wished(text: str, known: Collection[str], embed: Embed) -> Meaning:
    """What to do about a wish.

    Args:
        text: English.
        known: Canonical names of things that the map has.
        embed: Reads sentences.

    Raises:
        InstructionError: it calls for nothing that could be brought.
    """
    things = sorted({name for name, kind in lexicon("en").nouns.values() if kind == "thing"})
    options = [
        Option(f"I want the {name}", Meaning(FETCH, Noun(name, kind="thing"), destination=START),
               _KNOWN if name in known else _UNKNOWN)
        for name in things
    ]  # fmt: skip
    choice = choose(text, options, embed)
    if choice.likeness[options.index(choice.option)] < _CALLS:
        raise InstructionError(f"'{text}'", "a task, or a wish that a thing fulfils", "say 'bring me the mug'")
    return choice.option.meaning
