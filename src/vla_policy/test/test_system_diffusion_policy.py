"""Diffusion Policy: chunks are denoised under the last two observations, and keep to one of two ways."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core.blocks.unet1d import Unet1d, Unet1dConfig
from vla_policy.core.preset import load_preset
from vla_policy.core.systems.catalogue import make_system
from vla_policy.core.systems.diffusion_policy import DiffusionPolicy, DiffusionPolicyConfig
from vla_policy.training.toy_world import SIZES, detours, fitted, learn, miss_cm, toy_batch, two_mode_batch

DECODER = {"width": 32, "layers": 1, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
OBSERVATION: dict[str, Any] = {"tokens": {"text": False, "film": True}, "decoder": DECODER, "features": 32}
UNET: dict[str, Any] = {"widths": (32, 64), "kernel": 5, "groups": 8, "step_width": 32}
DIFFUSION: dict[str, Any] = {"schedule": "cosine", "steps": 100, "prediction": "sample", "clip": 5.0}


def make() -> DiffusionPolicy:
    torch.manual_seed(0)
    config = DiffusionPolicyConfig(OBSERVATION, UNET, DIFFUSION, history=2, samples=1, steps=10)
    system = fitted(DiffusionPolicy(config, SIZES))
    assert isinstance(system, DiffusionPolicy)
    return system


@lru_cache(maxsize=1)
def trained() -> DiffusionPolicy:
    """In the world of two modes."""
    system = make()
    learn(system, 220, rows=64, batch=two_mode_batch)
    return system.eval()


def noise(rows: int) -> Tensor:
    return torch.randn(rows, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(1))


def test_it_learns_to_reach_what_is_named() -> None:
    assert miss_cm(trained()) < 0.5 * miss_cm(make())


def test_samples_land_in_a_mode_and_never_between() -> None:
    off = detours(trained())
    assert float((off.abs() < 0.35).float().mean()) < 0.05
    assert 0.2 < float((off > 0).float().mean()) < 0.8
    assert float((off.abs() - 1).abs().median()) < 0.3


@torch.no_grad()
def test_it_encodes_once_and_denoises_in_few_steps() -> None:
    system, encoded, denoised = make().eval(), [], []
    system.observation.register_forward_hook(lambda *_: encoded.append(1))
    system.unet.register_forward_hook(lambda *_: denoised.append(1))
    assert system.draw(toy_batch(2 * 3, 0, 2)[0], noise(3)).passes == 10
    assert (len(encoded), len(denoised)) == (1, 10)


@torch.no_grad()
def test_both_observations_count_and_windows_do_not_mix() -> None:
    system = make().eval()
    sight, _ = toy_batch(2 * 3, 0, 2)
    chunk = system.draw(sight, noise(3)).chunk
    for row in (2, 3):
        state = sight.state.clone()
        state[row] += 1.0
        other = system.draw(sight._replace(state=state), noise(3)).chunk
        changed = (other - chunk).abs().amax((1, 2)) > 1e-5
        assert changed.tolist() == [False, True, False], f"row {row} belongs to the second window"


@torch.no_grad()
def test_the_condition_scales_and_shifts_channels_and_does_nothing_else() -> None:
    """FiLM: without it neither observation nor diffusion step is left."""
    torch.manual_seed(0)
    unet = Unet1d(Unet1dConfig(**UNET), SIZES, 5)
    actions, time, condition = noise(4), torch.tensor([3, 20, 50, 99]), torch.randn(4, 5)
    first = unet(actions, time, condition)
    assert not torch.allclose(unet(actions, time, condition + 1.0), first, atol=1e-3)
    assert not torch.allclose(unet(actions, time.flip(0), condition), first, atol=1e-3)
    for name, parameter in unet.named_parameters():
        if ".film." in name:
            parameter.zero_()
    first = unet(actions, time, condition)
    assert torch.equal(unet(actions, time.flip(0), condition + 1.0), first)


@torch.no_grad()
def test_the_u_sees_the_whole_chunk_from_every_step() -> None:
    """Its lower level widens what one convolution sees; two levels of kernel 5 reach across 8 steps."""
    torch.manual_seed(0)
    unet = Unet1d(Unet1dConfig(**UNET), SIZES, 5)
    actions, time, condition = noise(1), torch.tensor([50]), torch.zeros(1, 5)
    far = actions.clone()
    far[:, -1] += 1.0
    assert float((unet(far, time, condition) - unet(actions, time, condition))[:, 0].abs().max()) > 1e-6


def test_chunks_that_cannot_be_halved_are_refused() -> None:
    for change in ({"widths": (8, 8, 8, 8, 8)}, {"kernel": 4}, {"groups": 7}, {"widths": ()}):
        with pytest.raises(ConfigError, match="odd kernel"):
            Unet1d(Unet1dConfig(**{**UNET, **change}), SIZES, 5)


def test_the_preset_is_the_published_process() -> None:
    """100 cosine steps in training, 10 to draw, two observations."""
    preset = load_preset("diffusion_policy")
    system = make_system(preset, SIZES)
    assert isinstance(system, DiffusionPolicy) and system.history == 2
    assert (system.diffusion.config.schedule, system.diffusion.config.steps) == ("cosine", 100)
    assert 10 <= system.config.steps <= 16
