"""Chinese instructions: read from left to right as nouns, localisers (里, 旁边 …), colours and verbs."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import NamedTuple

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

_LOCALISERS = {
    **dict.fromkeys(("旁边", "边上", "附近", "旁", "边"), NEXT_TO),
    **dict.fromkeys(("上面", "上边", "上头", "上"), ON),
    **dict.fromkeys(("里面", "里边", "里头", "里", "中", "内"), IN),
    **dict.fromkeys(("下面", "下边", "底下", "下"), UNDER),
    **dict.fromkeys(("左边", "左侧", "左面"), LEFT_OF),
    **dict.fromkeys(("右边", "右侧", "右面"), RIGHT_OF),
    **dict.fromkeys(("后面", "后边", "背后"), BEHIND),
    **dict.fromkeys(("前面", "前边"), IN_FRONT_OF),
}
_FIND = ("在哪里", "在哪儿", "在哪", "找一下", "找找", "寻找", "找")
_BRING = (
    "拿过来",
    "拿回来",
    "取过来",
    "带过来",
    "送过来",
    "递过来",
    "拿来",
    "取来",
    "带来",
    "拿",
    "取",
    "带",
    "递",
    "抓",
    "送",
    "要",
)
_PUT = ("放", "摆", "搬", "移")
_TO_ME = ("给我", "过来", "回来", "到这里", "到这儿", "来")
_GO = ("前往", "去", "走")
_TOWARDS = ("到", "在", "进", "往")
_SILENT = (
    "请", "麻烦", "帮我", "帮忙", "能不能", "可以", "你", "机器人", "那个", "这个", "那只", "那", "这", "一个", "一只",
    "一本", "一瓶", "一下", "个", "只", "我", "想", "吗", "吧", "呢", "然后", "再", "和", "并", "把", "将", "从", "的",
    "了", "是",
)  # fmt: skip


class _Token(NamedTuple):
    """`kind`: noun, localiser, colour, to_me, find, bring, put, go, towards or unknown."""

    kind: str
    said: str


@cache
def _scanner() -> re.Pattern[str]:
    """Longest words first; of words of the same length nouns go first."""
    known = lexicon("zh")
    groups = {
        "noun": tuple(known.nouns), "colour": tuple(known.colours), "localiser": tuple(_LOCALISERS), "find": _FIND,
        "to_me": _TO_ME, "bring": _BRING, "put": _PUT, "go": _GO, "towards": _TOWARDS, "silent": _SILENT,
    }  # fmt: skip
    words = sorted(((word, kind) for kind, group in groups.items() for word in group), key=lambda pair: -len(pair[0]))
    return re.compile("|".join(f"(?P<{kind}_{i}>{re.escape(word)})" for i, (word, kind) in enumerate(words)))


def _tokens(text: str) -> list[_Token]:
    out, end = list[_Token](), 0
    text = re.sub(r"[\s，。！？、,.!?]", "", text)
    for match in _scanner().finditer(text):
        if match.start() > end:
            out.append(_Token("unknown", text[end : match.start()]))
        kind = str(match.lastgroup).rpartition("_")[0]
        if kind != "silent":
            out.append(_Token(kind, match.group()))
        end = match.end()
    return [*out, _Token("unknown", text[end:])] if end < len(text) else out


def understand(text: str) -> tuple[Meaning, ...]:
    """The task of a sentence; see task.understanding.

    Raises:
        InstructionError: it says nothing that can be done.
    """
    tokens = _tokens(text)
    kinds = [token.kind for token in tokens]
    verb = next((i for i, kind in enumerate(kinds) if kind in ("put", "bring")), len(tokens))
    split = next((i for i in range(verb, len(tokens)) if kinds[i] == "towards"), len(tokens))  # 放到 …, not … 在桌子上
    goes_first = kinds[:1] == ["go"]
    head, tail = (tokens, []) if goes_first and split == 1 else (tokens[:split], tokens[split:])
    thing, where = _phrase(head)
    place, around = _phrase(tail)
    destination = _destination(place, around)
    if "find" in kinds and not {"bring", "put"} & set(kinds):
        goal = FIND
    elif destination is not None:
        goal = PLACE
    elif {"bring", "to_me", "find"} & set(kinds):
        goal = FETCH
    elif goes_first and (thing is not None or where):
        return (Meaning(GO, destination=Relation(AT, where[0].anchor if where else _required(thing, text))),)
    else:
        goal = FETCH
    thing = _required(thing, text)
    return (Meaning(goal, thing, where, None if goal == FIND else destination or START),)


def _phrase(tokens: list[_Token]) -> tuple[Noun | None, tuple[Relation, ...]]:
    """The noun that stands alone, and the relations of those that a localiser follows."""
    known, where, thing, colour, room = lexicon("zh"), list[Relation](), None, "", ""
    went = False
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else _Token("", "")
        if token.kind == "colour":
            colour = known.colours[token.said]
        elif token.kind == "go":
            went = True
        elif token.kind in ("noun", "unknown"):
            named = replace(known.noun(token.said, colour, token.said), room=room)
            colour = ""
            if following.kind == "localiser":
                if named.kind == "room" and _before_place(tokens[i + 2 :]):
                    room = named.name
                else:
                    where.append(Relation(_LOCALISERS[following.said], named))
                    room = ""
            elif named.kind == "room" and went:
                where.append(Relation(IN, named))
            elif named.kind == "room" and following.kind in ("noun", "colour", "unknown"):
                room = named.name
            else:
                thing = named
        if token.kind in ("bring", "find"):
            went = False
    if thing is not None and thing.room and thing.kind != "place":
        where.append(Relation(IN, Noun(thing.room, kind="room")))
        thing = replace(thing, room="")
    return thing, tuple(where)


def _before_place(tokens: list[_Token]) -> bool:
    """Whether the next noun is a place with a localiser of its own: 厨房里水槽旁边."""
    known = lexicon("zh")
    kinds = [token.kind for token in tokens[:2]]
    return kinds == ["noun", "localiser"] and known.nouns[tokens[0].said][1] == "place"


def _destination(place: Noun | None, around: tuple[Relation, ...]) -> Relation | None:
    if around:
        return around[-1]
    return None if place is None else Relation(AT, place)


def _required(thing: Noun | None, text: str) -> Noun:
    if thing is None:
        raise InstructionError(f"'{text}' without a thing", "what to fetch", "say it like '把红色的杯子拿给我'")
    return thing
