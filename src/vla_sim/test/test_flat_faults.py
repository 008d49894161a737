"""Faults of the flat's world do what they say, and leave alone what they don't name."""

from __future__ import annotations

import numpy as np
import pytest
from flat_driving import open_place, put, run

from vla_core.errors import ConfigError, UnknownNameError
from vla_sim.core.flat import truth
from vla_sim.core.flat.faults import FAULTS, FaultError
from vla_sim.core.flat.hand_world import HandWorld
from vla_sim.core.flat.world import FlatWorld
from vla_sim.core.suites import suite_of


@pytest.fixture(scope="module")
def shared() -> FlatWorld:
    return FlatWorld()


@pytest.fixture
def world(shared: FlatWorld) -> FlatWorld:
    shared.reset(3)
    return shared


def place(world: FlatWorld) -> np.ndarray:
    return truth.thing_position(world)


def test_a_target_that_was_moved_lies_where_the_arm_gets_it(world: FlatWorld) -> None:
    before, others = place(world), [truth.thing_position(world, i) for i in range(1, len(world.plan.things))]
    told = world.inject("target_moved")
    run(world, 1.0)
    after = place(world)
    assert np.linalg.norm((after - before)[:2]) > 1.5 and world.plan.floor.room_at(*after[:2]) in told
    for i, was in enumerate(others, start=1):
        np.testing.assert_allclose(truth.thing_position(world, i), was, atol=3e-3)


def test_cameras_show_the_target_where_it_was_moved_to(world: FlatWorld) -> None:
    """They draw from a copy of the world, in which the target sleeps where it lay."""
    twin = FlatWorld()
    twin.reset(3)
    run(world, 0.5)
    twin.restore(world.snapshot())
    world.inject("target_moved")
    run(world, 0.1)
    twin.restore(world.snapshot())
    np.testing.assert_allclose(place(twin), place(world), atol=1e-3)


def test_a_target_that_is_gone_is_outside(world: FlatWorld) -> None:
    world.inject("target_gone")
    run(world, 0.5)
    x, y, z = place(world)
    assert not world.plan.floor.outline.contains(x, y) and abs(z) < 0.01


def test_a_phantom_is_seen_for_a_moment_where_nothing_is(world: FlatWorld) -> None:
    x, y, _ = open_place(world)
    put(world, x, y, 0.0)
    before = place(world)
    world.inject("phantom")
    run(world, 0.1)
    shown = place(world)
    assert 0.5 < np.hypot(*(shown - [x, y, 0.0])[:2]) < 1.1
    run(world, 1.0)
    np.testing.assert_allclose(place(world), before, atol=3e-3)


def test_who_is_kidnapped_is_elsewhere_and_odometry_knows_nothing(world: FlatWorld) -> None:
    before, odometry = world.base_pose(), world.odometry
    world.inject("kidnapped")
    run(world, 0.1)
    x, y, _ = world.base_pose()
    assert np.hypot(x - before[0], y - before[1]) > 1.5
    assert world.plan.floor.room_at(x, y) != world.plan.floor.room_at(*before[:2])
    assert abs(world.odometry.x - odometry.x) < 0.01 and abs(world.odometry.y - odometry.y) < 0.01
    assert world.collisions.events == []


def test_doors_are_shut_and_opened_again(world: FlatWorld) -> None:
    assert world.facts()["doors_shut"] == []
    world.inject("doors_shut")
    assert len(world.facts()["doors_shut"]) == len(world.plan.floor.doors)
    world.inject("doors_open")
    assert world.facts()["doors_shut"] == []


def test_blind_lidars_meet_nothing(world: FlatWorld) -> None:
    world.inject("lidars_blind")
    assert np.isinf(world.lidar_2d.scan(world.model, world.data)).all()
    assert len(world.lidar_3d.points(world.lidar_3d.scan(world.model, world.data))) == 0
    world.inject("lidars_see")
    assert np.isfinite(world.lidar_2d.scan(world.model, world.data)).mean() > 0.9


def test_a_wheel_that_slips_turns_more_than_it_goes(world: FlatWorld) -> None:
    """A third of the left wheel's turn is lost: the robot swerves to the left, its odometry says straight on."""
    x, y, free_m = open_place(world)
    assert free_m > 0.6
    put(world, x, y, 0.0)
    told = world.odometry
    world.inject("wheels_slip")
    run(world, 1.5, 0.3)
    run(world, 0.5)
    swerved = world.base_pose()[2]
    believed = np.arctan2(np.sin(world.odometry.yaw - told.yaw), np.cos(world.odometry.yaw - told.yaw))
    way = np.hypot(world.odometry.x - told.x, world.odometry.y - told.y)
    assert swerved > 0.3 and abs(believed) < 0.1
    assert way > 1.1 * np.hypot(world.base_pose()[0] - x, world.base_pose()[1] - y)
    world.inject("wheels_grip")
    before, told = world.base_pose(), world.odometry
    run(world, 1.0, 0.0, 0.5)
    turned, believed = world.base_pose()[2] - before[2], world.odometry.yaw - told.yaw
    assert abs(np.arctan2(np.sin(turned - believed), np.cos(turned - believed))) < 0.05


def test_a_battery_that_is_low_goes_on_falling(world: FlatWorld) -> None:
    world.inject("battery_low")
    first = world.charge
    assert first == pytest.approx(0.1, abs=1e-6)
    run(world, 1.0)
    assert world.charge < first


def test_what_is_in_the_hand_slips_out_and_an_empty_hand_has_nothing_to_lose(world: FlatWorld) -> None:
    with pytest.raises(FaultError, match="empty hand"):
        world.inject("thing_slips")
    hand = HandWorld()
    hand.reset(1, family="put")
    assert truth.held(hand)
    hand.inject("thing_slips")
    for _ in range(1500):
        hand.step(hand.commanded_rad(), np.array([0.0]), np.array([10.0]))
    assert not truth.held(hand)


def test_a_reset_ends_every_fault(world: FlatWorld) -> None:
    for name in ("lidars_blind", "wheels_slip", "battery_low", "doors_shut", "target_gone"):
        world.inject(name)
    world.reset(4)
    assert world.charge == 1.0 and not world.lidar_2d.blind and (world.faults.grip == 1.0).all()
    assert world.facts()["doors_shut"] == []


def test_unknown_faults_are_refused(world: FlatWorld) -> None:
    with pytest.raises(UnknownNameError, match="kidnapped"):
        world.inject("nonsense")
    with pytest.raises(ConfigError, match="scene flat"):
        suite_of("tabletop").make_world("tabletop").inject(next(iter(FAULTS)))
