"""The flat's world: physics and sensors against what they should be, and truth that stays out of them."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from flat_driving import open_place, put, run

from vla_control.core.robot import RobotModel
from vla_core.errors import UnknownNameError
from vla_sim.core.flat import truth
from vla_sim.core.flat.floor import Rect
from vla_sim.core.flat.lidar import Lidar
from vla_sim.core.flat.odometry import OdometryConfig, WheelOdometry
from vla_sim.core.flat.world import FlatWorld


@pytest.fixture(scope="module")
def world() -> FlatWorld:
    return FlatWorld()


@pytest.fixture(scope="module")
def robot() -> RobotModel:
    return RobotModel.load("so101_mobile")


# -- flats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "split"), [(1, "train"), (2, "heldout_flat"), (3, "heldout_pair")])
def test_things_lie_still_from_the_beginning_and_nothing_touches_the_robot(
    world: FlatWorld, seed: int, split: str
) -> None:
    world.reset(seed, split=split)
    before = np.array([truth.thing_position(world, i) for i in range(len(world.plan.things))])
    planned = np.array([[t.x, t.y, t.z] for t in world.plan.things])
    np.testing.assert_allclose(before, planned, atol=2e-3)
    run(world, 1.0)
    after = np.array([truth.thing_position(world, i) for i in range(len(world.plan.things))])
    assert np.abs(after - before).max() < 3e-3
    assert world.collisions.events == [] and world.contact_force_n() == 0.0
    deepest = min((contact.dist for contact in world.data.contact), default=0.0)
    assert deepest > -2e-3


def test_same_seed_gives_the_same_world_and_a_snapshot_restores_it(world: FlatWorld) -> None:
    world.reset(5)
    first, twin = world.snapshot(), FlatWorld()
    twin.reset(5)
    np.testing.assert_array_equal(first, twin.snapshot())
    run(world, 0.2, 0.3)
    world.set_door(0, shut=True)
    twin.restore(world.snapshot())
    np.testing.assert_array_equal(twin.data.mocap_pos, world.data.mocap_pos)
    assert twin.base_pose() == world.base_pose()
    world.reset(6)
    assert world.snapshot().shape != first.shape or not np.array_equal(first, world.snapshot())
    world.reset(5)
    np.testing.assert_array_equal(first, world.snapshot())


def test_addresses_of_the_robot_are_those_of_every_flat(world: FlatWorld) -> None:
    kept = None
    for seed in (0, 3):
        world.reset(seed)
        model = world.model
        addresses = [*world.arm_q, *world.arm_v, *world.finger_q, model.body("gripper_link").id, model.site("tool").id]
        assert kept is None or addresses == kept
        kept = addresses


# -- lidars -------------------------------------------------------------------------------------------------------


def to_walls(walls: tuple[Rect, ...], start: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Distance along horizontal rays (N,2) to the nearest wall, by slabs, without MuJoCo (N,)."""
    low = np.array([[w.x0, w.y0] for w in walls]) - start
    high = np.array([[w.x1, w.y1] for w in walls]) - start
    with np.errstate(divide="ignore"):
        a, b = low[None] / rays[:, None], high[None] / rays[:, None]
    enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf).min(1)


def test_exact_ranges_are_analytic_distances_to_the_walls(world: FlatWorld) -> None:
    """In a flat whose furniture and things are taken away."""
    world.reset(4)
    bare = replace(world.plan, furniture=(), things=(replace(world.plan.things[0], x=-5.0, y=-5.0),))
    world.place(bare)
    lidar = world.lidar_2d
    put(world, *bare.start)  # upright: settled, the base leans by a fraction of a milliradian
    x, y, yaw = world.base_pose()
    angles = yaw + np.arctan2(lidar.directions[0, :, 1], lidar.directions[0, :, 0])
    expected = to_walls(bare.floor.walls, np.array([x, y]), np.stack([np.cos(angles), np.sin(angles)], 1))
    np.testing.assert_allclose(lidar.exact(world.model, world.data)[0], expected, atol=1e-6)
    assert expected.min() < 3.0 and np.isfinite(expected).all()


def test_noise_and_lost_beams_of_a_lidar_are_as_configured(world: FlatWorld) -> None:
    world.reset(4)
    config = replace(world.lidar_2d.config, dropout=0.1, noise_m=0.02, range_m=(0.0, 50.0))
    lidar = Lidar(config, np.random.default_rng(1))
    exact = lidar.exact(world.model, world.data)
    scans = np.stack([lidar.scan(world.model, world.data) for _ in range(60)])
    lost = ~np.isfinite(scans)
    assert lost.mean() == pytest.approx(0.1, abs=0.01)
    errors = (scans - exact)[~lost]
    assert errors.mean() == pytest.approx(0.0, abs=0.001) and errors.std() == pytest.approx(0.02, rel=0.05)


def test_rings_see_the_floor_at_their_depression_and_never_the_robot(world: FlatWorld) -> None:
    world.reset(4)
    x, y, free_m = open_place(world)
    put(world, x, y, 0.3)
    lidar = world.lidar_3d
    ranges = lidar.exact(world.model, world.data)
    height = float(world.data.site("lidar").xpos[2])
    below = [i for i, ring in enumerate(lidar.config.rings_deg) if ring < 0]
    on_floor = height / np.sin(-np.radians(lidar.config.rings_deg))[below]
    assert np.all(ranges[below] <= on_floor[:, None] + 1e-3)
    assert ranges.min() > free_m - 0.25, "nearer than anything that stands there: the robot itself"
    points = lidar.points(lidar.scan(world.model, world.data))
    assert points.shape[1] == 3 and points[:, 2].min() == pytest.approx(-height, abs=0.15)


# -- base, odometry, IMU ------------------------------------------------------------------------------------------


def test_the_base_follows_a_twist_within_its_acceleration_and_stops_when_forgotten(world: FlatWorld) -> None:
    world.reset(4)
    x, y, free_m = open_place(world)
    assert free_m > 0.8, "choose a seed with more room"
    put(world, x, y, 0.0)
    base = world.robot.base
    assert base is not None
    run(world, 0.1, 0.25, 0.5)
    speed = float(np.linalg.norm(world.data.joint("base_free").qvel[:2]))
    assert 0.0 < speed < 0.13 * base.acceleration[0]
    run(world, 0.8, 0.25, 0.5)
    velocity = world.data.joint("base_free").qvel
    assert np.linalg.norm(velocity[:2]) == pytest.approx(0.25, rel=0.03)
    assert velocity[5] == pytest.approx(0.5, rel=0.05)
    run(world, world.scene["base"]["command_timeout_s"] + 1.0, command=False)
    assert np.abs(world.data.joint("base_free").qvel).max() < 0.01


def test_a_twist_beyond_the_limits_is_slowed_down_as_a_whole(world: FlatWorld) -> None:
    world.reset(4)
    put(world, *open_place(world)[:2], 0.0)
    run(world, 1.2, 0.2, 6.0)
    velocity = world.data.joint("base_free").qvel
    assert velocity[5] == pytest.approx(1.5, rel=0.05)
    assert np.linalg.norm(velocity[:2]) == pytest.approx(0.05, rel=0.25)


def test_perfect_odometry_is_the_truth_but_for_its_origin(world: FlatWorld) -> None:
    world.reset(4)
    put(world, *open_place(world)[:2], 1.0)
    base = world.robot.base
    assert base is not None
    perfect = OdometryConfig(50, 1 << 20, 0.0, 0.0, 0.0, 0.0)
    odometry = WheelOdometry(perfect, base.wheel_radius_m, base.track_m, np.random.default_rng(0))
    x0, y0, yaw0 = world.base_pose()
    state = odometry.update(world.wheel_angles(), 0.0)
    assert (state.x, state.y, state.yaw) == (0.0, 0.0, 0.0), "the odom frame knows nothing of the flat"
    for _ in range(75):
        run(world, 0.02, 0.25, 0.6)
        state = odometry.update(world.wheel_angles(), 0.02)
    x, y, yaw = world.base_pose()
    cos, sin = np.cos(yaw0), np.sin(yaw0)
    expected = [cos * (x - x0) + sin * (y - y0), -sin * (x - x0) + cos * (y - y0), yaw - yaw0]
    np.testing.assert_allclose([state.x, state.y, state.yaw], expected, atol=0.012)
    assert (state.vx, state.wz) == (pytest.approx(0.25, rel=0.03), pytest.approx(0.6, rel=0.05))


@pytest.mark.parametrize(
    ("errors", "expected"),
    [  # standard deviation of the heading after 4 m straight ahead, track 0.3 m
        (OdometryConfig(50, 1 << 20, 0.01, 0.0, 0.0, 0.0), 4.0 * 0.01 * np.sqrt(2) / 0.3),
        (OdometryConfig(50, 1 << 20, 0.0, 0.0, 0.003, 0.0), 0.003 * np.sqrt(2 * 4.0) / 0.3),
        (OdometryConfig(50, 1 << 20, 0.0, 0.0, 0.0, 0.008), 0.008 * 0.4 * np.sqrt(2 * (2 * (10 - 1))) / 0.3),
    ],
)
def test_heading_drifts_by_what_the_errors_say(errors: OdometryConfig, expected: float) -> None:
    """Radii: their difference times the way; noise: a random walk of both wheels; slip: exponentially correlated, so
    the variance of its integral over T is 2 tau (T - tau) for T >> tau = 1 s."""
    finals = [straight(errors, seed) for seed in range(150)]
    assert np.std(finals) == pytest.approx(expected, rel=0.2)
    assert abs(np.mean(finals)) < 0.3 * expected


def straight(errors: OdometryConfig, seed: int) -> float:
    """Heading that the odometry has after 4 m straight ahead in 10 s."""
    odometry = WheelOdometry(errors, 0.05, 0.3, np.random.default_rng(seed))
    odometry.update(np.zeros(2), 0.0)
    return [odometry.update(np.full(2, angle), 0.2).yaw for angle in np.linspace(0.0, 80.0, 51)[1:]][-1]


def test_covariance_of_the_odometry_covers_its_errors() -> None:
    errors = OdometryConfig(50, 4096, 0.005, 0.01, 0.003, 0.008)
    odometry = WheelOdometry(errors, 0.05, 0.3, np.random.default_rng(0))
    odometry.update(np.zeros(2), 0.0)
    for angle in np.linspace(0.0, 80.0, 101)[1:]:
        state = odometry.update(np.full(2, angle), 0.1)
    assert np.all(np.linalg.eigvalsh(state.covariance) > 0)
    random_part = np.std([straight(replace(errors, radius_error=0.0), seed) for seed in range(100)])
    assert 0.3 * random_part < np.sqrt(state.covariance[2, 2]) < 3 * random_part


def test_imu_feels_gravity_at_rest_and_its_own_turning(world: FlatWorld) -> None:
    world.reset(4)
    put(world, *open_place(world)[:2], 0.0)
    run(world, 0.3)
    gyro, force = np.mean([world.imu.read(world.data) for _ in range(200)], axis=0)
    assert force[2] == pytest.approx(9.81, abs=0.25) and np.abs(force[:2]).max() < 0.25
    assert np.abs(gyro).max() < 0.015
    run(world, 1.0, 0.0, 1.0)
    turning, _ = np.mean([world.imu.read(world.data) for _ in range(200)], axis=0)
    assert turning[2] == pytest.approx(1.0, abs=0.05)
    samples = np.array([world.imu.read(world.data)[0] for _ in range(400)])
    assert samples.std(axis=0) == pytest.approx(world.scene["imu"]["gyro_noise_rad_s"], rel=0.2)


# -- collisions, doors, truth -------------------------------------------------------------------------------------


def drive_into_a_wall(world: FlatWorld) -> None:
    """Stand before an outer wall that nothing stands at, facing it, and drive."""
    floor = world.plan.floor
    for y in np.arange(0.6, floor.outline.y1 - 0.6, 0.1):
        way = Rect(0.05, y - 0.3, 0.75, y + 0.3)
        blocked = [p.rect for p in world.plan.furniture if p.rect.overlaps(way)]
        blocked += [wall for wall in floor.walls if wall.overlaps(way.grown(-0.01))]
        if not blocked and not any(way.contains(t.x, t.y) for t in world.plan.things):
            put(world, 0.5, float(y), np.pi)
            run(world, 1.5, 0.4)
            return
    raise AssertionError("no free stretch of wall: choose another seed")


def test_driving_into_a_wall_is_one_collision_and_again_another(world: FlatWorld) -> None:
    world.reset(4)
    drive_into_a_wall(world)
    assert len(world.collisions.events) == 1
    event = world.collisions.events[0]
    assert event.body.startswith("wall/") and event.force_n > world.scene["collision"]["force_n"]
    assert world.contact_force_n() >= event.force_n
    turned = world.wheel_angles()
    run(world, 0.5, 0.4)
    assert np.all(world.wheel_angles() - turned > 0.5), "wheels spin: the odometry goes on, the robot doesn't"
    assert len(world.collisions.events) == 1
    run(world, 0.8, -0.3)
    run(world, 1.2, 0.4)
    assert len(world.collisions.events) == 2
    world.reset(4)
    assert world.collisions.events == []


def test_the_way_of_the_base_counts_forth_and_back(world: FlatWorld) -> None:
    world.reset(4)
    assert truth.facts(world)["driven_m"] == 0.0
    x0, y0, _ = world.base_pose()
    run(world, 2.0, 0.15)
    x, y, _ = world.base_pose()
    forth_m = float(np.hypot(x - x0, y - y0))
    assert forth_m > 0.2 and world.driven_m == pytest.approx(forth_m, rel=0.02)
    run(world, 2.0, -0.15)
    assert world.driven_m == pytest.approx(2.0 * forth_m, rel=0.15)
    world.reset(4)
    assert world.driven_m == 0.0


def test_a_shut_door_is_seen_and_bars_the_way(world: FlatWorld) -> None:
    world.reset(4)
    door = world.plan.floor.doors[0]
    dx, dy = (1.0, 0.0) if door.along_y else (0.0, 1.0)
    put(world, door.x - 0.6 * dx, door.y - 0.6 * dy, float(np.arctan2(dy, dx)))
    ahead = world.lidar_2d.config.beams // 2
    assert world.lidar_2d.exact(world.model, world.data)[0, ahead] > 0.8
    world.set_door(0, shut=True)
    assert truth.facts(world)["doors_shut"] == [0]
    assert world.lidar_2d.exact(world.model, world.data)[0, ahead] == pytest.approx(0.585, abs=0.01)
    run(world, 2.0, 0.4)
    x, y, _ = world.base_pose()
    assert (door.x - x) * dx + (door.y - y) * dy > 0.1
    assert [event.body for event in world.collisions.events] == ["door0"]
    world.set_door(0, shut=False)
    assert truth.facts(world)["doors_shut"] == []
    with pytest.raises(UnknownNameError, match="door '99'"):
        world.set_door(99, shut=True)


def test_success_is_the_target_and_the_robot_where_it_started(world: FlatWorld) -> None:
    world.reset(4)
    assert not truth.succeeded(world)
    joint = world.model.joint("thing0")
    x, y, _ = world.plan.start
    world.data.qpos[joint.qposadr[0] : joint.qposadr[0] + 3] = [x + 0.4, y, 0.01]
    mujoco.mj_forward(world.model, world.data)
    assert truth.succeeded(world)
    put(world, x + 1.0, y, 0.0)
    assert not truth.succeeded(world)
