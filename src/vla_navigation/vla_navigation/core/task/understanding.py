"""Instructions in English or Chinese, and what is called out while they are carried out.

A grammar, not a language model: it says what it doesn't understand, it takes no time, and what it reads can be tested.
A language model may stand in its place, it answers with the same `Meaning`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vla_core.errors import InstructionError
from vla_navigation.core.task import chinese, english
from vla_navigation.core.task.meaning import Meaning, Noun

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
STOP, RESUME, DROP, ANOTHER, NOT_THIS = CALLS = ("stop", "resume", "drop", "another", "not_this")
_CALLS = (
    (STOP, r"\b(stop|halt|freeze|wait)\b|停|别动|等一下|等等"),
    (RESUME, r"\b(go on|continue|resume|carry on)\b|继续|接着"),
    (DROP, r"\b(leave it|leave that|never ?mind|forget it|put it down|drop it|cancel)\b|算了|不要了|放下|取消"),
    (ANOTHER, r"\b(another one|a different one|other one)\b|换一个|另一个|另外一个"),
    (NOT_THIS, r"\b(not|wrong)\b|不是|不对|错了"),
)


@dataclass(frozen=True, slots=True)
class Interjection:
    """What somebody calls out.

    Attributes:
        call: One of CALLS: STOP and RESUME the motion, DROP the task, take ANOTHER one, NOT_THIS one.
        thing: What it must not be, or must be instead, where that is said: 'not the blue one'.
    """

    call: str
    thing: Noun | None = None


def understand(text: str) -> tuple[Meaning, ...]:
    """The tasks of an instruction, in order; things by their canonical names, whatever the language.

    Raises:
        InstructionError: it names nothing that can be done.
    """
    tasks = chinese.understand(text) if _CHINESE.search(text) else english.understand(text)
    if not tasks:
        raise InstructionError(f"'{text}'", "one sentence with a verb", "say it like 'bring me the red mug'")
    return tasks


def interjection(text: str) -> Interjection | None:
    """What is called out; None for what is none, such as a new instruction."""
    said = text.lower().strip()
    for call, pattern in _CALLS:
        found = re.search(pattern, said)
        if found is None:
            continue
        thing = None
        if call == NOT_THIS and not _CHINESE.search(said):
            words = [w for w in re.findall(r"[a-z'-]+", said[found.end() :]) if w not in ("that", "this", "the", "one")]
            thing = english.noun([*words, "thing"] if words else []) if words else None
        return Interjection(call, thing)
    return None
