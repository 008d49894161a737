"""The whole SLAM, in worlds of walls: the truth is only looked at to judge."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest

from vla_core import se2
from vla_core.errors import ConfigError, MapError, ScanError
from vla_core.files import load_yaml
from vla_core.types import NS, Float64
from vla_navigation.core.slam import slam as slam_module
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.slam import COASTING, LOST, TRACKING, Estimate, Slam
from vla_navigation.core.slam.warm_up import warm_up
from vla_navigation.core.worlds.drive import Drive, Moment, drive
from vla_navigation.core.worlds.walls import corridor, flat, ring

PARAMS = SlamParameters.from_config()


@dataclass
class Run:
    """A way driven, and what became of it."""

    slam: Slam
    moments: list[Moment]
    estimates: list[Estimate]
    kept: list[tuple[int, Float64]]

    @classmethod
    def of(cls, moments: list[Moment], params: SlamParameters = PARAMS) -> Run:
        run = cls(Slam(params), moments, [], [])
        for moment in moments:
            run.estimates.append(run.slam.update(moment.scan, moment.odometry))
            run.kept.append(run.slam.reference)
        return run

    @property
    def error_m(self) -> Float64:
        """Distance (N,) [m] of each estimate from the truth, the first being right."""
        return self._off(np.array([estimate.pose for estimate in self.estimates]))

    @property
    def ate_m(self) -> float:
        return float(np.sqrt((self.error_m**2).mean()))

    @property
    def final_m(self) -> float:
        """The same in the map as it is at the end."""
        keyframes = self.slam.keyframes[[number for number, _ in self.kept]]
        off = self._off(se2.compose(keyframes, np.array([pose for _, pose in self.kept])))
        return float(np.sqrt((off**2).mean()))

    def _off(self, poses: Float64) -> Float64:
        truth = np.array([moment.truth for moment in self.moments])
        return np.asarray(np.linalg.norm((se2.compose(truth[0], poses) - truth)[:, :2], axis=1))

    def count(self, event: str) -> int:
        return sum(event in estimate.events for estimate in self.estimates)


@pytest.fixture(scope="module")
def home() -> Run:
    return Run.of(list(drive(flat(7), 3)))


def test_a_flat_is_mapped_to_a_centimetre_or_two(home: Run) -> None:
    odometry = np.array([moment.odometry for moment in home.moments])
    truth = np.array([moment.truth for moment in home.moments])
    drifted = se2.compose(truth[0], se2.between(odometry[0], odometry))
    assert np.linalg.norm((drifted - truth)[:, :2], axis=1).max() > 0.5
    assert home.ate_m < 0.02
    assert {estimate.status for estimate in home.estimates} == {TRACKING}


def test_the_way_back_adds_no_keyframes(home: Run) -> None:
    half = len(home.estimates) // 2
    added = ["keyframe" in estimate.events for estimate in home.estimates]
    assert sum(added[half + 50 :]) <= 2 < 30 < sum(added[:half]) and home.count("returned") > 20


def test_map_to_odom_is_the_correction_of_odometry(home: Run) -> None:
    for moment, estimate in list(zip(home.moments, home.estimates, strict=True))[::100]:
        np.testing.assert_allclose(se2.compose(estimate.map_odom, moment.odometry)[:2], estimate.pose[:2], atol=1e-9)


def test_the_grid_shows_the_flats_walls(home: Run) -> None:
    grid, start = home.slam.grid(), home.moments[0].truth
    walls = flat(7).walls
    share = np.linspace(0.1, 0.9, 9)[:, None, None]
    outer = (walls[:4, :2] + share * (walls[:4, 2:] - walls[:4, :2])).reshape(-1, 2)
    inside = np.array([moment.truth[:2] for moment in home.moments])

    def value(points: Float64) -> np.ndarray:
        cells = grid.to_cell(se2.transform(se2.inverse(start), points))
        around = [cells + [dy, dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        return np.array([grid.cells[c[:, 0], c[:, 1]] for c in around])

    assert (value(outer).max(axis=0) > 65).mean() > 0.7  # the others stand behind furniture
    assert value(inside)[4].max() < 25 and value(inside)[4].min() >= 0


def test_a_lost_robot_is_found_in_its_flat_and_not_in_another(home: Run, tmp_path: Path) -> None:
    home.slam.save(tmp_path / "flat")
    start = home.moments[0].truth
    for begin in (150, 420):
        again = Slam.load(tmp_path / "flat", PARAMS)
        found = [(again.update(m.scan, m.odometry), m) for m in home.moments[begin : begin + 60]]
        assert found[0][0].status == LOST
        tracked = [(estimate, moment) for estimate, moment in found if estimate.status == TRACKING]
        assert len(tracked) > 20
        for estimate, moment in tracked:
            assert np.linalg.norm((se2.compose(start, estimate.pose) - moment.truth)[:2]) < 0.04
    stranger = Slam.load(tmp_path / "flat", PARAMS)
    for moment in list(drive(flat(31), 4))[200:300]:
        estimate = stranger.update(moment.scan, moment.odometry)
        assert estimate.status == LOST and not estimate.map_odom.any()


def test_a_kidnapped_robot_notices_keeps_its_map_and_finds_itself(home: Run) -> None:
    moments = home.moments
    slam = Slam(PARAMS)
    for moment in moments[:500]:
        slam.update(moment.scan, moment.odometry)
    keyframes, last = len(slam.keyframes), moments[499]
    seen = []
    for i, moment in enumerate(moments[200:280]):  # carried there; odometry feels nothing
        odometry = se2.compose(last.odometry, se2.between(moments[200].odometry, moment.odometry))
        scan = replace(moment.scan, stamp_ns=last.scan.stamp_ns + (i + 1) * NS // 10)
        seen.append((slam.update(scan, odometry), moment))
    assert seen[0][0].status == COASTING and any(estimate.status == LOST for estimate, _ in seen)
    estimate, moment = seen[-1]
    assert estimate.status == TRACKING and len(slam.keyframes) <= keyframes + 1
    assert np.linalg.norm((se2.compose(moments[0].truth, estimate.pose) - moment.truth)[:2]) < 0.05


def test_regression_a_covered_lidar_loses_the_robot_and_nothing_of_the_map(home: Run) -> None:
    """By REP 117 it says that all is free; slam_node died of it, and of the first scan after that."""
    slam, moments = Slam(PARAMS), home.moments
    covered = [replace(m.scan, ranges_m=np.full_like(m.scan.ranges_m, np.inf)) for m in moments]
    with pytest.raises(ScanError, match="a first scan that met nothing"):
        slam.update(covered[0], moments[0].odometry)
    for moment in moments[:200]:
        slam.update(moment.scan, moment.odometry)
    before = slam.grid().cells.copy()
    for i in range(200, 280):
        status = slam.update(covered[i], moments[i].odometry).status
    assert status == LOST and np.array_equal(slam.grid().cells, before)
    for i in range(280, 340):
        estimate = slam.update(moments[i].scan, moments[i].odometry)
    assert estimate.status == TRACKING
    assert np.linalg.norm((se2.compose(moments[0].truth, estimate.pose) - moments[339].truth)[:2]) < 0.05


def test_loops_make_the_map_better() -> None:
    """Matched with one keyframe at a time, the map drifts on its way round; at the end it is judged as a whole."""
    moments = list(drive(ring(5), 6, Drive(rays=180, range_max_m=5.0)))
    drifting = replace(PARAMS, submap_keyframes=1, keyframe_distance_m=0.2)
    closed = Run.of(moments, drifting)
    open_ended = Run.of(moments, replace(drifting, loop_radius_m=1e-6, loop_overlap=1.0))
    assert closed.count("loop") > 10 * open_ended.count("loop")
    assert closed.final_m < 0.7 * open_ended.final_m


def test_a_corridor_needs_the_prior() -> None:
    moments = list(drive(corridor(20.0), 8, Drive(range_max_m=6.0)))
    with_prior = Run.of(moments)
    without = Run.of(moments, replace(PARAMS, degenerate_share=1e-9, odometry_share=100.0))
    assert with_prior.ate_m < 0.1 and without.ate_m > 3 * with_prior.ate_m
    assert max(estimate.weak for estimate in with_prior.estimates) > 0.5


def test_refused_input_changes_nothing() -> None:
    moments = [moment for moment, _ in zip(drive(flat(7), 3), range(4), strict=False)]
    slam = Slam(PARAMS)
    for moment in moments[:3]:
        slam.update(moment.scan, moment.odometry)
    before = slam.reference[1]
    with pytest.raises(ScanError, match=r"got a scan of .* expected stamps that grow"):
        slam.update(moments[1].scan, moments[1].odometry)
    with pytest.raises(ScanError, match="a finite x, y, yaw"):
        slam.update(moments[3].scan, np.array([0.0, np.nan, 0.0]))
    for bad in (np.eye(2), -np.eye(3), np.triu(np.ones((3, 3))), np.full((3, 3), np.nan)):
        with pytest.raises(ScanError, match="an odometry covariance"):
            slam.update(moments[3].scan, moments[3].odometry, bad)
    np.testing.assert_array_equal(slam.reference[1], before)
    assert slam.update(moments[3].scan, moments[3].odometry, 1e-4 * np.eye(3)).status == TRACKING


def test_a_map_without_a_scan_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="at least one scan"):
        Slam(PARAMS).save(tmp_path / "flat")
    assert not list(tmp_path.iterdir())


def test_warming_up_needs_nothing() -> None:
    warm_up(PARAMS)


@pytest.mark.parametrize(
    "change", [{"keyframe_distance_m": 0.0}, {"loop_overlap": 1.5}, {"resolution_m": float("nan")}]
)
def test_parameters_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(PARAMS, **change)


def test_every_parameter_is_explained() -> None:
    schema = load_yaml(Path(slam_module.__file__).parents[2] / "parameters" / "slam_node.yaml")
    names = {field.name for field in fields(PARAMS)}
    assert names <= set(schema), "the others are the node's own"
    for name in names:
        low, high = schema[name]["bounds"]
        assert low <= getattr(PARAMS, name) <= high
