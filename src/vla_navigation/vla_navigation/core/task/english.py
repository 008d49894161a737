"""English instructions: clauses of a verb, a noun phrase and prepositional phrases, read from left to right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vla_core.errors import InstructionError
from vla_navigation.core.task.lexicon import lexicon
from vla_navigation.core.task.meaning import (
    AT,
    BEHIND,
    FETCH,
    FIND,
    GO,
    IN,
    IN_FRONT_OF,
    LEFT_OF,
    NEXT_TO,
    ON,
    PLACE,
    RIGHT_OF,
    START,
    UNDER,
    Meaning,
    Noun,
    Relation,
)  # fmt: skip

_VERBS = {
    FETCH: "bring fetch get grab take pick give hand deliver retrieve need want",
    PLACE: "put place set drop move carry lay store",
    FIND: "find locate look search where where's",
    GO: "go drive come navigate",
}
_GOAL = {verb: goal for goal, verbs in _VERBS.items() for verb in verbs.split()}
_SAID_BESIDES = frozenset(
    "please robot hey hi ok okay could would will you i i'd i'll we like just now kindly up out so that which some for "
    "is are lying standing sitting".split()
)
_BREAKS = frozenset(("and", "then", ",", ";", "."))
_DETERMINERS = frozenset("the a an this that these those my your his her our their one any another".split())
_LISTENERS = frozenset("me us here him her them".split())
_SAME = frozenset("it them that this one".split())
_TOWARDS = {"to": AT, "into": IN, "onto": ON}
_PREPOSITIONS = {
    **dict.fromkeys(("next to", "beside", "near", "close to", "by"), NEXT_TO),
    **dict.fromkeys(("on top of", "on"), ON),
    **dict.fromkeys(("inside", "in"), IN),
    **dict.fromkeys(("underneath", "under", "below", "beneath"), UNDER),
    **dict.fromkeys(("to the left of", "on the left of", "left of"), LEFT_OF),
    **dict.fromkeys(("to the right of", "on the right of", "right of"), RIGHT_OF),
    "behind": BEHIND, "in front of": IN_FRONT_OF, "from": AT, "at": AT,
}  # fmt: skip
_PHRASES = sorted(({**_PREPOSITIONS, **_TOWARDS}), key=lambda phrase: -len(phrase.split()))
_BY_LENGTH = [(phrase.split(), phrase) for phrase in _PHRASES]


def understand(text: str) -> tuple[Meaning, ...]:
    """The tasks of a sentence, in order; see task.understanding.

    Raises:
        InstructionError: it says nothing that can be done.
    """
    tasks: list[Meaning] = []
    plain = re.sub(r"\bcan (?=you|we|i\b)|\b(that|which) (lies?|stands?|sits?)\b", "", text.lower())
    for verb, said in _clauses(re.findall(r"[a-z0-9'-]+|[,;.]", plain)):
        if _GOAL[verb] == GO and not set(said) - _BREAKS:
            continue  # 'go and get it'
        _add(tasks, *_clause(_GOAL[verb], said), text)
    if tasks and tasks[-1].goal == FETCH and tasks[-1].destination is None:
        tasks[-1] = replace(tasks[-1], destination=START)
    return tuple(tasks)


def _clauses(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Verb and what follows it; a verb begins a clause only at the beginning or behind 'and', 'then' or a comma.

    A statement before the first verb ('the mug is in the kitchen, …') comes first, with the verb 'fetch'.
    """
    verb, said, may_begin = "", list[str](), True
    for word in words:
        if word in _BREAKS:
            may_begin = True
            if verb and word == "and":
                said.append(word)
        elif may_begin and word in _GOAL:
            if verb or {"is", "are"} & set(said):
                yield verb or "fetch", said
            verb, said, may_begin = word, [], False
        else:
            said.append(word)
            may_begin = may_begin and word in _SAID_BESIDES
    if verb:
        yield verb, said


def _clause(goal: str, said: list[str]) -> tuple[str, list[tuple[str, list[str]]]]:
    """The goal, and its phrases: preposition ('' for the object) and words."""
    while said and said[-1] == "and":
        said = said[:-1]
    phrases: list[tuple[str, list[str]]] = [("", [])]
    i = 0
    while i < len(said):
        for parts, phrase in _BY_LENGTH:
            if said[i : i + len(parts)] == parts:
                phrases.append((phrase, []))
                i += len(parts)
                break
        else:
            if said[i] not in _SAID_BESIDES:
                phrases[-1][1].append(said[i])
            i += 1
    return goal, phrases


def _add(tasks: list[Meaning], goal: str, phrases: list[tuple[str, list[str]]], text: str) -> None:
    """Add what a clause says: a task of its own, or more about the thing of the one before."""
    thing, where = None, list[Relation]()
    destination: Relation | str | None = None
    words = phrases[0][1]
    if words and words[0] in _LISTENERS and not (words[0] == "her" and len(words) > 1 and goal == PLACE):
        words, destination = words[1:], START
    words = [word for word in words if word not in ("back", "home")]
    if words and words[-1] == "here":
        words, destination = words[:-1], START
    same = bool(words) and all(word in _SAME for word in words)
    if words and not same:
        thing = noun(words)
    last: Noun | None = thing
    for preposition, said in phrases[1:]:
        if preposition == "to" and (not said or said[0] in _LISTENERS):
            destination = START
            continue
        if not said:
            continue
        other = noun([word for word in said if word not in ("here", "back")])
        relation = Relation({**_PREPOSITIONS, **_TOWARDS}[preposition], other)
        if other.kind == "room" and last is not None and last.kind == "place" and relation.kind == IN:
            within = replace(last, room=other.name)
            where = [replace(r, anchor=within) if r.anchor is last else r for r in where]
            if isinstance(destination, Relation) and destination.anchor is last:
                destination = replace(destination, anchor=within)
            continue
        if preposition in _TOWARDS or goal == GO:
            destination = relation
        else:
            where.append(relation)
        last = other
    if goal == PLACE and destination is None and where:
        destination = where.pop()
    _join(tasks, Meaning(goal, thing, tuple(where), destination), text)


def _join(tasks: list[Meaning], said: Meaning, text: str) -> None:
    """'Go to the kitchen and bring me the mug' is one task, 'take the mug and put it in the sink' too."""
    before = tasks[-1] if tasks else None
    if said.thing is None and said.goal != GO:
        if before is None or before.thing is None:
            raise InstructionError(f"'{text}' without a thing", "what to fetch", "say it like 'bring me the red mug'")
        goal = PLACE if isinstance(said.destination, Relation) else FETCH
        tasks[-1] = replace(before, goal=goal, destination=said.destination or before.destination or START)
    elif before is not None and before.goal == GO and isinstance(before.destination, Relation) and said.goal != GO:
        room = Relation(IN if before.destination.anchor.kind == "room" else AT, before.destination.anchor)
        tasks[-1] = replace(said, where=(*said.where, room))
    elif said.goal == GO and before is not None and said.destination is None:
        tasks[-1] = replace(before, destination=START)  # 'and come back'
    elif said.goal == GO and not isinstance(said.destination, Relation):
        raise InstructionError(f"'{text}' without a place", "where to go", "say it like 'go to the kitchen'")
    elif isinstance(said.destination, Relation) and said.goal == FETCH:
        tasks.append(replace(said, goal=PLACE))
    else:
        tasks.append(said)


def noun(words: list[str]) -> Noun:
    """Of a noun phrase: the longest known name at its end, and a colour; else all of its words."""
    known, said = lexicon("en"), " ".join(words)
    rest = [word for word in words if word not in _DETERMINERS] or words
    colour = ""
    for i, word in enumerate(rest):
        if word in known.colours and len(rest) > 1:
            colour = known.colours[word]
            rest = rest[:i] + rest[i + 1 :]
            break
    for first in range(len(rest)):
        for name in (" ".join(rest[first:]), " ".join(rest[first:]).removesuffix("s")):
            if name in known.nouns:
                return known.noun(name, colour, said)
    return known.noun(" ".join(rest), colour, said)
