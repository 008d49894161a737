"""A chunk by a few of its steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError
from vla_policy.core.blocks.knots import Knots

HORIZON = 20
some_steps = st.sets(st.integers(0, HORIZON - 1), min_size=1, max_size=6).map(lambda steps: tuple(sorted(steps)))
seeds = st.integers(0, 2**32 - 1)


def values(seed: int, knots: Knots) -> torch.Tensor:
    return torch.randn(3, len(knots.steps), 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(some_steps, seeds)
def test_a_decoded_chunk_goes_through_its_knots(steps: tuple[int, ...], seed: int) -> None:
    knots = Knots(steps, HORIZON)
    wanted = values(seed, knots)
    torch.testing.assert_close(knots.encode(knots.decode(wanted)), wanted)


@given(some_steps, seeds)
def test_it_moves_at_constant_speed_from_the_present_pose_and_holds_the_last_knot(
    steps: tuple[int, ...], seed: int
) -> None:
    knots = Knots(steps, HORIZON)
    chunk = knots.decode(values(seed, knots))
    path = torch.cat([torch.zeros(3, 1, 6, dtype=chunk.dtype), chunk[..., :6]], 1)
    bends = path.diff(dim=1).diff(dim=1).abs().amax((0, 2)) > 1e-9
    assert {i for i, bend in enumerate(bends.tolist()) if bend} <= set(steps)
    assert torch.equal(chunk[:, steps[-1] :], chunk[:, steps[-1] :][:, :1].expand(-1, HORIZON - steps[-1], -1))


@given(some_steps, seeds)
def test_the_gripper_takes_the_next_knot_s_value_without_a_value_between(steps: tuple[int, ...], seed: int) -> None:
    knots = Knots(steps, HORIZON)
    wanted = values(seed, knots)
    chunk = knots.decode(wanted)
    for step in range(HORIZON):
        place = next((k for k, at in enumerate(steps) if at >= step), len(steps) - 1)
        assert torch.equal(chunk[:, step, -1], wanted[:, place, -1])


def test_one_knot_of_a_line_gives_the_line_back() -> None:
    line = torch.arange(1, 10, dtype=torch.float32)[None, :, None] * torch.tensor([0.1, -0.2, 0.3])
    knots = Knots((8,), 9)
    torch.testing.assert_close(knots.decode(knots.encode(line))[..., :2], line[..., :2])


def test_labels_of_steps_are_picked_too() -> None:
    assert Knots((1, 3), 4).encode(torch.tensor([[True, False, True, True]])).tolist() == [[False, True]]


@pytest.mark.parametrize("steps", [(), (-1, 2), (3, 3), (4, 2), (8, 20)])
def test_steps_must_rise_within_the_chunk(steps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"rising steps among 0\.\.19"):
        Knots(steps, HORIZON)
