"""CogACT: one token of what was understood conditions a diffusion transformer, guided without a classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core.systems.cogact import CogAct, CogActConfig
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {"film": True}, "decoder": DECODER, "vocabulary": 64}
CONFIG = CogActConfig(
    backbone=BACKBONE,
    dit={"width": 32, "layers": 2, "heads": 4},
    conditioning="in_context",
    diffusion={"schedule": "cosine", "steps": 100, "prediction": "sample", "clip": 5.0},
    dropped=0.1,
    samples=2,
    guidance=1.5,
    steps=10,
)


def make(**changes: Any) -> CogAct:
    torch.manual_seed(0)
    system = fitted(CogAct(replace(CONFIG, **changes), SIZES))
    assert isinstance(system, CogAct)
    for parameter in system.dit.out.parameters():  # zero at first
        torch.nn.init.normal_(parameter, std=0.3)
    return system


def noise(rows: int) -> Tensor:
    return torch.randn(rows, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(1))


def test_it_learns_to_reach_what_is_named() -> None:
    system = fitted(CogAct(CONFIG, SIZES))
    before = miss_cm(system)
    learn(system, 200)
    assert miss_cm(system) < 0.5 * before


@torch.no_grad()
def test_guidance_goes_on_from_the_blind_prediction_through_the_given_one() -> None:
    """eps(u) + s (eps(f) - eps(u)): s = 0 is blind, s = 1 is the feature alone, s = 1.5 goes half as far again."""
    sight, _ = toy_batch(3)
    actions, time = noise(3), torch.tensor([5, 50, 95])
    blind, given, more = (make(guidance=s).eval().guided(sight)(actions, time) for s in (0.0, 1.0, 1.5))
    system = make().eval()
    torch.testing.assert_close(given, system.dit(actions, time, system.feature(sight)))
    torch.testing.assert_close(blind, system.dit(actions, time, system.unconditioned.expand(3, -1)))
    torch.testing.assert_close(more, blind + 1.5 * (given - blind))
    assert not torch.allclose(given, blind, atol=1e-2)


@torch.no_grad()
def test_the_chunk_depends_on_the_observation_by_the_cognition_feature_alone() -> None:
    system, (sight, _), (other, _) = make().eval(), toy_batch(2), toy_batch(2, 8)
    chunk = system.draw(sight, noise(2)).chunk
    assert not torch.allclose(system.draw(other, noise(2)).chunk, chunk, atol=1e-2)
    feature = system.feature(sight)
    system.feature = lambda _: feature  # type: ignore[method-assign]
    assert torch.equal(system.draw(other, noise(2)).chunk, chunk)


def test_the_cognition_token_stands_behind_all_that_is_seen_and_read() -> None:
    system, (sight, _) = make(), toy_batch(1)
    leaves = {name: getattr(sight, name).clone().requires_grad_(True) for name in ("pooled", "xyz", "text", "state")}
    system.feature(sight._replace(**leaves)).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, leaf in leaves.items():
        assert leaf.grad is not None and bool(
            (leaf.grad.flatten(2 if leaf.dim() > 2 else 1).abs().sum(-1) > 0).all()
        ), name


def test_rows_that_drop_the_feature_teach_the_blind_prediction() -> None:
    sight, labels = toy_batch(8)
    for dropped, learns in ((1.0, "unconditioned"), (0.0, "backbone")):
        system = make(dropped=dropped, guidance=1.0)
        system.losses(sight, labels)["denoising"].backward()  # type: ignore[no-untyped-call]
        with_gradient = {
            name.partition(".")[0] for name, p in system.named_parameters() if p.grad is not None and bool(p.grad.any())
        }
        assert {"unconditioned", "backbone"} & with_gradient == {learns}


@torch.no_grad()
def test_the_backbone_reads_once_and_both_predictions_are_one_pass() -> None:
    system, reads, passes = make().eval(), [], []
    system.backbone.see.register_forward_hook(lambda *_: reads.append(1))
    system.dit.register_forward_hook(lambda *_: passes.append(1))
    assert system.draw(toy_batch(2)[0], noise(2)).passes == 10
    assert (len(reads), len(passes)) == (1, 10)


@torch.no_grad()
def test_both_conditionings_begin_at_zero_and_use_the_feature_and_the_time() -> None:
    sight, _ = toy_batch(2)
    actions, time = noise(2), torch.tensor([5, 50])
    for conditioning in ("in_context", "adaln_zero"):
        fresh = CogAct(replace(CONFIG, conditioning=conditioning), SIZES)
        assert not bool(fresh.guided(sight)(actions, time).any())
        system = make(conditioning=conditioning, guidance=1.0)
        for name, parameter in system.dit.named_parameters():
            if "modulation" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        first = system.guided(sight)(actions, time)
        assert not torch.allclose(system.guided(toy_batch(2, 8)[0])(actions, time), first, atol=1e-3)
        assert not torch.allclose(system.guided(sight)(actions, time.flip(0)), first, atol=1e-3)


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="above 0 unless guidance is 1"):
        make(dropped=0.0)
    with pytest.raises(UnknownNameError, match="adaln_zero, in_context"):
        make(conditioning="film")
