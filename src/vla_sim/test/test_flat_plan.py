"""Generated flats: what every plan promises, the words of errands, and what is held out of training."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vla_core.errors import UnknownNameError, UnknownObjectError
from vla_sim.core.flat import errands, things
from vla_sim.core.flat.errands import CHINESE, FAMILIES, LANGUAGES, SPLITS, parse_instruction, phrases
from vla_sim.core.flat.floor import HELD_OUT_LAYOUTS, LAYOUTS, ROOM_KINDS, Rect, draw_floor
from vla_sim.core.flat.furniture import KINDS
from vla_sim.core.flat.plan import FlatPlan, draw_plan
from vla_sim.core.flat.spots import REACH_LEAST_M, reach_m
from vla_sim.core.flat.things import CATEGORIES, COLOURS, FLOOR, HELD_OUT_PAIRS

SEEDS = st.integers(0, 2**31)
PLAN_SEEDS = st.integers(0, 7)  # few, so that tests share their plans; `slow` looks at many
PLANS = settings(max_examples=10)
CELL_M, ROBOT_M = 0.02, 0.22


@lru_cache(maxsize=64)
def plan_of(seed: int, split: str) -> FlatPlan:
    return draw_plan(seed, split)


def free_cells(plan: FlatPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Component of every cell that the middle of a robot may be in, and the cells' x and y; without FreeSpace."""
    outline = plan.floor.outline
    y, x = np.mgrid[0 : outline.y1 : CELL_M, 0 : outline.x1 : CELL_M]
    taken = np.zeros(x.shape, bool)
    for r in (*plan.floor.walls, *(placed.rect for placed in plan.furniture)):
        taken |= (r.x0 <= x) & (x <= r.x1) & (r.y0 <= y) & (y <= r.y1)
    for thing in plan.things:
        if thing.on == FLOOR:
            taken |= np.hypot(x - thing.x, y - thing.y) < CATEGORIES[thing.category].radius
    labels, _ = ndimage.label(ndimage.distance_transform_edt(~taken, sampling=CELL_M) > ROBOT_M)
    return labels, x, y


# -- floors -------------------------------------------------------------------------------------------------------


@given(SEEDS, st.booleans())
def test_width_of_the_outline_tells_training_from_evaluation(seed: int, evaluation: bool) -> None:
    """What makes it impossible that a flat is both."""
    floor = draw_floor(np.random.default_rng(seed), evaluation)
    assert round(100 * floor.outline.x1) % 2 == evaluation
    assert floor.outline.x1 == max(room.rect.x1 for room in floor.rooms)
    if not evaluation:
        assert floor.layout not in HELD_OUT_LAYOUTS


@given(SEEDS, st.booleans())
def test_rooms_fill_the_outline_without_overlap_and_every_kind_is_there_once(seed: int, evaluation: bool) -> None:
    floor = draw_floor(np.random.default_rng(seed), evaluation)
    assert sum(room.rect.area for room in floor.rooms) == pytest.approx(floor.outline.area, abs=1e-6)
    rects = [room.rect.grown(-1e-6) for room in floor.rooms]
    assert not any(a.overlaps(b) for i, a in enumerate(rects) for b in rects[:i])
    kinds = [room.kind for room in floor.rooms]
    assert 2 <= len(kinds) <= 5 and len(set(kinds)) == len(kinds) and "kitchen" in kinds


@given(SEEDS, st.booleans())
def test_doors_are_holes_in_walls_and_walls_close_everything_else(seed: int, evaluation: bool) -> None:
    floor = draw_floor(np.random.default_rng(seed), evaluation)
    for door in floor.doors:
        inner = door.zone(0.3).grown(-0.001)
        assert not any(wall.overlaps(inner) for wall in floor.walls)
        assert {floor.rooms[i].kind for i in door.rooms} == {floor.room_at(*p) for p in _sides(door)}
    length = sum(max(w.x1 - w.x0, w.y1 - w.y0) - 0.1 for w in floor.walls) + sum(d.width for d in floor.doors)
    assert length == pytest.approx(_edges(floor) - 0.1 * len(floor.doors), abs=1e-6)


def _sides(door: object) -> list[tuple[float, float]]:
    dx, dy = (0.3, 0.0) if door.along_y else (0.0, 0.3)  # type: ignore[attr-defined]
    return [(door.x + s * dx, door.y + s * dy) for s in (-1, 1)]  # type: ignore[attr-defined]


def _edges(floor: object) -> float:
    """Length of all edges of the rooms, common ones once, walked centimetre by centimetre."""
    seen = set()
    for room in floor.rooms:  # type: ignore[attr-defined]
        x0, y0, x1, y1 = (round(100 * v) for v in (room.rect.x0, room.rect.y0, room.rect.x1, room.rect.y1))
        seen |= {("h", x, y) for x in range(x0, x1) for y in (y0, y1)}
        seen |= {("v", x, y) for y in range(y0, y1) for x in (x0, x1)}
    return len(seen) / 100


def test_a_held_out_layout_is_refused_for_training_with_those_that_there_are() -> None:
    with pytest.raises(UnknownNameError, match="hall"):
        draw_floor(np.random.default_rng(0), False, "pinwheel")
    assert draw_floor(np.random.default_rng(0), True, "pinwheel").layout == "pinwheel"
    assert set(HELD_OUT_LAYOUTS) < set(LAYOUTS)


# -- plans --------------------------------------------------------------------------------------------------------


@PLANS
@given(PLAN_SEEDS, st.sampled_from(SPLITS))
def test_the_robot_gets_from_its_start_to_every_room_and_to_the_target(seed: int, split: str) -> None:
    check_ways(plan_of(seed, split))


@pytest.mark.slow
def test_the_robot_gets_everywhere_in_many_flats() -> None:
    for seed in range(150):
        check_ways(draw_plan(1000 + seed, SPLITS[seed % len(SPLITS)]))


def check_ways(plan: FlatPlan) -> None:
    """By a distance transform of its own, on a finer grid than the generator's."""
    labels, x, y = free_cells(plan)
    at = labels[int(plan.start[1] / CELL_M), int(plan.start[0] / CELL_M)]
    assert at > 0
    for room in plan.floor.rooms:
        r = room.rect
        inside = (labels == at) & (r.x0 < x) & (x < r.x1) & (r.y0 < y) & (y < r.y1)
        assert np.count_nonzero(inside) * CELL_M**2 > 0.5, f"{room.kind} is cut off"
    target = plan.target
    away = np.hypot(x - target.x, y - target.y)
    assert np.any((labels == at) & (away > REACH_LEAST_M) & (away < reach_m(target.z) + CELL_M))
    assert np.hypot(plan.start[0] - target.x, plan.start[1] - target.y) > 2.0


@PLANS
@given(PLAN_SEEDS, st.sampled_from(SPLITS))
def test_furniture_stands_in_its_room_clear_of_doors_and_of_other_pieces(seed: int, split: str) -> None:
    plan = plan_of(seed, split)
    inside = {room.kind: room.inside for room in plan.floor.rooms}
    for i, placed in enumerate(plan.furniture):
        r, room = placed.rect, inside[placed.room]
        assert room.x0 - 1e-6 <= r.x0 and r.x1 <= room.x1 + 1e-6 and room.y0 - 1e-6 <= r.y0 and r.y1 <= room.y1 + 1e-6
        assert not any(door.zone(0.4).overlaps(r) for door in plan.floor.doors)
        for other in plan.furniture[:i]:
            if "chair" not in (placed.piece.kind, other.piece.kind):  # chairs stand half under tables
                assert not other.rect.overlaps(r)


@given(SEEDS, st.sampled_from(sorted(KINDS)))
def test_parts_of_a_piece_lie_within_its_outline(seed: int, kind: str) -> None:
    """What the grid takes for occupied is all that a robot can bump into."""
    piece = KINDS[kind](np.random.default_rng(seed))
    for part in piece.parts:
        reach = np.abs(part.centre[:2]) + part.half[:2]
        handle = 0.05  # handles and stems of leaves stick out
        assert reach[0] <= piece.width / 2 + handle and reach[1] <= piece.depth / 2 + handle
        assert part.centre[2] - part.half[2] >= -1e-9
    for surface in piece.surfaces:
        assert np.all(np.array(surface.half) > 0.02)
        corner = np.abs(surface.centre) + np.array(surface.half)
        assert corner[0] <= piece.width / 2 and corner[1] <= piece.depth / 2


@PLANS
@given(PLAN_SEEDS, st.sampled_from(SPLITS))
def test_things_lie_apart_on_what_they_are_said_to_lie_on(seed: int, split: str) -> None:
    plan = plan_of(seed, split)
    for i, thing in enumerate(plan.things):
        for other in plan.things[:i]:
            gap = np.hypot(thing.x - other.x, thing.y - other.y)
            radii = CATEGORIES[thing.category].radius + CATEGORIES[other.category].radius
            assert abs(thing.z - other.z) > 0.3 or gap > radii
        under = [p for p in plan.furniture if p.rect.contains(thing.x, thing.y) and p.piece.kind != "chair"]
        assert [p.piece.kind for p in under] == ([] if thing.on == FLOOR else [thing.on])
        heights = {surface.height for p in under for surface in p.piece.surfaces} or {0.0}
        assert min(abs(thing.z - height) for height in heights) < 1e-9
        assert plan.floor.room_at(thing.x, thing.y) == thing.room


@PLANS
@given(PLAN_SEEDS)
def test_flats_to_train_in_never_show_what_is_held_out(seed: int) -> None:
    plan = plan_of(seed, "train")
    assert not {(thing.colour, thing.category) for thing in plan.things} & set(HELD_OUT_PAIRS)
    held_out = {phrases(plan.errand.family, language, "heldout_phrase")[0] for language in LANGUAGES}
    fills = {"a": plan.target.name, "b": plan.errand.landmark.replace("_", " ")}
    assert plan.errand.instruction not in {template.format(**fills) for template in held_out}
    other = plan_of(seed, "heldout_pair")
    assert (other.target.colour, other.target.category) in HELD_OUT_PAIRS


@PLANS
@given(PLAN_SEEDS)
def test_the_same_seed_gives_the_same_flat_and_no_split_shares_one_with_training(seed: int) -> None:
    assert draw_plan(seed, "train") == draw_plan(seed, "train")
    train, held_out = plan_of(seed, "train"), plan_of(seed, "heldout_flat")
    assert train.floor != held_out.floor
    assert round(100 * train.floor.outline.x1) % 2 != round(100 * held_out.floor.outline.x1) % 2


# -- words --------------------------------------------------------------------------------------------------------


@PLANS
@given(PLAN_SEEDS, st.sampled_from(SPLITS), st.sampled_from(FAMILIES))
def test_an_errand_means_its_target_and_nothing_else(seed: int, split: str, family: str) -> None:
    plan = draw_plan(seed, split, family=family)
    wish = parse_instruction(plan.errand.instruction)
    assert (wish.family, wish.landmark, wish.language) == (
        plan.errand.family,
        plan.errand.landmark,
        plan.errand.language,
    )
    meant = [
        t for t in plan.things if t.category == wish.category and wish.colour in ("", t.colour) and _there(t, wish)
    ]
    assert meant == [plan.target]
    assert plan.target.reachable


def _there(thing: object, wish: object) -> bool:
    place = {"bring": "", "bring_from": thing.room, "bring_on": thing.on}  # type: ignore[attr-defined]
    near = wish.family == "bring_near" and wish.landmark in thing.near  # type: ignore[attr-defined]
    return near or place.get(wish.family) == wish.landmark  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bring me the red mug.", ("bring", "red", "mug", "")),
        ("fetch the cup next to the sink", ("bring_near", "", "mug", "sink")),
        ("take the yellow duck on the coffee table and bring it here", ("bring_on", "yellow", "duck", "coffee_table")),
        ("the white bowl is in the living room, bring it to me", ("bring_from", "white", "bowl", "living_room")),
        ("把红色的杯子拿给我", ("bring", "red", "mug", "")),
        ("请把水槽旁边的瓶子拿过来", ("bring_near", "", "bottle", "sink")),
        ("把床头柜上的蓝色的碗拿给我", ("bring_on", "blue", "bowl", "nightstand")),
        ("去卧室把玩具车拿过来", ("bring_from", "", "car", "bedroom")),
    ],
)
def test_instructions_are_understood(text: str, expected: tuple[str, str, str, str]) -> None:
    wish = parse_instruction(text)
    assert (wish.family, wish.colour, wish.category, wish.landmark) == expected


@pytest.mark.parametrize(
    "text", ["dance", "bring me the moon", "look at the red mug", "把月亮拿给我", "bring the sofa", ""]
)
def test_what_no_flat_can_offer_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(UnknownObjectError, match="bring me the red mug"):
        parse_instruction(text)


def test_unknown_splits_and_families_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="heldout_flat"):
        draw_plan(0, "test")
    with pytest.raises(UnknownNameError, match="bring_near"):
        draw_plan(0, family="juggle")


def test_every_word_has_a_chinese_one_and_no_two_share_it() -> None:
    words = [*COLOURS, *CATEGORIES, *ROOM_KINDS, *KINDS]
    assert set(words) == set(CHINESE) and len(set(CHINESE.values())) == len(CHINESE)
    assert all(phrases(f, language, "train") for f in FAMILIES for language in errands.LANGUAGES)


@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_shapes_of_a_category_fit_its_outline_and_the_gripper(name: str) -> None:
    category = CATEGORIES[name]
    assert category.grasp_m < 0.08 and 0 < category.grasp_height < category.height
    for shape in (s for s in category.shapes if s.touches):
        spread = shape.size[0] if shape.form != "box" else float(np.hypot(*shape.size[:2]))
        assert np.hypot(*shape.centre[:2]) + spread < category.radius + 0.02
    assert all(kind == FLOOR or kind in KINDS for kind in category.places)
    assert {colour for colour, kind in things.HELD_OUT_PAIRS if kind == name} <= set(COLOURS)


def test_distance_to_a_rectangle() -> None:
    r = Rect(1.0, 1.0, 2.0, 3.0)
    assert (r.distance(1.5, 2.0), r.distance(0.0, 2.0), r.distance(5.0, 7.0)) == (0.0, 1.0, 5.0)
