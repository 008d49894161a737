"""Rows that answer for a later state say what the same label said, from there on."""

from __future__ import annotations

import numpy as np
import pytest

from vla_core import rotations
from vla_core.contract import load_contract
from vla_core.types import NS, Float32, Observation, Running
from vla_policy.core.drawing.future_state import AHEAD, Gripper, features, roll_forward
from vla_policy.core.processors import action_transform, state_features
from vla_policy.training.future_rows import FutureRows

CONTRACT = load_contract("tabletop_panda")
GRIPPER = Gripper(open_m=0.08, opening_m_s=0.20, closing_m_s=0.16)
TRANSFORM, FEATURES = action_transform(CONTRACT), state_features(CONTRACT)
COUNT, HORIZON = 6, CONTRACT.horizon


def demonstration(seed: int = 0) -> tuple[Float32, Float32]:
    """States (B,S) and absolute chunks (B,T,8) that begin at their tools."""
    rng = np.random.default_rng(seed)
    states = rng.normal(0.0, 0.1, (COUNT, len(CONTRACT.state_names))).astype(np.float32)
    turns = rng.normal(0.0, 1.0, (COUNT, 4))
    pose = np.concatenate([rng.normal(0.4, 0.1, (COUNT, 3)), turns / np.linalg.norm(turns, axis=1)[:, None]], 1)
    states[:, CONTRACT.state_slice("tool_pose")] = pose
    states[:, CONTRACT.state_slice("gripper_width")] = 0.06
    path = np.arange(HORIZON)[None, :, None] * rng.normal(0.0, 0.01, (COUNT, 1, 3))
    turned = rotations.multiply(rotations.from_rotvec(3.0 * path), pose[:, None, 3:])
    opening = (rng.random((COUNT, HORIZON, 1)) < 0.5).astype(np.float64)
    chunks = np.concatenate([pose[:, None, :3] + path, turned, opening], -1)
    return states, chunks.astype(np.float32)


def rows(states: Float32, chunks: Float32, offset: np.ndarray) -> dict[str, np.ndarray]:
    batch = {"chunk": TRANSFORM.forward(chunks, states), "state": FEATURES.forward(states)}
    return FutureRows(CONTRACT, GRIPPER, 10).shift(batch, offset)


def test_rows_agree_with_what_the_policy_is_told_and_answers() -> None:
    """Training and execution tell the same story: same features, same chunk from there on."""
    states, chunks = demonstration()
    offset = np.array([0, 1, 3, 5, 8, 10])
    made = rows(states, chunks, offset)
    for k, ahead in enumerate(offset):
        seen = Observation(
            NS, "go", CONTRACT.hash, CONTRACT.view_names, np.ones(2, bool), np.zeros(CONTRACT.rgb_shape, np.uint8),
            CONTRACT.state_names, states[k],
        )  # fmt: skip
        future = roll_forward(
            Running("vlash", NS, CONTRACT.dt_s, chunks[k], int(ahead), HORIZON), seen, CONTRACT, 10, GRIPPER
        )
        assert (future is None) == (ahead == 0)
        np.testing.assert_allclose(made["ahead"][k], features(future, seen, CONTRACT, TRANSFORM), atol=2e-5)
        answer = TRANSFORM.inverse(made["chunk"][k], states[k] if future is None else future.state)
        whole = answer if future is None else future.complete(answer)
        np.testing.assert_allclose(whole[:, :3], chunks[k][:, :3], atol=1e-5)
        np.testing.assert_array_equal(whole[:, 7], chunks[k][:, 7])
        assert np.abs((whole[:, 3:7] * chunks[k][:, 3:7]).sum(1)).min() > 1.0 - 1e-5
        assert made["known"][k].sum() == HORIZON - ahead


def test_half_of_the_rows_are_of_the_present() -> None:
    states, chunks = demonstration()
    batch = {"chunk": TRANSFORM.forward(chunks, states), "state": FEATURES.forward(states)}
    many = {name: np.repeat(array, 100, 0) for name, array in batch.items()}
    drawn = FutureRows(CONTRACT, GRIPPER, 10).draw(many, np.random.default_rng(0))
    now = ~drawn["ahead"].any(1)
    assert 0.4 < now.mean() < 0.6 and np.array_equal(drawn["chunk"][now], many["chunk"][now])
    assert drawn["ahead"].shape == (len(now), AHEAD) and drawn["known"][now].all()
    assert set(np.round(drawn["ahead"][~now, -1] * HORIZON).astype(int)) == set(range(1, 11))


@pytest.mark.parametrize("key", ["joint_position", "gripper_width"])
def test_a_state_column_is_found_among_the_features(key: str) -> None:
    states, _ = demonstration()
    column = CONTRACT.state_slice(key).start
    np.testing.assert_array_equal(FEATURES.forward(states)[:, FEATURES.place(column)], states[:, column])
