"""Diffusion transformer: the identity at first, modulated by its condition, steps that see each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vla_policy.core.blocks.dit import Dit, DitBlock, DitConfig
from vla_policy.training.toy_world import SIZES

CONFIG = DitConfig(width=16, layers=2, heads=4, hidden=32)


def stirred(module: nn.Module) -> nn.Module:
    """With no zero left in its weights."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Noisy actions, times, conditions of 3 rows."""
    rng = torch.Generator().manual_seed(2)
    shape = (3, SIZES.horizon, SIZES.action_width)
    return torch.randn(shape, generator=rng), torch.rand(3, generator=rng), torch.randn(3, 5, generator=rng)


@torch.no_grad()
def test_a_block_is_the_identity_at_first_under_any_condition() -> None:
    block = DitBlock(CONFIG, crossed=True)
    x, context = torch.randn(2, 6, 16), torch.randn(2, 3, 16)
    assert block.attend_cross is not None
    keys_values = block.attend_cross.keys_values(context)
    mask = torch.ones(2, 1, 1, 3, dtype=torch.bool)
    assert torch.equal(block(x, 9.0 * torch.randn(2, 16), keys_values, mask), x)
    stirred(block)
    assert not torch.allclose(block(x, torch.randn(2, 16), keys_values, mask), x, atol=0.1)


@torch.no_grad()
def test_nothing_is_said_at_first() -> None:
    assert not Dit(CONFIG, SIZES, condition=5)(*batch()).any()


@torch.no_grad()
def test_condition_and_time_modulate_every_step() -> None:
    dit, (actions, time, condition) = stirred(Dit(CONFIG, SIZES, condition=5)), batch()
    said = dit(actions, time, condition)
    for other in (dit(actions, time, condition + 0.5), dit(actions, (time + 0.3) % 1.0, condition)):
        assert bool(((other - said).abs().amax(-1) > 1e-3).all())


@torch.no_grad()
def test_one_time_for_a_chunk_is_the_same_time_for_every_step() -> None:
    dit, (actions, time, condition) = stirred(Dit(CONFIG, SIZES, condition=5)), batch()
    each = time[:, None].expand(-1, SIZES.horizon)
    torch.testing.assert_close(dit(actions, each, condition), dit(actions, time, condition))
    late = each.clone()
    late[:, 0] = 1.0
    assert not torch.allclose(dit(actions, late, condition), dit(actions, time, condition), atol=1e-3)


@pytest.mark.parametrize("changed", [0, SIZES.horizon - 1])
@torch.no_grad()
def test_every_step_sees_every_other_in_both_directions(changed: int) -> None:
    dit, (actions, time, condition) = stirred(Dit(CONFIG, SIZES, condition=5)), batch()
    other = actions.clone()
    other[:, changed] += 1.0
    difference = (dit(other, time, condition) - dit(actions, time, condition)).abs().amax(-1)
    assert bool((difference > 1e-4).all())


@torch.no_grad()
def test_masked_context_has_no_influence_and_the_other_has() -> None:
    dit, (actions, time, condition) = stirred(Dit(CONFIG, SIZES, condition=5, context=7)), batch()
    tokens, valid = torch.randn(3, 4, 7), torch.tensor([True, True, True, False]).expand(3, -1)
    said = dit(actions, time, condition, dit.read(tokens, valid))
    hidden, seen = tokens.clone(), tokens.clone()
    hidden[:, 3], seen[:, 2] = 50.0, 50.0
    assert torch.equal(dit(actions, time, condition, dit.read(hidden, valid)), said)
    assert not torch.allclose(dit(actions, time, condition, dit.read(seen, valid)), said, atol=1e-3)


@torch.no_grad()
def test_a_context_is_read_once_for_several_samples() -> None:
    dit, (actions, time, condition) = stirred(Dit(CONFIG, SIZES, condition=5, context=7)), batch()
    context = dit.read(torch.randn(3, 4, 7), torch.ones(3, 4, dtype=torch.bool))
    twice = dit(actions.repeat(2, 1, 1), time.repeat(2), condition.repeat(2, 1), context.repeated(2))
    torch.testing.assert_close(twice[3:], dit(actions, time, condition, context))
