"""Two rooms with a thin wall between them; what stands behind the wall must not vote."""

from __future__ import annotations

import numpy as np
import pytest
from boxes_world import likely
from navigation_data import grid_of, rooms

from vla_core.files import config_path, load_yaml
from vla_core.types import Float64
from vla_navigation.core.semantic_map.find import Finder
from vla_navigation.core.semantic_map.instance import Instance
from vla_navigation.core.semantic_map.map import SemanticMap, SemanticMapParameters
from vla_navigation.core.semantic_map.rooms import Rooms
from vla_navigation.core.task.lexicon import lexicon
from vla_navigation.core.task.meaning import IN, Noun, Relation

CLASSES, COLOURS = ("mug", "stove", "fridge", "bed", "plant"), ("red", "white")
#: 6 x 3 m, a wall at x = 3 with a door at its upper end.
FLOOR = grid_of(rooms(6.0, 3.0, (2.95, 0.0, 3.05, 2.2)))
#: Where each stands and where it was seen from.
STOVE, FRIDGE, BED = ((1.5, 0.4), (1.5, 1.8)), ((0.5, 1.5), (1.5, 1.8)), ((3.3, 0.8), (4.2, 1.4))
KITCHEN_SIDE, BEDROOM_SIDE = ((2.7, 0.8), (1.8, 1.2)), ((3.3, 1.4), (4.2, 1.4))


def thing(number: int, name: str, where: tuple[tuple[float, float], tuple[float, float]]) -> Instance:
    """Surely seen, once."""
    (x, y), eye = where
    points = np.array([[x, y, 0.5]]) + np.random.default_rng(number).uniform(-0.05, 0.05, (200, 3))
    classes, colours = likely(CLASSES, name, 0.95), likely(COLOURS, "red", 0.95)
    made = Instance.begin(number, points, classes, colours, 0)
    made.see(points, 0.9, classes, colours, np.array([*eye, 0.9]), 0, 0.3)
    return made


def world(**where: tuple[tuple[float, float], tuple[float, float]]) -> tuple[SemanticMap, Rooms]:
    made = SemanticMap(CLASSES, COLOURS, SemanticMapParameters(0.1, 0.3, 0.3, 0.8, 2, 0.1, 1.5, 0.4, 0.1))
    for number, (name, place) in enumerate(where.items()):
        made.objects[number] = thing(number, name, place)
    told = Rooms(made)
    told.set_floor(FLOOR)
    return made, told


@pytest.mark.parametrize(("mug", "room"), [(KITCHEN_SIDE, "kitchen"), (BEDROOM_SIDE, "bedroom")])
def test_a_wall_parts_rooms_however_near_the_furniture_behind_it_stands(mug: tuple, room: str) -> None:
    made, told = world(mug=mug, stove=STOVE, fridge=FRIDGE, bed=BED)
    assert np.hypot(*np.subtract(KITCHEN_SIDE[0], BED[0])) < np.hypot(*np.subtract(KITCHEN_SIDE[0], STOVE[0]))
    assert told.room_of(made.objects[0]) == room
    finder = Finder(made, _never, told.room_of)
    for name in ("kitchen", "bedroom"):
        found = finder.find(Noun("mug"), (Relation(IN, Noun(name, kind="room")),))
        assert bool(found) is (name == room)


def test_nothing_is_said_of_rooms_without_a_floor_or_without_furniture() -> None:
    made, told = world(mug=KITCHEN_SIDE, plant=STOVE)
    assert told.room_of(made.objects[0]) == "", "a plant stands anywhere"
    assert Rooms(made).room_of(made.objects[0]) == ""
    assert (
        told.room_of(Instance.begin(9, np.zeros((1, 3)), likely(CLASSES, "mug", 0.9), likely(COLOURS, "red", 0.9), 0))
        == ""
    )


def test_what_is_known_by_itself_tells_its_own_room() -> None:
    made, told = world(bed=BED)
    assert told.room_of(made.objects[0]) == "bedroom"


def test_furniture_shows_rooms_that_exist() -> None:
    words = lexicon("en")
    names = {name for name, kind in words.nouns.values() if kind == "room"}
    assert set(words.shows.values()) <= names and set(words.shows) <= set(words.detectable)
    told = load_yaml(config_path("language", "household"))["rooms"]
    assert sum(len(room.get("shows", ())) for room in told.values()) == len(words.shows), "no piece shows two rooms"


def _never(_texts: object) -> Float64:
    raise AssertionError("all words are known")
