"""A lidar-inertial odometry's poses in the frames of REP 105: tilted worlds, mounts, jumps, restarts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from navigation_data import base, rooms

from vla_core import rotations, se2
from vla_core.errors import MapError, ScanError
from vla_core.frames import lifted
from vla_core.types import NS, Float64
from vla_navigation.core.occupancy_grid import FREE_BELOW, OCCUPIED_FROM
from vla_navigation.core.slam.followed_map import FollowedMap
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.scan import LaserScan
from vla_navigation.core.slam.slam import COASTING, LOST, TRACKING
from vla_sim.core.floor_plan.world import LIDAR_LEAST_M, LIDAR_REACH_M, PlanarWorld

PARAMS = SlamParameters.from_config()
STEP_NS = NS // 10


def frame(rotvec: Float64, place: Float64) -> Float64:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotations.to_matrix(rotations.from_rotvec(rotvec)), place
    return out


def odometry_of(pose: Float64, seconds: float = 0.0) -> Float64:
    """Begins elsewhere, 3 % too long, and drifts with time."""
    return se2.compose(np.array([2.0, -1.0, 0.7 + 0.01 * seconds]), pose * [1.03, 1.03, 1.0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_map_begins_level_at_the_base_however_the_imu_hangs_and_its_world_is_tilted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    T_world_map = frame(rng.uniform(-1.5, 1.5, 3), rng.uniform(-3, 3, 3))
    T_body_base = frame(rng.uniform(-1.5, 1.5, 3), rng.uniform(-0.5, 0.5, 3))
    made = FollowedMap(PARAMS)
    poses = np.concatenate([np.zeros((1, 3)), np.cumsum(rng.uniform(-0.05, 0.05, (20, 3)), axis=0)])
    for k, pose in enumerate(poses):
        odometry = odometry_of(pose, 0.1 * k)
        T_world_body = T_world_map @ lifted(pose) @ np.linalg.inv(T_body_base)
        made.follow((k + 1) * STEP_NS, T_world_body, T_body_base, odometry)
        np.testing.assert_allclose(se2.compose(made._map_odom, odometry), pose, atol=1e-9)


class Drive:
    """A robot that drives through a room, the other program beside it."""

    def __init__(self) -> None:
        self.world = PlanarWorld(rooms(5.0, 4.0, (3.0, 0.0, 3.4, 2.0)), base(), 0.2, np.array([1.0, 1.0, 0.3]))
        self.begun, self.map, self.now_ns = self.world.pose.copy(), FollowedMap(PARAMS), NS
        self.start: Float64 | None = None  # of the map: where the first pose was told
        self.T_world_map = frame(np.array([0.2, -0.3, 1.0]), np.ones(3))

    def true(self) -> Float64:
        assert self.start is not None
        return se2.between(self.start, self.world.pose)

    def step(self, follows: bool = True, jump: float = 0.0) -> str:
        self.now_ns += STEP_NS
        self.world.pose = se2.compose(self.world.pose, np.array([0.03, 0.0, 0.02]))
        odometry = odometry_of(se2.between(self.begun, self.world.pose))
        if follows:
            self.start = self.world.pose.copy() if self.start is None else self.start
            moved = self.true() + [jump, 0.0, 0.0]
            self.map.follow(self.now_ns, self.T_world_map @ lifted(moved), np.eye(4), odometry)
        scan = LaserScan(
            self.now_ns, self.world.angles, self.world.scan().astype(np.float32), LIDAR_LEAST_M, LIDAR_REACH_M,
            np.zeros(3),
        )  # fmt: skip
        self.estimate = self.map.update(scan, odometry)
        return self.estimate.status


def test_the_map_is_drawn_where_the_walls_are(tmp_path: Path) -> None:
    drive = Drive()
    assert {drive.step() for _ in range(40)} == {TRACKING}
    np.testing.assert_allclose(drive.estimate.pose, drive.true(), atol=1e-9)
    grid = drive.map.grid()
    assert drive.start is not None
    wall = se2.transform(se2.inverse(drive.start), np.array([[3.0 + 0.02, 1.2], [2.8, 1.2]]))
    cells = grid.to_cell(wall)
    assert grid.cells[tuple(cells[0])] >= OCCUPIED_FROM and 0 <= grid.cells[tuple(cells[1])] < FREE_BELOW
    assert 4 < len(drive.map.keyframes) < 40
    drive.map.save(tmp_path / "map")
    assert (tmp_path / "map.pgm").exists() and not (tmp_path / "map.npz").exists()
    with pytest.raises(MapError, match="pose_source"):
        drive.map.look_near(np.zeros(3), 1.0, 1.0)


def test_it_coasts_on_odometry_then_is_lost_and_takes_up_again_in_another_world() -> None:
    drive = Drive()
    assert drive.step(follows=False) == LOST, "before the first pose"
    for _ in range(10):
        assert drive.step() == TRACKING
    seen = [drive.step(follows=False) for _ in range(25)]
    assert seen[2] == TRACKING and seen[10] == COASTING and seen[-1] == LOST
    believed = drive.estimate.pose
    drive.T_world_map = frame(np.array([-0.5, 0.1, -2.0]), np.array([9.0, 9.0, 9.0]))  # it was started again
    assert drive.step() == TRACKING
    assert np.hypot(*(drive.estimate.pose - believed)[:2]) < 0.05, "no jump of the robot in the map"


def test_a_jump_is_refused_and_the_last_pose_stays() -> None:
    drive = Drive()
    for _ in range(5):
        drive.step()
    with pytest.raises(ScanError, match=r"got a pose 3\.\d+ m .*start the other program again"):
        drive.step(jump=3.0)
    assert drive.step() == TRACKING
    np.testing.assert_allclose(drive.estimate.pose, drive.true(), atol=1e-9)
    with pytest.raises(ScanError, match="stamps that grow"):
        drive.map.follow(drive.now_ns, np.eye(4), np.eye(4), np.zeros(3))


def test_a_covered_lidar_draws_no_free_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = Drive()
    for _ in range(15):
        drive.step()
    before = drive.map.grid().cells.copy()
    monkeypatch.setattr(drive.world, "scan", lambda: np.full_like(drive.world.angles, np.inf))
    for _ in range(15):
        assert drive.step() == TRACKING
    np.testing.assert_array_equal(drive.map.grid().cells, before)
