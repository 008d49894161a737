"""Errands: what one asks the robot to fetch, in English and Chinese, and which words are held out of training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vla_core.errors import UnknownObjectError
from vla_sim.core.flat.floor import ROOM_KINDS
from vla_sim.core.flat.furniture import KINDS
from vla_sim.core.flat.things import CATEGORIES, COLOURS
from vla_sim.core.tasks import Item, Task

FAMILIES = ("bring", "bring_from", "bring_on", "bring_near")
LANGUAGES = ("en", "zh")
#: `train` has flats of its own; every other split is played in flats that training never sees.
SPLITS = ("train", "heldout_flat", "heldout_pair", "heldout_phrase")
HELD_OUT_PHRASES = 1  # the last of each family and language

#: Family → language → templates; {a}: the thing, {b}: room or piece of furniture.
PHRASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bring": {
        "en": ("bring me the {a}", "fetch the {a}", "get me the {a}", "please bring the {a} here",
               "find the {a} and bring it to me", "go and get the {a}"),
        "zh": ("把{a}拿给我", "请把{a}拿过来", "去找{a}带回来", "帮我拿一下{a}"),
    },
    "bring_from": {
        "en": ("bring me the {a} from the {b}", "go to the {b} and fetch the {a}", "fetch the {a} from the {b}",
               "the {a} is in the {b}, bring it to me"),
        "zh": ("把{b}里的{a}拿给我", "去{b}把{a}拿过来", "{a}在{b}里，请拿过来"),
    },
    "bring_on": {
        "en": ("bring me the {a} on the {b}", "fetch the {a} that is on the {b}",
               "get me the {a} from on top of the {b}",
               "take the {a} on the {b} and bring it here"),
        "zh": ("把{b}上的{a}拿给我", "请把{b}上面的{a}拿过来", "{a}在{b}上，帮我拿来"),
    },
    "bring_near": {
        "en": ("fetch the {a} next to the {b}", "bring me the {a} beside the {b}", "get me the {a} near the {b}",
               "bring the {a} that lies by the {b}"),
        "zh": ("把{b}旁边的{a}拿给我", "请把{b}边上的{a}拿过来", "帮我拿{b}附近的{a}"),
    },
}  # fmt: skip

#: The Chinese names of colours, things, rooms and furniture; the English ones are their keys with spaces.
CHINESE = {
    "red": "红色的", "green": "绿色的", "blue": "蓝色的", "yellow": "黄色的", "purple": "紫色的", "white": "白色的",
    "mug": "杯子", "bottle": "瓶子", "can": "易拉罐", "carton": "纸盒", "ball": "球", "bowl": "碗", "block": "积木",
    "car": "玩具车", "duck": "鸭子",
    "kitchen": "厨房", "living_room": "客厅", "bedroom": "卧室", "bathroom": "浴室", "hall": "走廊",
    "sink": "水槽", "counter": "台面", "stove": "炉灶", "fridge": "冰箱", "trolley": "推车", "dining_table": "餐桌",
    "chair": "椅子", "sofa": "沙发", "armchair": "扶手椅", "coffee_table": "茶几", "tv_bench": "电视柜",
    "shelf": "书架",
    "bed": "床", "nightstand": "床头柜", "wardrobe": "衣柜", "desk": "书桌", "bathtub": "浴缸", "washbasin": "洗手池",
    "toilet": "马桶", "stool": "凳子", "shoe_bench": "鞋凳", "plant": "盆栽", "bin": "垃圾桶", "cardboard_box": "纸箱",
}  # fmt: skip
_ALIASES = {"cup": "mug", "couch": "sofa", "box": "carton", "lounge": "living_room", "bookshelf": "shelf",
            "bookcase": "shelf", "refrigerator": "fridge", "tv_stand": "tv_bench", "toy_car": "car",
            "toy_block": "block",
            "toy_duck": "duck", "rubber_duck": "duck"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Errand(Task):
    """A task whose one object is to be brought to where the robot starts.

    Attributes:
        landmark: Room kind (`bring_from`) or kind of furniture (`bring_on`, `bring_near`), '' for `bring`.
        language: Of the instruction.
    """

    landmark: str = ""
    language: str = "en"


def phrases(family: str, language: str, split: str) -> tuple[str, ...]:
    """Templates of a family that a split may use."""
    every = PHRASES[family][language]
    return every[-HELD_OUT_PHRASES:] if split == "heldout_phrase" else every[:-HELD_OUT_PHRASES]


def wording(template: str, language: str, colour: str, category: str, landmark: str) -> str:
    """A template filled in; the colour is left out where it is ''."""
    if language == "zh":
        thing = (CHINESE[colour] if colour else "") + CHINESE[category]
        return template.format(a=thing, b=CHINESE.get(landmark, ""))
    return template.format(a=f"{colour} {category}".strip(), b=landmark.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Wish:
    """What an instruction says: `colour` and `landmark` are '' where it says nothing about them."""

    family: str
    colour: str
    category: str
    landmark: str
    language: str


def parse_instruction(text: str) -> Wish:
    """Understand an instruction well enough to build a flat for it and to judge it (the policy never sees this).

    Raises:
        UnknownObjectError: no errand, or about a thing or a place that no flat has.
    """
    language = "zh" if re.search(r"[\u4e00-\u9fff]", text) else "en"
    read = _read_chinese(text) if language == "zh" else _read_english(text)
    if read is None:
        known = f"one of {', '.join(CATEGORIES)} in {', '.join(COLOURS)}, in a room, on or next to furniture"
        fix = "say it like 'bring me the red mug', 'fetch the mug next to the sink' or '把红色的杯子拿给我'"
        raise UnknownObjectError(f"instruction '{text}'", known, fix)
    return Wish(*read, language)


def parse_errand(text: str) -> Errand:
    """An instruction as a task; what it leaves open, such as a colour, is decided when a flat is drawn for it.

    Raises:
        UnknownObjectError: see `parse_instruction`.
    """
    wish = parse_instruction(text)
    thing = Item(wish.colour, wish.category)
    return Errand(wish.family, text, (thing,), landmark=wish.landmark, language=wish.language)


def _read_english(text: str) -> tuple[str, str, str, str] | None:
    words = " ".join(re.sub(r"[^a-z ]", " ", text.lower()).split())
    for name in (*_ALIASES, *ROOM_KINDS, *KINDS):
        words = re.sub(rf"\b{name.replace('_', ' ')}\b", _ALIASES.get(name, name), words)
    if not re.search(r"\b(bring|fetch|get|take|find|need|want)\b", words):
        return None
    noun = re.search(rf"\b(?:({'|'.join(COLOURS)}) )?({'|'.join(CATEGORIES)})\b", words)
    if noun is None:
        return None
    colour, category, rest = noun[1] or "", noun[2], words[noun.end() :] + " " + words[: noun.start()]
    if found := re.search(rf"\b(?:next to|beside|near|by|close to) (?:the )?({'|'.join(KINDS)})\b", rest):
        return "bring_near", colour, category, found[1]
    if found := re.search(rf"\bon (?:top of )?(?:the )?({'|'.join(KINDS)})\b", rest):
        return "bring_on", colour, category, found[1]
    if found := re.search(rf"\b({'|'.join(ROOM_KINDS)})\b", rest):
        return "bring_from", colour, category, found[1]
    return None if re.search(rf"\b({'|'.join(KINDS)})\b", rest) else ("bring", colour, category, "")


def _read_chinese(text: str) -> tuple[str, str, str, str] | None:
    place = _first(text, (*ROOM_KINDS, *KINDS))
    category = _first(text.replace(CHINESE[place], "") if place else text, CATEGORIES)
    colour = next((c for c in COLOURS if CHINESE[c].rstrip("的") in text), "")
    if not category or not re.search("拿|带|取|要", text):
        return None
    if not place:
        return "bring", colour, category, ""
    if place in ROOM_KINDS:
        return "bring_from", colour, category, place
    if CHINESE[place] + "上" in text:
        return "bring_on", colour, category, place
    return ("bring_near", colour, category, place) if re.search("旁|边|附近", text) else None


def _first(text: str, names: Iterable[str]) -> str:
    """The name whose Chinese word is in a text, the longest word first; '' when there is none."""
    return next((name for name in sorted(names, key=lambda n: -len(CHINESE[n])) if CHINESE[name] in text), "")
