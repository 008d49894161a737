"""Knots, splines, joins and stops keep their promises: continuity and limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.blend import ACCELERATION_SHARE, VELOCITY_SHARE, Blender
from vla_control.core.knots import JERK_SHARE, Knots, extremes
from vla_control.core.robot import RobotModel
from vla_control.core.spline import ChunkSpline
from vla_core.errors import ChunkError

SEEDS = st.integers(0, 2**31)


def test_interpolation_is_c2_and_its_derivatives_are_derivatives() -> None:
    rng = np.random.default_rng(0)
    knots = Knots()
    q, qd, qdd = rng.normal(size=(3, 8, 7))
    knots.store(q, qd, qdd, np.zeros((8, 1)), np.zeros((8, 1)), 5_000_000, 0.1)
    out = np.zeros((3, 7))
    for k in range(8):
        knots.sample(5_000_000 + k * 100_000_000, *out)
        np.testing.assert_allclose(out, [q[k], qd[k], qdd[k]], atol=1e-9)
    step_s = 1e-5
    for after_ns in (17_000_000, 133_000_000, 481_000_000, 655_000_000):  # inside intervals
        behind, here, ahead = (_at(knots, 5_000_000 + after_ns + d) for d in (-10_000, 0, 10_000))
        np.testing.assert_allclose((ahead[:2] - behind[:2]) / (2 * step_s), here[1:], rtol=1e-5, atol=1e-4)


def _at(knots: Knots, stamp_ns: int) -> np.ndarray:
    out = np.zeros((3, 7))
    knots.sample(stamp_ns, *out)
    return out


def test_before_and_after_the_knots_the_target_rests() -> None:
    knots = Knots()
    q = np.arange(14.0).reshape(2, 7)
    widths_m, forces_n = np.array([[[0.01, 0.05], [0.08, 0.02]], [[10.0, 40.0], [5.0, 20.0]]])
    knots.store(q, np.ones((2, 7)), np.ones((2, 7)), widths_m, forces_n, 1_000_000_000, 0.01)
    before, after = _at(knots, 0), _at(knots, 2_000_000_000)
    np.testing.assert_array_equal(before, [q[0], np.zeros(7), np.zeros(7)])
    np.testing.assert_array_equal(after, [q[1], np.zeros(7), np.zeros(7)])
    np.testing.assert_array_equal(knots.width_at(0)[:2], [0.01, 0.05])
    np.testing.assert_array_equal(knots.width_at(2_000_000_000)[:2], [0.08, 0.02])
    np.testing.assert_array_equal(knots.force_at(2_000_000_000)[:2], [5.0, 20.0])


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_bounded_jerk_stays_bounded_between_knots(seed: int) -> None:
    """Any jerk below JERK_SHARE of the limit, switching anywhere, is interpolated below the limit."""
    rng = np.random.default_rng(seed)
    step, per_knot, count = 1e-4, 100, 12
    jerk = np.zeros(per_knot * count)
    switch = np.sort(rng.integers(0, len(jerk), rng.integers(1, 60)))
    for start in switch:
        jerk[start:] = JERK_SHARE * rng.choice([-1.0, 1.0])
    a = np.concatenate([[0.0], np.cumsum(jerk) * step])
    v = np.concatenate([[0.0], np.cumsum(a[:-1] * step + 0.5 * jerk * step**2)])
    p = np.concatenate([[0.0], np.cumsum(v[:-1] * step + 0.5 * a[:-1] * step**2 + jerk * step**3 / 6)])
    q, qd, qdd = (np.ascontiguousarray(x[::per_knot, None]) for x in (p, v, a))
    assert extremes(step * per_knot, len(q), q, qd, qdd, 1, 21)[4, 0] <= 1.0 + 1e-6


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_join_starts_and_meets_with_all_derivatives_and_within_limits(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = robot.config
    middle = 0.5 * (config.position_min_rad + config.position_max_rad)
    amplitude = 0.2 * rng.uniform(-1, 1, 7)
    omega = 2.0

    def target(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s, c = np.sin(omega * t), np.cos(omega * t)
        return middle + amplitude * s, amplitude * omega * c, -amplitude * omega**2 * s

    start = (middle + rng.uniform(-0.3, 0.3, 7), rng.uniform(-0.5, 0.5, 7), rng.uniform(-2, 2, 7))
    segment, late_s = Blender(config).join(start, target, 0.1, 0.5)
    met = target(segment.duration_s - late_s)
    assert late_s >= 0.0 and (late_s == 0.0 or segment.duration_s - late_s >= 0.5 - 1e-9)
    times = np.linspace(0.0, segment.duration_s, 400)
    motion = segment.sample(times)
    for values, first, last in zip(motion, start, met, strict=True):
        np.testing.assert_allclose(values[0], first, atol=1e-9)
        np.testing.assert_allclose(values[-1], last, atol=1e-6)
    assert np.all(np.abs(motion[1]) <= VELOCITY_SHARE * config.velocity_rad_s + 1e-6)
    assert np.all(np.abs(motion[2]) <= ACCELERATION_SHARE * config.acceleration_rad_s2 + 1e-6)
    jerk = np.diff(motion[2], axis=0) / np.diff(times)[:, None]
    assert np.all(np.abs(jerk) <= JERK_SHARE * config.jerk_rad_s3 + 1e-3)


def test_regression_join_meets_a_target_at_the_edge_of_our_share_of_the_limits(robot: RobotModel) -> None:
    """Rounding put the target a hair beyond the share that joins may use; Ruckig's exception ended the servo loop."""
    config = robot.config
    home, rest = config.home_rad, np.zeros(7)
    edge = config.acceleration_rad_s2 * ACCELERATION_SHARE * (1.0 + 1e-12)
    segment, _ = Blender(config).join((home, rest, rest), lambda t: (home + 0.05, rest, -edge), 0.05, 1.0)
    np.testing.assert_allclose(segment.sample(np.array([segment.duration_s]))[2][0], -edge, atol=1e-6)


def test_join_to_a_target_beyond_the_limits_is_refused_in_words(robot: RobotModel) -> None:
    config = robot.config
    home, rest = config.home_rad, np.zeros(7)
    beyond = 1.01 * config.acceleration_rad_s2
    with pytest.raises(ChunkError, match=r"can.t be planned .*acceleration"):
        Blender(config).join((home, rest, rest), lambda t: (home, rest, beyond), 0.05, 1.0)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_brake_ends_at_rest(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = (rng.normal(size=7), rng.uniform(-1, 1, 7), rng.uniform(-3, 3, 7))
    segment = Blender(robot.config).brake(start)
    _, v, a = segment.sample(np.array([segment.duration_s]))
    np.testing.assert_allclose(v, 0.0, atol=1e-9)
    np.testing.assert_allclose(a, 0.0, atol=1e-9)


def test_spline_follows_smooth_motion_and_calms_noise() -> None:
    times = 0.05 * np.arange(20)
    smooth = 0.3 * np.sin(2.0 * times)[:, None] * np.ones(7)
    low, high = -np.ones(7), np.ones(7)
    clean = ChunkSpline(smooth, 0.05, low, high, 2.0, 3.0).motion(times)
    np.testing.assert_allclose(clean[0], smooth, atol=1e-3)
    np.testing.assert_allclose(clean[1][2:-2, 0], 0.6 * np.cos(2.0 * times[2:-2]), atol=0.02)
    noise = np.random.default_rng(0).normal(0, 0.002, (20, 7))
    noisy = ChunkSpline(smooth + noise, 0.05, low, high, 2.0, 3.0).motion(times)
    assert np.abs(noisy[0] - smooth).std() < 0.7 * noise.std()


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, count=st.integers(2, 25))
def test_spline_stays_within_position_limits(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = -np.ones(7), np.ones(7)
    path = rng.choice([-1.0, 1.0], (count, 7))
    spline = ChunkSpline(path, 0.05, low, high, 2.0, 3.0)
    position, _, _ = spline.motion(np.linspace(0, spline.duration_s, 200))
    assert np.all(position >= low - 1e-9) and np.all(position <= high + 1e-9)
