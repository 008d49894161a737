"""Transforms and their inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla_core import rotations
from vla_core.contract import load_contract
from vla_policy.core.processors import action_transform, state_features

CONTRACT = load_contract("tabletop_panda")
number = st.floats(-1.0, 1.0, allow_nan=False, width=32)


@st.composite
def quaternions(draw: st.DrawFn, count: int) -> np.ndarray:
    raw = draw(arrays(np.float64, (count, 4), elements=number))
    raw[np.linalg.norm(raw, axis=-1) < 0.1] = [0.0, 0.0, 0.0, 1.0]
    return raw / np.linalg.norm(raw, axis=-1, keepdims=True)


@given(quaternions(3))
def test_product_of_quaternions_is_the_product_of_their_matrices(q: np.ndarray) -> None:
    a, b, c = q
    product = rotations.to_matrix(rotations.multiply(a, b))
    np.testing.assert_allclose(product, rotations.to_matrix(a) @ rotations.to_matrix(b), atol=1e-12)
    one = rotations.multiply(rotations.multiply(a, b), c)
    np.testing.assert_allclose(one, rotations.multiply(a, rotations.multiply(b, c)), atol=1e-12)
    np.testing.assert_allclose(rotations.multiply(a, rotations.conjugate(a)), [0, 0, 0, 1], atol=1e-12)


@given(quaternions(2))
def test_exponential_inverts_logarithm(q: np.ndarray) -> None:
    vector = rotations.to_rotvec(q)
    assert np.linalg.norm(vector, axis=-1).max() <= np.pi + 1e-9
    back = rotations.to_matrix(rotations.from_rotvec(vector))
    np.testing.assert_allclose(back, rotations.to_matrix(q), atol=1e-9)


def test_rotation_vector_of_a_quarter_turn() -> None:
    np.testing.assert_allclose(rotations.to_rotvec(np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)])), [0, 0, np.pi / 2])
    np.testing.assert_allclose(rotations.to_rotvec(np.array([1e-12, 0, 0, 1.0])), [2e-12, 0, 0], atol=1e-15)


@given(quaternions(5), arrays(np.float64, (5, 3), elements=number), arrays(np.float64, 4, elements=st.floats(0.0, 1.0)))
def test_relative_actions_come_back(q: np.ndarray, position: np.ndarray, gripper: np.ndarray) -> None:
    transform = action_transform(CONTRACT)
    state = np.zeros(len(CONTRACT.state_names), np.float32)
    state[transform.tool] = [*position[0], *q[0]]
    actions = np.concatenate([position[1:], q[1:], gripper[:, None]], -1)
    back = transform.inverse(transform.forward(actions, state), state)
    np.testing.assert_allclose(back[:, :3], actions[:, :3], atol=1e-6)
    np.testing.assert_allclose(back[:, 7], actions[:, 7], atol=1e-6)
    np.testing.assert_allclose(rotations.to_matrix(back[:, 3:7]), rotations.to_matrix(q[1:]), atol=1e-5)


def test_staying_put_is_zero_and_the_gripper_is_clipped() -> None:
    transform = action_transform(CONTRACT)
    state = np.zeros(len(CONTRACT.state_names), np.float32)
    state[transform.tool] = [0.4, 0.1, 0.3, 1, 0, 0, 0]
    here = np.array([[0.4, 0.1, 0.3, 1, 0, 0, 0, 0.5]])
    np.testing.assert_allclose(transform.forward(here, state), np.zeros((1, 7)), atol=1e-6)
    wild = np.array([[0, 0, 0, 0, 0, 0, 9.0]])
    assert transform.inverse(wild, state)[0, 7] == 1.0


def test_state_features_hold_position_and_rotation_first() -> None:
    features = state_features(CONTRACT)
    state = np.arange(len(CONTRACT.state_names), dtype=np.float32)
    state[features.tool] = [0.4, 0.1, 0.3, 0, 0, 0, 1]
    out = features.forward(state)
    assert out.shape == (features.width,)
    np.testing.assert_allclose(out[:9], [0.4, 0.1, 0.3, 1, 0, 0, 0, 1, 0], atol=1e-7)
    np.testing.assert_allclose(out[9:], state[:8])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_both_signs_of_a_quaternion_give_the_same_features(sign: float) -> None:
    features = state_features(CONTRACT)
    state = np.zeros(len(CONTRACT.state_names), np.float32)
    state[features.tool] = [0, 0, 0, *(sign * np.array([0.5, 0.5, 0.5, 0.5]))]
    np.testing.assert_allclose(features.forward(state)[3:9], [0, 1, 0, 0, 0, 1], atol=1e-6)


@given(
    arrays(np.float32, (4, 6), elements=st.floats(0.0, 1.0, width=32)),
    arrays(np.float32, 5, elements=st.floats(-2.0, 2.0, width=32)),
)
def test_relative_joint_positions_come_back(actions: np.ndarray, joints: np.ndarray) -> None:
    contract = load_contract("fetch_so101")
    transform, state = action_transform(contract), np.zeros(len(contract.state_names), np.float32)
    state[contract.state_slice("joint_position")] = joints
    inside = transform.forward(actions, state)
    assert inside.shape == (4, transform.width) and np.abs(inside[:, -1]).max() <= 1.0
    np.testing.assert_allclose(inside[:, :-1], actions[:, :-1] - joints, atol=1e-6)
    np.testing.assert_allclose(transform.inverse(inside, state), actions, atol=1e-6)
