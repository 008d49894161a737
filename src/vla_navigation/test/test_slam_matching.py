"""Scans without distortion, lines of walls, and fits into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core import se2
from vla_core.errors import ScanError
from vla_core.types import NS, Float64
from vla_navigation.core.slam.matcher import match, residual
from vla_navigation.core.slam.scan import LaserScan, Sweep, sweep
from vla_navigation.core.slam.submap import Submap
from vla_navigation.core.worlds.walls import cast

ROOM = np.array(
    [(0, 0, 5, 0), (5, 0, 5, 4), (5, 4, 0, 4), (0, 4, 0, 0), (2, 4, 2, 3), (2, 3, 3, 3), (3, 3, 3, 4)], float
)
HALL = np.array([(-30, 0, 30, 0), (-30, 2, 30, 2)], float)
TURN = np.linspace(-np.pi, np.pi, 360, endpoint=False)
WIDE = np.diag([0.3, 0.3, 0.2]) ** 2
SHARE = 0.003
SMALL = st.floats(-0.12, 0.12)
NUMBER = st.floats(-5.0, 5.0)


def seen_from(pose: Float64, walls: Float64, rng: np.random.Generator, reach_m: float = 12.0) -> Sweep:
    ranges = cast(walls, np.repeat(pose[None, :2], len(TURN), 0), pose[2] + TURN) + rng.normal(0, 0.01, len(TURN))
    ranges[ranges > reach_m] = np.inf
    return sweep(LaserScan(NS, TURN, ranges.astype(np.float32), 0.05, reach_m, np.zeros(3)), np.zeros(3))


def submap_of(poses: list[Float64], walls: Float64, rng: np.random.Generator) -> Submap:
    sweeps = [seen_from(pose, walls, rng) for pose in poses]
    points = np.concatenate([se2.transform(pose, seen.points) for pose, seen in zip(poses, sweeps, strict=True)])
    views = np.concatenate([np.repeat(pose[None, :2], len(s.points), 0) for pose, s in zip(poses, sweeps, strict=True)])
    towards = views - points
    return Submap.of(points, towards / np.linalg.norm(towards, axis=1, keepdims=True))


@given(
    st.tuples(NUMBER, NUMBER, st.floats(-3, 3)), st.tuples(NUMBER, NUMBER), st.tuples(NUMBER, NUMBER), st.floats(0, 6)
)
def test_the_residuals_derivative_is_right(
    pose: tuple[float, ...], point: tuple[float, ...], anchor: tuple[float, ...], along: float
) -> None:
    normal, jacobian, step = np.array([np.cos(along), np.sin(along)]), np.empty(3), 1e-6
    fixed = np.array(point), np.array(anchor), normal
    residual(np.array(pose), *fixed, jacobian)
    found, unused = jacobian.copy(), np.empty(3)
    for i in range(3):
        moved = np.zeros(3)
        moved[i] = step
        ahead, back = (residual(np.array(pose) + way * moved, *fixed, unused) for way in (1, -1))
        assert abs((ahead - back) / (2 * step) - found[i]) < 1e-6


@given(SMALL, SMALL, SMALL)
def test_a_fit_finds_the_pose_again(dx: float, dy: float, turn: float) -> None:
    rng = np.random.default_rng(0)
    submap = submap_of([np.array([1.2, 1.5, 0.0]), np.array([1.5, 1.6, 1.0])], ROOM, rng)
    truth = np.array([1.35, 1.55, 0.4])
    found = match(submap, seen_from(truth, ROOM, rng), truth + [dx, dy, turn], WIDE, SHARE)
    off = se2.between(truth, found.pose)
    assert np.abs(off[:2]).max() < 0.01 and abs(off[2]) < 0.005
    assert found.overlap > 0.9 and found.residual_m < 0.02 and found.weak == 0.0
    assert np.all(np.linalg.eigvalsh(found.covariance) > 0.0)


def test_along_a_bare_corridor_the_fit_follows_the_prior_and_says_so() -> None:
    rng = np.random.default_rng(1)
    submap = submap_of([np.array([0.0, 1.0, 0.0]), np.array([0.4, 1.0, 0.0])], HALL, rng)
    prior, wide = np.array([0.75, 1.05, 0.03]), np.diag([0.05, 0.05, 0.05]) ** 2
    found = match(submap, seen_from(np.array([0.6, 1.0, 0.0]), HALL, rng), prior, wide, SHARE)
    assert abs(found.pose[0] - prior[0]) < 0.005 and abs(found.pose[1] - 1.0) < 0.01 and abs(found.pose[2]) < 0.01
    assert found.weak > 0.9 and found.covariance[0, 0] > 0.9 * wide[0, 0] > 100 * found.covariance[1, 1]


def test_the_two_faces_of_a_thin_wall_stay_apart() -> None:
    """Regression: a wall of 10 cm, known from its other side, pulled the robot through by some centimetres."""
    walls = np.concatenate([ROOM, [(2.4, 0, 2.4, 4), (2.5, 0, 2.5, 4)]])
    rng = np.random.default_rng(2)
    submap = submap_of([np.array([1.0, 1.5, 0.0]), np.array([4.0, 1.5, 0.0])], walls, rng)
    truth = np.array([4.0, 1.6, 0.1])
    found = match(submap, seen_from(truth, walls, rng), truth + [-0.08, 0.0, 0.0], WIDE, SHARE)
    assert np.abs(se2.between(truth, found.pose)).max() < 0.01


def test_a_scan_of_another_place_overlaps_little() -> None:
    rng = np.random.default_rng(3)
    submap = submap_of([np.array([1.2, 1.5, 0.0])], ROOM, rng)
    assert (
        match(submap, seen_from(np.array([0.0, 1.0, 0.3]), HALL, rng), np.array([1.2, 1.5, 0.0]), WIDE, SHARE).overlap
        < 0.5
    )


def test_the_motion_during_a_scan_is_taken_out() -> None:
    twist, step_s = np.array([0.8, 0.0, 1.5]), 0.1 / 360
    before_s = (np.arange(360) - 359) * step_s
    mount = np.array([0.1, 0.05, 0.2])
    end = np.array([1.3, 1.4, 0.5])
    sensors = se2.compose(se2.compose(end, se2.exp(before_s[:, None] * twist)), mount)
    ranges = cast(ROOM, np.ascontiguousarray(sensors[:, :2]), sensors[:, 2] + TURN)
    scan = LaserScan(NS, TURN, ranges.astype(np.float32), 0.05, 12.0, mount, step_s)

    def off_walls(with_twist: Float64) -> float:
        points = se2.transform(end, sweep(scan, with_twist).points)
        a, b = ROOM[:, None, :2], ROOM[:, None, 2:]
        part = np.clip(((points - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1), 0, 1)
        return float(np.linalg.norm(points - a - part[..., None] * (b - a), axis=-1).min(axis=0).max())

    assert off_walls(twist) < 1e-4 and off_walls(np.zeros(3)) > 0.05


def test_rays_keep_what_they_mean() -> None:
    """REP 117: +inf is nothing within reach, NaN and what is too near is no measurement."""
    ranges = np.array([1.0, np.inf, 20.0, np.inf, np.nan, 0.01, -np.inf], np.float32)
    seen = sweep(LaserScan(NS, np.zeros(7), ranges, 0.05, 12.0, np.zeros(3)), np.zeros(3))
    assert seen.hit.tolist() == [True, False, False, False] and seen.ends[:, 0].tolist() == [1.0, 12.0, 12.0, 12.0]


def test_lost_rays_draw_no_free_floor_through_walls() -> None:
    """Regression: drivers tell a lost ray as +inf, and each drew a lane of twelve metres out of the flat."""
    ranges = np.full(20, 2.0, np.float32)
    ranges[[3, 7, 8]] = np.inf  # lost
    ranges[12:16] = np.inf  # a door into a hall
    seen = sweep(LaserScan(NS, np.linspace(0.0, 1.0, 20), ranges, 0.05, 12.0, np.zeros(3)), np.zeros(3))
    assert len(seen.ends) == 17 and (~seen.hit).sum() == 4
    np.testing.assert_allclose(np.linalg.norm(seen.ends[~seen.hit], axis=1), 12.0)
    whole = np.full(20, np.inf, np.float32)
    nothing = sweep(LaserScan(NS, np.linspace(0.0, 1.0, 20), whole, 0.05, 12.0, np.zeros(3)), np.zeros(3))
    assert len(nothing.ends) == 20 and not nothing.hit.any()


GOOD = LaserScan(NS, np.zeros(3), np.ones(3, np.float32), 0.05, 12.0, np.zeros(3))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"ranges_m": np.ones(4, np.float32)}, r"got angles \(3,\), ranges \(4,\)"),
        ({"ranges_m": np.full(3, np.nan, np.float32)}, "no measurement in 3 rays"),
        ({"angles_rad": np.array([0.0, np.nan, 1.0])}, "finite"),
        ({"T_base_sensor": np.array([0.0, np.nan, 1.0])}, "finite"),
        ({"range_max_m": 0.01}, "0 <= min < max"),
        ({"time_increment_s": -0.1}, "0 <= time < 1"),
    ],
)
def test_bad_scans_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ScanError, match=match):
        replace(GOOD, **change)  # type: ignore[arg-type]
