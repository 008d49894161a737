"""Laws of poses in the plane."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vla_core import se2
from vla_core.types import Float64

COORDINATE = st.floats(-50.0, 50.0)
POSE = st.tuples(COORDINATE, COORDINATE, st.floats(-3.0, 3.0)).map(np.array)
TWIST = st.tuples(st.floats(-5.0, 5.0), st.floats(-5.0, 5.0), st.floats(-3.0, 3.0)).map(np.array)
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [-2.0, 3.0]])


def assert_same(a: Float64, b: Float64) -> None:
    np.testing.assert_allclose(a[..., :2], b[..., :2], atol=1e-8)
    np.testing.assert_allclose(se2.wrap(a[..., 2] - b[..., 2]), 0.0, atol=1e-9)


@given(POSE, POSE, POSE)
def test_poses_are_a_group(a: Float64, b: Float64, c: Float64) -> None:
    assert_same(se2.compose(se2.compose(a, b), c), se2.compose(a, se2.compose(b, c)))
    assert_same(se2.compose(a, se2.inverse(a)), np.zeros(3))
    assert_same(se2.compose(a, se2.between(a, b)), b)


@given(POSE, POSE)
def test_points_go_through_both_poses(a: Float64, b: Float64) -> None:
    np.testing.assert_allclose(
        se2.transform(se2.compose(a, b), POINTS), se2.transform(a, se2.transform(b, POINTS)), atol=1e-8
    )


@given(TWIST)
def test_logarithm_undoes_the_exponential(twist: Float64) -> None:
    np.testing.assert_allclose(se2.log(se2.exp(twist)), twist, atol=1e-7)


@given(TWIST)
def test_the_exponential_goes_on_with_the_twist_that_it_begins_with(twist: Float64) -> None:
    half = se2.exp(0.5 * twist)
    assert_same(se2.compose(half, half), se2.exp(twist))
    np.testing.assert_allclose(se2.exp(1e-7 * twist) / 1e-7, twist, atol=1e-5)


@given(POSE, TWIST)
def test_the_adjoint_carries_a_twist_to_the_other_side(pose: Float64, twist: Float64) -> None:
    small = 1e-3 * twist
    assert_same(se2.compose(pose, se2.exp(small)), se2.compose(se2.exp(se2.adjoint(pose) @ small), pose))


def test_batches_are_as_one_by_one() -> None:
    poses = np.array([[1.0, 2.0, 0.3], [-1.0, 0.5, -2.0]])
    assert_same(
        se2.compose(poses, poses[::-1]), np.stack([se2.compose(poses[0], poses[1]), se2.compose(poses[1], poses[0])])
    )
    assert_same(se2.exp(poses), np.stack([se2.exp(pose) for pose in poses]))
