"""Generated flats and the robot in them: rays, contacts and people, against geometry done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vla_control.core.base.config import BaseConfig
from vla_sim.core.floor_plan.boxes import box_distance, cast
from vla_sim.core.floor_plan.generate import CLEAR_M, FloorPlan, generate, occupied
from vla_sim.core.floor_plan.localiser import Localiser
from vla_sim.core.floor_plan.mapper import GridMapper
from vla_sim.core.floor_plan.targets import in_view, place_targets
from vla_sim.core.floor_plan.walkers import RADIUS_M
from vla_sim.core.floor_plan.world import PlanarWorld

BASE = BaseConfig("differential", "base_link", 0.08, 12.0, 0.35, 0.0, np.array([0.6, 0.0, 1.5]),
                  np.array([0.8, 0.0, 2.5]), np.array([5.0, 0.0, 12.0]))  # fmt: skip
NONE = np.zeros((0, 3))
AHEAD = np.array([0.4, 0.0, 0.0])


def room(*boxes: tuple[float, float, float, float]) -> FloorPlan:
    """5 x 4 m without outer walls."""
    solid = np.array(boxes, np.float64).reshape(-1, 4)
    return FloorPlan((5.0, 4.0), solid, np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4)))


def ranges_of(x: float, y: float, angles, boxes, discs=NONE) -> np.ndarray:
    """As `cast` fills them, up to 6 m."""
    found = np.empty(len(angles))
    cast(x, y, np.array(angles, np.float64), np.array(boxes, np.float64).reshape(-1, 4), np.array(discs), 6.0, found)
    return found


def test_rays_end_at_boxes_and_discs() -> None:
    boxes = [(2.0, -1.0, 3.0, 1.0)]
    found = ranges_of(0.0, 0.0, [0.0, np.pi / 4, np.pi], boxes, [[-3.0, 0.0, 0.5]])
    assert found[0] == pytest.approx(2.0) and np.isinf(found[1]) and found[2] == pytest.approx(2.5)
    assert ranges_of(2.5, 0.0, [0.3], boxes)[0] == 0.0  # from within


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_the_end_of_a_ray_lies_on_something_and_its_way_on_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-3, 3, (6, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 1.0, (6, 2))], 1)
    if box_distance(0.0, 0.0, boxes) == 0.0:
        return
    angles = rng.uniform(-np.pi, np.pi, 20)
    for angle, reach in zip(angles, ranges_of(0.0, 0.0, angles, boxes), strict=True):
        along = np.array([np.cos(angle), np.sin(angle)])
        if np.isfinite(reach):
            assert box_distance(*(reach * along), boxes) < 1e-6
        for share in np.linspace(0.0, 0.99, 30):
            assert box_distance(*(share * min(reach, 6.0) * along), boxes) > 0.0


@pytest.mark.parametrize("seed", range(6))
def test_every_place_of_a_flat_can_be_reached_and_no_two_are_alike(seed: int) -> None:
    plan = generate(seed)
    away = ndimage.distance_transform_edt(~occupied(plan.boxes, plan.size_m)) * 0.05
    assert ndimage.label(away > CLEAR_M + 0.05)[1] == 1
    assert len(plan.rooms) >= 3 and len(plan.doors) == len(plan.rooms) - 1 and len(plan.furniture) >= 2
    assert not np.array_equal(plan.walls, generate(seed + 1).walls)
    np.testing.assert_array_equal(plan.boxes, generate(seed).boxes)


def test_a_contact_is_counted_once_and_by_who_moves() -> None:
    world = PlanarWorld(room((2.0, 0.0, 2.1, 4.0)), BASE, 0.22, np.array([1.0, 2.0, 0.0]))
    for _ in range(40):
        world.step(AHEAD, 0.1)
    assert world.touched == 1 and world.was_touched == 0
    still = PlanarWorld(room((2.0, 0.0, 2.1, 4.0)), BASE, 0.22, np.array([1.9, 2.0, 0.0]))
    still.step(np.zeros(3), 0.1)
    assert still.touched == 0 and still.was_touched == 1


def test_the_base_keeps_its_limits_and_stops_without_commands() -> None:
    world = PlanarWorld(room(), BASE, 0.22, np.array([1.0, 2.0, 0.0]))
    before = world.twist
    for _ in range(20):
        world.step(np.array([0.6, 0.0, 1.0]), 0.1)
        assert (np.abs(world.twist - before) <= BASE.acceleration * 0.1 + 1e-9).all()
        before = world.twist
    assert before[0] == pytest.approx(0.6, abs=1e-6)


def test_people_walk_and_do_not_walk_into_a_standing_robot() -> None:
    world = PlanarWorld(generate(3), BASE, 0.22, np.array([*generate(3).doors[0].reshape(2, 2).mean(0), 0.0]), 4, 3)
    begin = world.discs()
    for _ in range(300):
        world.step(np.zeros(3), 0.1)
    moved = np.hypot(*(world.discs() - begin)[:, :2].T)
    assert (moved > 0.1).any() and world.was_touched == 0
    for x, y, _ in world.discs():
        assert box_distance(x, y, world.boxes) > RADIUS_M - 0.1


def test_a_scan_is_noisy_partly_lost_and_about_right() -> None:
    world = PlanarWorld(room((2.0, 0.0, 2.1, 4.0)), BASE, 0.22, np.array([1.0, 2.0, 0.0]))
    scans = np.array([world.scan() for _ in range(200)])
    assert np.isnan(scans).mean() == pytest.approx(0.01, rel=0.2)
    ahead = scans[:, 180]
    assert np.nanmean(ahead) == pytest.approx(1.0, abs=0.005) and 0.005 < np.nanstd(ahead) < 0.02


def test_mapping_finds_walls_free_floor_and_leaves_the_rest_unknown() -> None:
    mapper = GridMapper(0.0, 0.0, 60, 80)
    angles = np.linspace(-0.6, 0.6, 200)
    for _ in range(3):
        mapper.add(np.array([1.025, 1.525, 0.0]), angles, 1.5 / np.cos(angles))
    cells = mapper.cells()
    assert cells[30, 50] == 100 and cells[30, 40] == 0 and cells[30, 60] == -1 and cells[30, 5] == -1
    mapper.add(np.array([1.025, 1.525, 0.0]), angles, np.full(200, np.nan))
    np.testing.assert_array_equal(mapper.cells(), cells)


def test_targets_can_be_seen_from_before_them_and_not_through_walls() -> None:
    plan = generate(4)
    targets = place_targets(plan, 8, 4)
    away = ndimage.distance_transform_edt(~occupied(plan.boxes, plan.size_m)) * 0.05
    standing = 0.05 * (np.argwhere(away > CLEAR_M)[:, ::-1] + 0.5)
    for target in targets:
        near = standing[np.hypot(*(standing - target).T) < 1.5]
        views = [np.array([*p, np.arctan2(*(target - p)[::-1])]) for p in near]
        assert any(in_view(view, target, plan.boxes, NONE, 0.3, 2.5, 1.2) for view in views)
    wall = np.array([[1.0, -1.0, 1.1, 1.0]])
    assert not in_view(np.zeros(3), np.array([2.0, 0.0]), wall, NONE, 0.3, 2.5, 1.2)
    assert in_view(np.zeros(3), np.array([0.9, 0.0]), wall, NONE, 0.3, 2.5, 1.2)
    assert not in_view(np.array([0.0, 0.0, 2.0]), np.array([0.9, 0.0]), wall, NONE, 0.3, 2.5, 1.2)
    assert not in_view(np.zeros(3), np.array([0.2, 0.0]), wall, NONE, 0.3, 2.5, 1.2)


def test_the_believed_pose_wanders_by_its_sigma() -> None:
    localiser, truth = Localiser(0, 0.02, 0.01, 1.0), np.array([1.0, 2.0, 3.0])
    errors = np.array([localiser.measure(truth, 0.1) - truth for _ in range(4000)])
    assert errors[:, :2].std() == pytest.approx(0.02, rel=0.2)
    assert np.hypot(*np.diff(errors[:, :2], axis=0).T).mean() < 0.02
