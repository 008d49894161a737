"""Interpolation and means, kind by kind: laws that hold whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vla_core import tool_steps
from vla_core.action_parts import ActionPart
from vla_core.actions import ActionAlgebra
from vla_core.types import Float64

STEP = {"relative_to": "previous_step", "reference": "commanded"}
TOOL = ("dx", "dy", "dz", "rx", "ry", "rz")
STEPS = 8
small = arrays.arrays(np.float64, (STEPS, 6), elements=st.floats(-0.5, 0.5))


def algebra_of(part: ActionPart) -> ActionAlgebra:
    return ActionAlgebra(part.names, (part,))


def tool(relative_to: str = "previous_step", frame: str = "base") -> ActionAlgebra:
    part = ActionPart("tool_delta", tuple(range(6)), TOOL, frame=frame, relative_to=relative_to, reference="commanded")
    return algebra_of(part)


@pytest.mark.parametrize("frame", ["base", "tool"])
@given(steps=small, shift=st.floats(0.0, 0.999))
@settings(max_examples=30, deadline=None)
def test_tool_steps_resampled_under_a_shift_lead_to_the_same_place(frame: str, steps: Float64, shift: float) -> None:
    """What is left of the first step, then all that follows: the way from there to the end is kept exactly."""
    path = tool_steps.accumulated(tool_steps.IDENTITY, steps, frame)
    resampled = tool(frame=frame).at(steps, shift + np.arange(STEPS))
    start = tool_steps.on_path(path, np.array([shift]))[0]
    end = tool_steps.accumulated(start, resampled, frame)[-1]
    np.testing.assert_allclose(tool_steps.between(end, path[-1], frame), 0.0, atol=1e-9)


@pytest.mark.parametrize("space", ["joint_delta", "base_twist"])
@given(steps=small, shift=st.floats(0.0, 0.999))
@settings(max_examples=30, deadline=None)
def test_amounts_resampled_under_a_shift_keep_their_sum(space: str, steps: Float64, shift: float) -> None:
    names = ("vx", "vy", "wz") if space == "base_twist" else ("a", "b", "c")
    options = {} if space == "base_twist" else STEP
    part = ActionPart(space, (0, 1, 2), names, **options)
    resampled = algebra_of(part).at(steps[:, :3], shift + np.arange(STEPS))
    np.testing.assert_allclose(resampled.sum(0), steps[:, :3].sum(0) - shift * steps[0, :3], atol=1e-9)


@pytest.mark.parametrize("frame", ["base", "tool"])
@given(steps=small)
@settings(max_examples=20, deadline=None)
def test_at_its_own_steps_a_chunk_is_what_it_is(frame: str, steps: Float64) -> None:
    for relative_to in ("previous_step", "chunk_start"):
        said = tool(relative_to, frame).at(steps, np.arange(STEPS, dtype=np.float64))
        np.testing.assert_allclose(said, steps, atol=1e-9)


@given(angle=st.floats(-3.0, 3.0), share=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_deltas_from_the_start_turn_about_their_axis(angle: float, share: float) -> None:
    """Linear interpolation of rotation vectors would do the same here; means across +-pi would not."""
    steps = np.zeros((2, 6))
    steps[:, 5] = angle, angle + 0.1
    said = tool("chunk_start").at(steps, np.array([share]))[0, 5]
    assert abs(said - (angle + 0.1 * share)) < 1e-4


def test_the_mean_of_two_turns_near_pi_is_near_pi() -> None:
    """Regression guard: the mean of the rotation vectors pi - 0.1 and -(pi - 0.1) is no rotation at all."""
    steps = np.zeros((2, 1, 6))
    steps[:, 0, 5] = np.pi - 0.1, -(np.pi - 0.1)
    mean = tool("chunk_start").mean(steps, np.ones((2, 1)))
    assert abs(np.linalg.norm(mean[0, 3:]) - np.pi) < 1e-6


def test_modes_are_held_and_voted_never_averaged() -> None:
    algebra = algebra_of(ActionPart("mode", (0,), ("mode",)))
    modes = np.array([[0.0], [2.0], [1.0]])
    np.testing.assert_array_equal(algebra.at(modes, np.array([0.9, 1.0, 1.6]))[:, 0], [0.0, 2.0, 2.0])
    said = np.array([[[0.0]], [[2.0]], [[0.0]]])
    assert algebra.mean(said, np.array([[0.3], [0.4], [0.3]]))[0, 0] == 0.0  # two of three, together the heaviest
    assert algebra.motion == []


@given(steps=small, frame=st.sampled_from(["base", "tool"]))
@settings(max_examples=30, deadline=None)
def test_step_between_two_poses_leads_from_one_to_the_other(steps: Float64, frame: str) -> None:
    poses = tool_steps.accumulated(tool_steps.IDENTITY, steps, frame)
    np.testing.assert_allclose(tool_steps.between(poses[:-1], poses[1:], frame), steps, atol=1e-9)
