"""Table tops: the planar lidar passes under them, the robot must not."""

from __future__ import annotations

import numpy as np
import pytest
from navigation_data import CELL_M, PARAMS, RADIUS_M, base, drive_to, grid_of, placed, rooms
from sensor_msgs.msg import PointCloud2, PointField

from vla_core.errors import ConfigError, ScanError
from vla_core.types import NS, Float64
from vla_navigation import floor_conversions
from vla_navigation.core.nav import robot_footprint as files
from vla_navigation.core.nav.codes import Code
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.navigator import Navigator, StampedPose
from vla_navigation.core.nav.overhead_layer import OverheadLayer, PlacedPoints
from vla_sim.core.floor_plan.world import PlanarWorld

FLOOR = rooms(6.0, 3.0)
FRAME = GridFrame.of(grid_of(FLOOR))
WHOLE = (slice(None), slice(None))
HEIGHT_M, LIDAR_M = 1.05, 1.0
#: A table top 72 cm over the floor, over the whole way but a passage of 90 cm.
TABLE = ((2.6, 3.4), (0.9, 3.0), 0.72)
RINGS, BEAMS = np.radians(np.arange(-15.0, 16.0, 2.0)), np.linspace(-np.pi, np.pi, 360, endpoint=False)


def look(x: float, y: float, table: bool, stamp_s: float) -> PlacedPoints:
    """What a lidar of 16 rings on a mast sees: floor, table top and the walls of the room."""
    elevation, azimuth = (angles.ravel() for angles in np.meshgrid(RINGS, BEAMS, indexing="ij"))
    rays = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1)
    origin = np.array([x, y, LIDAR_M])
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.where(rays[:, :2] > 0, [6.0, 3.0], 0.0) - origin[:2]
        sides = np.where(np.abs(rays[:, :2]) > 1e-9, ends / rays[:, :2], np.inf).T
        floor = np.where(rays[:, 2] < 0, -LIDAR_M / rays[:, 2], np.inf)
        top = np.where(rays[:, 2] < 0, (TABLE[2] - LIDAR_M) / rays[:, 2], np.inf)
    at = origin + np.where(np.isfinite(top), top, 0.0)[:, None] * rays
    (x0, x1), (y0, y1), _ = TABLE
    on = np.isfinite(top) & (at[:, 0] > x0) & (at[:, 0] < x1) & (at[:, 1] > y0) & (at[:, 1] < y1)
    away = np.minimum(sides.min(0), floor)
    away = np.where(on & table, np.minimum(away, np.where(np.isfinite(top), top, 0.0)), away)
    return PlacedPoints(round(stamp_s * NS), origin, origin + away[:, None] * rays)


def layer(memory_s: float = 100.0) -> OverheadLayer:
    return OverheadLayer(FRAME, HEIGHT_M, RADIUS_M, 5.0, memory_s)


def over(made: OverheadLayer) -> Float64:
    """Middles of marked cells away from the walls."""
    cells = FRAME.points(np.argwhere(made.lethal(WHOLE)))
    return cells[(cells > 0.15).all(1) & (cells[:, 0] < 5.85) & (cells[:, 1] < 2.85)]


NOTHING = np.zeros(FRAME.shape, bool)


def test_a_table_top_is_marked_and_neither_floor_nor_what_hangs_higher() -> None:
    made = layer()
    made.observe(look(1.0, 1.5, table=True, stamp_s=1.0), NOTHING)
    found = over(made)
    assert len(found) > 40
    assert ((found[:, 0] > 2.5) & (found[:, 0] < 3.5) & (found[:, 1] > 0.8)).all()
    lamp = PlacedPoints(
        2 * NS, np.array([1.0, 1.5, LIDAR_M]), np.array([[3.0, 0.5, HEIGHT_M + 0.01], [3.0, 0.6, 0.05]])
    )
    made.observe(lamp, NOTHING)
    assert len(over(made)) == len(found)


def test_it_stays_when_the_robot_is_too_near_to_see_it_and_goes_when_it_is_looked_through() -> None:
    made = layer()
    made.observe(look(1.0, 1.5, table=True, stamp_s=1.0), NOTHING)
    before = len(over(made))
    made.observe(look(2.2, 0.5, table=True, stamp_s=30.0), NOTHING)
    assert len(over(made)) >= before, "rays over a table and under it take nothing from it"
    for k, (x, y) in enumerate([(1.0, 1.5), (2.2, 0.5)]):
        made.observe(look(x, y, table=False, stamp_s=31.0 + k), NOTHING)
    assert len(over(made)) < 0.1 * before
    made.observe(look(1.0, 1.5, table=True, stamp_s=33.0), NOTHING)
    made.observe(PlacedPoints(140 * NS, np.zeros(3), np.zeros((0, 3))), NOTHING)
    assert not len(over(made)), "its time is over"


def test_rays_that_dive_in_under_an_edge_take_nothing_from_it() -> None:
    """They pass 4 cm under the edge for half a metre: the robot drove 16 mm into a corner that they had unmarked."""
    made, hit = layer(), NOTHING.copy()
    for k, x in enumerate(np.arange(0.6, 1.6, 0.06)):
        seen = look(x, 0.6, table=True, stamp_s=1.0 + 0.1 * k)
        on = seen.points_m[np.abs(seen.points_m[:, 2] - TABLE[2]) < 1e-9]
        hit[tuple(FRAME.cells(on[:, :2]).T)] = True
        made.observe(seen, NOTHING)
    assert hit.sum() > 200
    assert np.count_nonzero(hit & ~made.lethal(WHOLE)) == 0


def test_what_the_map_explains_and_the_robot_itself_are_not_marked() -> None:
    made = layer()
    made.observe(look(1.0, 1.5, table=True, stamp_s=1.0), ~NOTHING)
    assert not made.lethal(WHOLE).any()
    own = np.array([[1.0 + RADIUS_M, 1.5, 0.5], [np.nan, 1.0, 0.5], [np.inf, 1.0, 0.5]])
    made.observe(PlacedPoints(NS, np.array([1.0, 1.5, LIDAR_M]), own), NOTHING)
    assert not made.lethal(WHOLE).any()


def test_marks_move_with_the_frame_of_a_growing_map() -> None:
    made = layer()
    made.observe(look(1.0, 1.5, table=True, stamp_s=1.0), NOTHING)
    larger = GridFrame(CELL_M, FRAME.x_m - 1.0, FRAME.y_m - 0.5, FRAME.rows + 40, FRAME.columns + 60)
    moved = made.moved_to(larger)
    cells = larger.points(np.argwhere(moved.lethal(WHOLE)))
    np.testing.assert_allclose(np.sort(cells[:, 0]), np.sort(FRAME.points(np.argwhere(made.lethal(WHOLE)))[:, 0]))


@pytest.mark.parametrize("sees", [True, False])
def test_the_navigator_drives_round_a_table_top_and_never_under_it(sees: bool) -> None:
    nav = Navigator(base(), Footprint.circle(RADIUS_M), PARAMS, grid_of(FLOOR), HEIGHT_M if sees else 0.0)
    world = PlanarWorld(FLOOR, base(), RADIUS_M, np.array([1.0, 1.8, 0.0]))
    nav.go(np.array([5.0, 1.8, 0.0]))
    under = 0
    while nav.feedback().result is None and world.time_s < 60.0:
        nav.observe_points(look(*world.pose[:2], table=True, stamp_s=world.now_ns / NS))
        twist = nav.tick(world.now_ns, StampedPose(world.now_ns, world.pose.copy()), world.twist, placed(world))
        world.step(twist, PARAMS.period_s)
        (x0, x1), (y0, y1), _ = TABLE
        nearest = np.clip(world.pose[:2], [x0, y0], [x1, y1])
        under += bool(np.hypot(*(world.pose[:2] - nearest)) < RADIUS_M)
    result = nav.feedback().result
    assert result is not None and result.reached
    assert (under == 0) is sees, "a planar lidar alone leads under it: the test would notice"


@pytest.mark.parametrize(("away_m", "code"), [(4.2, Code.NONE), (2.4, Code.PLAN_NO_VALID_PATH)])
def test_what_hung_there_once_closes_no_way_for_good_but_from_near_by_it_does(away_m: float, code: Code) -> None:
    """Marks of before a loop was closed, or of somebody's arm: out of sight nothing clears them for two minutes."""
    nav = Navigator(base(), Footprint.circle(RADIUS_M), PARAMS, grid_of(FLOOR), HEIGHT_M)
    world = PlanarWorld(FLOOR, base(), RADIUS_M, np.array([1.0, 1.8, 0.0]))
    band = np.stack([np.full(60, away_m), np.linspace(0.0, 3.0, 60), np.full(60, 0.7)], 1)
    nav.observe_points(PlacedPoints(world.now_ns, np.array([1.0, 1.5, LIDAR_M]), band))
    result = drive_to(world, nav, (5.0, 1.8, 0.0))
    assert result is not None and result.code is code
    assert nav.feedback().recoveries == (1 if code is Code.NONE else 0)


def test_the_safety_layer_stops_before_a_table_top_whatever_is_asked() -> None:
    nav = Navigator(base(), Footprint.circle(RADIUS_M), PARAMS, grid_of(FLOOR), HEIGHT_M)
    world = PlanarWorld(FLOOR, base(), RADIUS_M, np.array([1.0, 1.8, 0.0]))
    nav._wanted = lambda pose, now_s: np.array([0.6, 0.0, 0.0])  # type: ignore[method-assign]
    nav.go(np.array([5.0, 1.8, 0.0]))
    for _ in range(80):
        nav.observe_points(look(*world.pose[:2], table=True, stamp_s=world.now_ns / NS))
        twist = nav.tick(world.now_ns, StampedPose(world.now_ns, world.pose.copy()), world.twist, placed(world))
        world.step(twist, PARAMS.period_s)
    assert 1.8 < world.pose[0] <= TABLE[0][0] - RADIUS_M and abs(world.twist[0]) < 1e-3


def test_points_of_any_layout_are_placed() -> None:
    rows = np.zeros(3, np.dtype({"names": ["z", "i", "x", "y"], "formats": ["<f4", "<u2", "<f4", "<f4"],
                                 "offsets": [0, 4, 8, 12], "itemsize": 20}))  # fmt: skip
    rows["x"], rows["y"], rows["z"] = [1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.5, -0.5, 0.0]
    fields = [
        PointField(name=n, offset=o, datatype=PointField.FLOAT32, count=1)
        for n, o in zip("zxy", (0, 8, 12), strict=True)
    ]
    message = PointCloud2(height=1, width=3, point_step=20, row_step=60, fields=fields, data=list(rows.tobytes()))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [1.0, 2.0, 1.0]
    found = floor_conversions.placed_points(message, T, 7)
    assert found.stamp_ns == 7 and found.origin_m.tolist() == [1.0, 2.0, 1.0]
    np.testing.assert_allclose(found.points_m, [[1.0, 3.0, 1.5], [0.0, 2.0, 0.5], [1.0, 4.0, 1.0]], atol=1e-6)
    message.width = 4
    with pytest.raises(ScanError, match="got points with fields"):
        floor_conversions.placed_points(message, T, 7)
    with pytest.raises(ScanError, match="float32 x, y, z"):
        floor_conversions.placed_points(PointCloud2(width=0, height=1, fields=fields[:2]), T, 7)


def test_a_robot_says_how_high_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.robot_height_m("so101_mobile") == pytest.approx(HEIGHT_M)
    monkeypatch.setattr(files, "load_yaml", lambda path: {"navigation": {"height_m": "tall"}})
    with pytest.raises(ConfigError, match="height_m 'tall'"):
        files.robot_height_m("so101_mobile")
