"""Strategies by the laws that their papers state, and laws that hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vla_control.core import parameters
from vla_control.core.chunk_buffer import ChunkBuffer, Steps, step_times_ns
from vla_control.core.strategies.registry import STRATEGIES, make_strategy
from vla_control.core.strategies.strategy import StrategyParameters
from vla_core import strategies
from vla_core.actions import ActionAlgebra
from vla_core.errors import UnknownNameError
from vla_core.files import load_yaml
from vla_core.types import NS, ActionChunk, Float64

NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
DT_NS, STEPS = 50_000_000, 20
PARAMS = StrategyParameters(
    execution_horizon=8, window=8, fade=4, ensemble_decay=0.1, ensemble_similarity=2.0, ensemble_chunks=3
)


def chunk(stamp_ns: int, values: Float64) -> ActionChunk:
    """x follows `values` (T,); the tool points down and the gripper is open."""
    actions = np.zeros((len(values), len(NAMES)), np.float32)
    actions[:, 0], actions[:, 3], actions[:, 7] = values, 1.0, 1.0
    return ActionChunk(stamp_ns, 1, "test", "0" * 16, "tool_pose", NAMES, DT_NS / NS, actions)


def line(stamp_ns: int, speed_m_s: float = 0.2) -> ActionChunk:
    """x = speed * time: chunks of any stamp agree."""
    return chunk(stamp_ns, speed_m_s * (stamp_ns + DT_NS * np.arange(STEPS)) / NS)


def filled(*chunks: ActionChunk) -> ChunkBuffer:
    buffer = ChunkBuffer(ActionAlgebra(NAMES))
    for one in chunks:
        buffer.add(one)
    return buffer


def x_of(name: str, buffer: ChunkBuffer, branch_ns: int) -> tuple[Float64, int]:
    steps = make_strategy(name, PARAMS).steps(buffer, branch_ns)
    return steps.actions[:, 0], steps.origin_ns


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"synchronous"}))
@given(offsets=st.lists(st.integers(1, 9), min_size=0, max_size=5), odd_ns=st.integers(0, DT_NS - 1))
@settings(max_examples=25, deadline=None)
def test_chunks_that_agree_are_executed_as_they_are(name: str, offsets: list[int], odd_ns: int) -> None:
    """Whatever the combination, it is a combination: nothing is moved in time."""
    stamps = np.cumsum([0, *(o * DT_NS + odd_ns for o in offsets)])
    buffer = filled(*(line(int(s)) for s in stamps))
    buffer.executed = buffer.led = make_strategy(name, PARAMS).steps(buffer, int(stamps[-1]))
    x, origin_ns = x_of(name, buffer, int(stamps[-1]) + 3 * DT_NS)
    times = origin_ns + DT_NS * np.arange(len(x))
    assert np.allclose(x, 0.2 * times / NS, atol=1e-6)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(values=arrays.arrays(np.float64, (3, STEPS), elements=st.floats(-1.0, 1.0)))
@settings(max_examples=25, deadline=None)
def test_nothing_leaves_the_hull_of_what_was_said(name: str, values: Float64) -> None:
    buffer = filled(*(chunk(4 * i * DT_NS, row) for i, row in enumerate(values)))
    buffer.executed = buffer.led = make_strategy(name, PARAMS).steps(filled(chunk(0, values[0])), 0)
    steps = make_strategy(name, PARAMS).steps(buffer, 11 * DT_NS)
    assert np.all(np.isfinite(steps.actions))
    assert values.min() - 1e-6 <= steps.actions[:, 0].min() and steps.actions[:, 0].max() <= values.max() + 1e-6
    assert np.allclose(np.linalg.norm(steps.actions[:, 3:7], axis=1), 1.0, atol=1e-6)


def test_what_comes_later_than_told_fades_in_from_what_runs() -> None:
    """RTC: at the take-over the motion that is under way, four steps later the chunk alone, in between a line."""
    buffer = filled(chunk(0, np.zeros(STEPS)), chunk(4 * DT_NS, np.ones(STEPS)))
    buffer.led = Steps(np.tile(buffer.newest.actions.astype(np.float64) * [0, 1, 1, 1, 1, 1, 1, 1], (2, 1)), 0)
    for branch_ns in (10 * DT_NS, round(9.3 * DT_NS)):  # between two steps: both are the motion that is under way
        x, origin_ns = x_of("rtc_prefix", buffer, branch_ns)
        assert origin_ns == 4 * DT_NS
        assert np.allclose(x[6:11], [0.0, 0.25, 0.5, 0.75, 1.0]) and np.all(x[11:] == 1.0)
        assert make_strategy("rtc_prefix", PARAMS).steps(buffer, branch_ns).running == 7


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_first_chunk_is_executed_alone(name: str) -> None:
    x, _ = x_of(name, filled(chunk(0, np.linspace(0.0, 1.0, STEPS))), 3 * DT_NS)
    assert np.allclose(x, np.linspace(0.0, 1.0, STEPS)[: len(x)], atol=1e-6)


def test_newest_takes_over_at_once() -> None:
    x, origin_ns = x_of("naive_async", filled(chunk(0, np.zeros(STEPS)), chunk(4 * DT_NS, np.ones(STEPS))), 8 * DT_NS)
    assert origin_ns == 4 * DT_NS and np.all(x == 1.0)


def test_synchronous_begins_on_arrival_and_ends_at_its_horizon() -> None:
    x, origin_ns = x_of("synchronous", filled(chunk(0, np.arange(STEPS) / 10.0)), 7 * DT_NS)
    assert origin_ns == 7 * DT_NS and np.allclose(x, np.arange(9) / 10.0)
    assert make_strategy("synchronous", PARAMS).waits


def test_long_short_keeps_its_window_after_the_branch() -> None:
    x, origin_ns = x_of("long_short", filled(chunk(0, np.arange(STEPS) / 10.0)), 5 * DT_NS)
    assert origin_ns == 0 and len(x) == 5 + 8 + 1


def test_temporal_ensemble_weights_by_rank_from_the_oldest() -> None:
    """ACT: w_i = exp(-m i); chunks at steps 0, 4, 8 all know step 8, the last two step 20, only the newest step 25."""
    rows = [chunk(0, np.full(STEPS, 1.0)), chunk(4 * DT_NS, np.full(STEPS, 2.0)), chunk(8 * DT_NS, np.full(STEPS, 4.0))]
    x, _ = x_of("temporal_ensemble", filled(*rows), 10 * DT_NS)
    w = np.exp(-0.1 * np.arange(3))
    assert np.isclose(x[0], (w * [1.0, 2.0, 4.0]).sum() / w.sum())
    assert np.isclose(x[12], (w[:2] * [2.0, 4.0]).sum() / w[:2].sum())
    assert np.isclose(x[17], 4.0)


def test_adaptive_ensemble_weights_by_the_cosine_of_the_displacements() -> None:
    """CogACT: exp(alpha cos); a chunk that moves the other way has cosine -1, the newest has 1."""
    there, back = 0.01 * np.arange(STEPS), -0.01 * np.arange(STEPS)
    x, _ = x_of("adaptive_ensemble", filled(chunk(0, back), chunk(0, there)), 0)
    share = np.exp(2.0) / (np.exp(2.0) + np.exp(-2.0))
    assert np.allclose(x, share * there + (1 - share) * back, atol=1e-6)


@given(alpha=st.floats(2.0, 10.0), speed=st.floats(0.05, 0.5))
def test_adaptive_ensemble_ignores_a_prediction_of_the_other_mode(alpha: float, speed: float) -> None:
    """The old chunk passes left, the newest right: it goes right, where a temporal ensemble runs into the middle."""
    left, right = (side * speed * DT_NS / NS * np.arange(STEPS) for side in (-1.0, 1.0))
    buffer = filled(chunk(0, left), chunk(0, right))
    kept = make_strategy("adaptive_ensemble", replace(PARAMS, ensemble_similarity=alpha)).steps(buffer, 0).actions[:, 0]
    assert np.all(np.abs(kept - right) <= 0.04 * np.abs(right) + 1e-9)
    assert np.abs(x_of("temporal_ensemble", buffer, 0)[0]).max() < 0.1 * right.max()


def test_adaptive_ensemble_counts_only_its_newest_chunks() -> None:
    rows = [chunk(0, np.full(STEPS, 100.0)), *(chunk(0, np.full(STEPS, 1.0)) for _ in range(3))]
    assert np.allclose(x_of("adaptive_ensemble", filled(*rows), 0)[0], 1.0)


def test_weighted_overlap_fades_from_the_steps_in_execution() -> None:
    buffer = filled(chunk(0, np.zeros(STEPS)))
    buffer.executed = make_strategy("weighted_overlap", PARAMS).steps(buffer, 0)
    buffer.add(chunk(4 * DT_NS, np.ones(STEPS)))
    x, _ = x_of("weighted_overlap", buffer, 8 * DT_NS)
    assert np.allclose(x[:5], 0.0) and np.allclose(x[15:], 1.0), "old up to the branch, new after the old one's end"
    assert np.allclose(np.diff(x[4:16]), 1.0 / 11.0), "linear in between"


def test_mean_of_quaternions_of_both_signs_is_the_rotation() -> None:
    """q and -q are one rotation; their plain mean is zero."""
    algebra = ActionAlgebra(NAMES)
    one = np.zeros((1, 8))
    one[0, 3:7] = [0.6, 0.0, 0.0, 0.8]
    other = one * np.array([1, 1, 1, -1, -1, -1, -1, 1])
    mean = algebra.mean(np.stack([one, other]), np.array([[0.6], [0.4]]))
    assert np.allclose(mean, one)


def test_gripper_holds_its_last_value_between_steps() -> None:
    actions = np.zeros((3, 8))
    actions[:, 3] = 1.0
    actions[:, 0], actions[:, 7] = [0.0, 1.0, 2.0], [1.0, 0.0, 0.0]
    at = ActionAlgebra(NAMES).at(actions, np.array([0.5, 1.0, 1.7]))
    assert np.allclose(at[:, 0], [0.5, 1.0, 1.7]) and np.allclose(at[:, 7], [1.0, 0.0, 0.0])


def test_buffer_tells_how_far_its_chunks_reach() -> None:
    buffer = filled(line(0), line(4 * DT_NS))
    said, known = buffer.predictions(np.array([-1, 2, 19, 20, 24]) * DT_NS)
    assert known.tolist() == [[False, True, True, False, False], [False, False, True, True, False]]
    assert np.allclose(said[known][:, 0], 0.2 * np.array([2, 19, 19, 20]) * DT_NS / NS)
    buffer.drop_newest()
    assert len(buffer) == 1 and buffer.newest.stamp_ns == 0
    assert step_times_ns(replace(buffer.newest, stamp_ns=7))[1] == 7 + DT_NS


def test_unknown_strategy_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"strategy 'magic'.*temporal_ensemble"):
        make_strategy("magic", PARAMS)


def test_everybody_means_the_same_by_their_names() -> None:
    """A strategy under another name in one place would silently draw freely."""
    schema = load_yaml(Path(parameters.__file__).parents[1] / "parameters" / "executor_node.yaml")
    assert tuple(STRATEGIES) == strategies.ALL == tuple(schema["strategy"]["one_of"])
