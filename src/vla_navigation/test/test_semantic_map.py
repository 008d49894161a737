"""The semantic map: what was seen twice is there, what was seen through has gone, and words find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_world import CAMERA, CLASSES, COLOURS, Box, detect, draw, likely, look, view
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.robot import load_robot_config
from vla_core.errors import ConfigError, ObservationError
from vla_core.frames import FrameTree, Stamped
from vla_core.types import NS, Float64
from vla_msgs.msg import ControlState
from vla_navigation.core.semantic_map.find import Finder
from vla_navigation.core.semantic_map.map import SemanticMap, SemanticMapParameters
from vla_navigation.core.semantic_map.views import Detection, View, surface
from vla_navigation.core.task.meaning import BEHIND, IN, IN_FRONT_OF, LEFT_OF, NEXT_TO, ON, RIGHT_OF, Noun, Relation
from vla_navigation.hand import Hand
from vla_policy.core.text import minilm
from vla_ros.stamps import to_msg

PARAMS = SemanticMapParameters(
    least_score=0.3,
    near_m=0.15,
    apart_m=0.3,
    sure=0.7,
    views=2,
    forget=0.2,
    seen_through=1.5,
    overlooked=0.4,
    behind_m=0.1,
)
TABLE = Box("table", "white", (2.0, 0.0, 0.2), (0.8, 0.8, 0.4))
MUG = Box("mug", "red", (1.9, 0.1, 0.45), (0.08, 0.08, 0.1))
BLUE = Box("mug", "blue", (1.9, -0.25, 0.45), (0.08, 0.08, 0.1))
SINK = Box("sink", "white", (2.1, 0.3, 0.45), (0.2, 0.16, 0.1))
BOXES = [TABLE, MUG, BLUE, SINK]
AT = (2.0, 0.0, 0.4)
EYES = [(0.6, 0.0, 0.8), (1.0, -1.1, 0.8), (0.9, 1.1, 0.8)]
ENCODER = minilm(32)


def embed(texts: Sequence[str]) -> Float64:
    vectors = np.asarray(ENCODER.encode(list(texts))[2], np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seen(boxes: list[Box], eyes: Sequence[tuple[float, float, float]], **how: float) -> SemanticMap:
    out = SemanticMap(CLASSES, COLOURS, PARAMS)
    for i, eye in enumerate(eyes):
        out.update(view(boxes, eye, AT, i), detect(boxes, eye, AT, **how))
    return out


def finder(made: SemanticMap, room: str = "kitchen") -> Finder:
    return Finder(made, embed, lambda thing: room if thing.position_m[0] > 0.0 else "hall")


def named(made: SemanticMap, name: str, colour: str) -> int:
    (found,) = (
        thing.id for thing in made.objects.values()
        if CLASSES[thing.classes.argmax()] == name and COLOURS[thing.colours.argmax()] == colour
    )  # fmt: skip
    return found


def test_every_box_becomes_one_object_where_it_stands() -> None:
    made = seen(BOXES, EYES)
    assert len(made.objects) == len(BOXES)
    for box in (MUG, BLUE, SINK):
        thing = made.objects[named(made, box.name, box.colour)]
        assert np.linalg.norm(thing.position_m - box.middle_m) < 0.04
        assert made.confirmed(thing) and len(thing.eyes_m) == 3


def test_one_view_is_never_enough_and_neither_is_the_same_view_again() -> None:
    made = seen(BOXES, [EYES[0]] * 20)
    assert len(made.objects) == len(BOXES)
    assert not any(made.confirmed(thing) for thing in made.objects.values())


def test_what_is_carried_is_no_object_of_the_room() -> None:
    """Regression: a ball in the hand left a ball in the map at every place that the robot passed."""
    made = SemanticMap(CLASSES, COLOURS, PARAMS)
    for i, eye in enumerate(EYES):
        carried = replace(view(BOXES, eye, AT, i), hand_m=np.array(MUG.middle_m) + [0.0, 0.05, 0.05])
        made.update(carried, detect(BOXES, eye, AT))
    kinds = [(CLASSES[thing.classes.argmax()], COLOURS[thing.colours.argmax()]) for thing in made.objects.values()]
    assert len(kinds) == 3 and ("mug", "red") not in kinds and ("mug", "blue") in kinds


def test_the_hand_is_where_its_tool_is_while_it_holds_something() -> None:
    hand, frames = Hand(load_robot_config("so101_mobile").grippers[0]), FrameTree()
    turned = np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])
    frames.set("map", "base_link", Stamped(NS, np.array([2.0, 1.0, 0.0]), turned))
    state = ControlState(gripper_width=[0.05])
    state.header.frame_id, state.header.stamp = "base_link", to_msg(NS)
    state.tool_pose.position.x, state.tool_pose.position.z = 0.3, 0.4
    assert hand.place(frames, "map", NS) is None, "nobody has told"
    hand.hear(state)
    np.testing.assert_allclose(hand.place(frames, "map", NS), [2.0, 1.3, 0.4], atol=1e-9)
    assert hand.place(frames, "map", 3 * NS) is None, "that is too long ago"
    for width in (0.0, 0.09, float("nan")):
        hand.hear(replace_width(state, width))
        assert hand.place(frames, "map", NS) is None, "closed, open, unknown"


def replace_width(state: ControlState, width: float) -> ControlState:
    out = ControlState(gripper_width=[width], tool_pose=state.tool_pose)
    out.header = state.header
    return out


def test_a_false_positive_of_one_view_fades() -> None:
    made = SemanticMap(CLASSES, COLOURS, PARAMS)
    false = Detection((70, 80, 90, 100), 0.9, likely(CLASSES, "bottle", 0.9), likely(COLOURS, "blue", 0.9))
    (ghost,) = made.update(view(BOXES, EYES[0], AT, 0), [false])
    for i in range(1, 24):
        made.update(view(BOXES, EYES[i % 3], AT, i), detect(BOXES, EYES[i % 3], AT))
    assert ghost not in made.objects and ghost not in made.gone, "it had never been confirmed"


def test_what_was_taken_away_disappears_and_what_is_hidden_stays() -> None:
    made = seen(BOXES, EYES)
    mug, blue = named(made, "mug", "red"), named(made, "mug", "blue")
    wall = Box("table", "white", (1.5, -0.17, 0.45), (0.05, 0.2, 0.6))  # before the blue mug, for the first eye
    without = [TABLE, BLUE, SINK, wall]
    depth, which = draw(without, look(EYES[0], AT))
    assert not (which == 1).any() and depth.shape == which.shape
    for i in range(6):
        made.update(view(without, EYES[0], AT, 10 + i), detect(without, EYES[0], AT))
    assert mug not in made.objects and made.gone == [mug]
    assert blue in made.objects and made.objects[blue].misses == 0


def test_what_moved_is_found_at_its_new_place() -> None:
    made = seen(BOXES, EYES)
    moved = [TABLE, replace(MUG, middle_m=(2.2, -0.1, 0.45)), BLUE, SINK]
    for i in range(9):
        made.update(view(moved, EYES[i % 3], AT, 10 + i), detect(moved, EYES[i % 3], AT))
    found = finder(made).find(Noun("mug", "red", "thing"))
    assert len(found) == 1 and np.linalg.norm(found[0].thing.position_m - (2.2, -0.1, 0.45)) < 0.05


@pytest.mark.parametrize("push", [(0.08, 0.0), (-0.08, 0.0), (0.0, 0.09), (0.05, -0.06)])
def test_regression_a_thing_that_was_pushed_a_little_is_where_it_is_seen_now(push: tuple[float, float]) -> None:
    """Old views outvoted new ones for good, so another try at it went where it had been."""
    made = seen(BOXES, [*EYES] * 4)
    number = named(made, "mug", "red")
    x, y, z = MUG.middle_m
    pushed = replace(MUG, middle_m=(x + push[0], y + push[1], z))
    for i in range(100, 106):
        made.update(view([TABLE, pushed, BLUE, SINK], EYES[0], AT, i), detect([TABLE, pushed, BLUE, SINK], EYES[0], AT))
    thing = made.objects[number]
    assert np.linalg.norm(thing.position_m - pushed.middle_m) < 0.04
    assert made.confirmed(thing) and len(made.objects) == len(BOXES)


def test_it_is_found_by_name_colour_and_relations() -> None:
    ask = finder(seen(BOXES, EYES))
    red, blue = (Noun("mug", colour, "thing") for colour in ("red", "blue"))
    made = ask._map
    assert [one.thing.id for one in ask.find(red)] == [named(made, "mug", "red")]
    assert ask.find(blue)[0].thing.id == named(made, "mug", "blue")
    both = ask.find(Noun("mug", kind="thing"))
    assert len(both) == 2
    sink, table = Noun("sink", kind="place"), Noun("table", kind="place")
    assert len(ask.find(Noun("mug"), (Relation(NEXT_TO, sink),))) == 2
    assert len(ask.find(Noun("mug"), (Relation(ON, table),))) == 2
    assert len(ask.find(Noun("mug"), (Relation(IN, Noun("kitchen", kind="room")),))) == 2
    assert not ask.find(Noun("mug"), (Relation(IN, Noun("hall", kind="room")),))
    assert not ask.find(Noun("mug"), (Relation(ON, replace(table, room="hall")),))
    assert not ask.find(red, excluded=frozenset({named(made, "mug", "red")}))
    assert not ask.find(Noun("mug", "green", "thing")), "a colour that nobody tells apart"


@pytest.mark.parametrize(("kind", "offset"), [
    (LEFT_OF, (0.0, 0.35)), (RIGHT_OF, (0.0, -0.35)), (BEHIND, (0.35, 0.0)), (IN_FRONT_OF, (-0.35, 0.0)),
])  # fmt: skip
def test_sides_are_those_of_the_robot_that_looked(kind: str, offset: tuple[float, float]) -> None:
    """From EYES[0] the robot looks along +x."""
    anchor = Box("sink", "white", (2.0, 0.0, 0.1), (0.1, 0.1, 0.2))
    mug = Box("mug", "red", (2.0 + offset[0], offset[1], 0.1), (0.1, 0.1, 0.2))
    eyes = [(0.9, 0.3, 1.3), (0.9, -0.3, 1.3), (0.6, 0.0, 1.3)]
    ask = finder(seen([anchor, mug], eyes))
    for other in (LEFT_OF, RIGHT_OF, BEHIND, IN_FRONT_OF):
        found = ask.find(Noun("mug"), (Relation(other, Noun("sink", kind="place")),))
        assert bool(found) == (other == kind), other


def test_other_words_are_read_by_their_meaning() -> None:
    ask = finder(seen(BOXES, EYES))
    assert CLASSES[int(ask.meant(Noun("teacup", said="teacup")).argmax())] == "mug"
    assert CLASSES[int(ask.meant(Noun("basin", said="basin")).argmax())] == "sink"
    assert ask.find(Noun("chalice", said="coffee cup"), least=0.1)
    assert not ask.meant(Noun("elephant", said="elephant")).any()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    made, path = seen(BOXES, EYES), tmp_path / "map.npz"
    made.save(path)
    again = SemanticMap.load(path, PARAMS)
    assert list(again.objects) == list(made.objects)
    for id, thing in made.objects.items():
        other = again.objects[id]
        np.testing.assert_array_equal(other.voxels, thing.voxels)
        np.testing.assert_array_equal(other.hits, thing.hits)
        np.testing.assert_array_equal(other.eyes_m, thing.eyes_m)
        np.testing.assert_array_equal(other.classes, thing.classes)
        assert (other.log_odds, other.first_ns, other.last_ns) == (thing.log_odds, thing.first_ns, thing.last_ns)
    bottle = Detection((0, 100, 20, 119), 0.9, likely(CLASSES, "bottle", 0.9), likely(COLOURS, "blue", 0.9))
    (new,) = again.update(view(BOXES, EYES[0], AT, 50), [bottle])
    assert new not in made.objects, "ids are never given again"
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(ConfigError, match="saved semantic map"):
        SemanticMap.load(tmp_path / "bad.npz", PARAMS)


def test_a_detector_that_learns_a_word_widens_the_map() -> None:
    made = seen(BOXES, EYES)
    before = {id: dict(zip(CLASSES, thing.classes, strict=True)) for id, thing in made.objects.items()}
    wider = ("wrench", *reversed(CLASSES))
    made.widen(wider)
    assert made.classes == wider and before
    for id, thing in made.objects.items():
        assert dict(zip(wider, thing.classes, strict=True)) == before[id] | {"wrench": 0.0}
    with pytest.raises(ConfigError, match="that knows wrench"):
        made.widen(CLASSES)


def test_an_empty_map_can_be_saved(tmp_path: Path) -> None:
    SemanticMap(CLASSES, COLOURS, PARAMS).save(tmp_path / "map.npz")
    assert not SemanticMap.load(tmp_path / "map.npz", PARAMS).objects


def test_bad_input_is_refused_in_one_sentence() -> None:
    made = seen(BOXES, EYES)
    first = view(BOXES, EYES[0], AT, 20)
    for wrong, match in (
        (Detection((0, 0, 500, 10), 0.9, likely(CLASSES, "mug", 0.9), likely(COLOURS, "red", 0.9)), "within 160 x 120"),
        (Detection((0, 0, 5, 5), 0.9, np.ones(2, np.float32), likely(COLOURS, "red", 0.9)), "got 2 classes"),
    ):
        with pytest.raises(ObservationError, match=match):
            made.update(first, [wrong])
    with pytest.raises(ObservationError, match="in order"):
        made.update(view(BOXES, EYES[0], AT, 3), [])
    with pytest.raises(ObservationError, match="finite"):
        View(0, first.depth_m, CAMERA, np.full((4, 4), np.nan))
    with pytest.raises(ConfigError, match="shares in"):
        replace(PARAMS, sure=1.5)


def test_no_depth_is_no_object() -> None:
    dark = replace(view(BOXES, EYES[0], AT, 0), depth_m=np.full((120, 160), np.nan, np.float32))
    made = SemanticMap(CLASSES, COLOURS, PARAMS)
    assert made.update(dark, detect(BOXES, EYES[0], AT)) == [] and not made.objects


@settings(max_examples=60, deadline=None)
@given(st.floats(-2.5, 2.5), st.floats(0.9, 2.5), st.floats(0.5, 1.5))
def test_a_point_is_projected_to_where_it_was_measured(angle: float, away: float, height: float) -> None:
    """`project` is the inverse of `points`."""
    eye = (2.0 - away * np.cos(angle), away * np.sin(angle), height)
    one = view(BOXES, eye, AT, 0)
    rows, columns = np.nonzero(one.measured(one.depth_m))
    pixels, depth = one.project(one.points(rows, columns))
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1), atol=1e-3)
    np.testing.assert_allclose(depth, one.depth_m[rows, columns], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.floats(-1.2, 1.2), st.floats(0.9, 2.0))
def test_a_surface_is_the_things_own(angle: float, away: float) -> None:
    """Whatever of table and floor the box holds: the points lie on the mug."""
    eye = (1.9 - away * np.cos(angle), 0.1 + away * np.sin(angle), 0.75)
    at = (1.9, 0.1, 0.4)
    for detection in detect([TABLE, MUG], eye, at):
        if CLASSES[detection.classes.argmax()] == "mug":
            points = surface(view([TABLE, MUG], eye, at, 0), detection, thickness_m=0.06)
            assert points is not None
            outside = np.abs(points - MUG.middle_m) - 0.5 * np.array(MUG.size_m)
            assert (outside.max(1) < 0.01).mean() > 0.7
