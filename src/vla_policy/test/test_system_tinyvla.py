"""TinyVLA: a backbone that was trained before stays as it is, bit for bit, and still learns to act through LoRA."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from vla_policy.core.preset import load_preset
from vla_policy.core.systems.catalogue import make_system
from vla_policy.core.systems.tinyvla import TinyVla, TinyVlaConfig
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 1, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {"film": True}, "decoder": DECODER, "vocabulary": 64}
CONFIG = TinyVlaConfig(
    backbone=BACKBONE,
    lora={"rank": 4, "alpha": 16.0, "targets": ("query", "key", "value")},
    unet={"widths": (16, 32), "kernel": 3, "groups": 4, "step_width": 16},
    diffusion={"schedule": "cosine", "steps": 100, "prediction": "sample", "clip": 3.0},
    samples=4,
    steps=10,
)


def make() -> TinyVla:
    torch.manual_seed(0)
    system = fitted(TinyVla(CONFIG, SIZES))
    assert isinstance(system, TinyVla)
    return system


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    """A backbone that has seen the toy world before, in another robot's service."""
    other = make()
    other.backbone.requires_grad_(True)
    learn(other, 110)
    return copy.deepcopy(other.backbone.state_dict())


@pytest.fixture(scope="module")
def trained(known: dict[str, Tensor]) -> TinyVla:
    system = make()
    system.backbone.load_state_dict(known)
    learn(system, 70)
    return system.eval()


def test_it_learns_to_reach_what_is_named(known: dict[str, Tensor], trained: TinyVla) -> None:
    untrained = make()
    untrained.backbone.load_state_dict(known)
    assert miss_cm(trained) < 0.5 * miss_cm(untrained)


def test_frozen_weights_are_bit_identical_after_training(known: dict[str, Tensor], trained: TinyVla) -> None:
    now = trained.backbone.state_dict()
    assert now.keys() == known.keys() and all(torch.equal(part, known[name]) for name, part in now.items())
    assert all(bool(adapter.b.any()) for adapter in trained.lora.adapters.values())  # and LoRA did learn


@torch.no_grad()
def test_what_lora_learnt_is_used(trained: TinyVla) -> None:
    """The bare backbone under the trained head misses: the head alone didn't learn the task."""
    bare = copy.deepcopy(trained)
    for adapter in bare.lora.adapters.values():
        adapter.b.zero_()  # type: ignore[operator, union-attr]
    assert miss_cm(bare) > 1.3 * miss_cm(trained)


@torch.no_grad()
def test_merged_for_inference_the_chunk_is_the_same(trained: TinyVla) -> None:
    sight, noise = toy_batch(2)[0], torch.randn(2, SIZES.horizon, SIZES.action_width)
    expected = trained.draw(sight, noise).chunk
    merged = copy.deepcopy(trained)
    merged.lora.merge()
    torch.testing.assert_close(merged.draw(sight, noise).chunk, expected, atol=1e-3, rtol=1e-3)


def test_about_a_twentieth_of_the_shipped_backbone_learns() -> None:
    """5 % in the paper, section III."""
    system = make_system(load_preset("tinyvla"), SIZES)
    assert isinstance(system, TinyVla)
    assert 0.03 < system.lora.share(system.backbone) < 0.06
    frozen = {id(p) for p in system.backbone.parameters()}
    assert frozen.isdisjoint(id(p) for p in system.stages()["system"])
    learning = sum(p.numel() for p in system.stages()["system"])
    assert learning + sum(p.numel() for p in system.backbone.parameters()) == sum(
        p.numel() for p in system.parameters()
    )


@torch.no_grad()
def test_the_backbone_reads_once_and_padding_is_not_pooled(trained: TinyVla) -> None:
    reads: list[int] = []
    handle = trained.backbone.decoder.register_forward_hook(lambda *_: reads.append(1))
    sight, noise = toy_batch(2)[0], torch.randn(2, SIZES.horizon, SIZES.action_width)
    drawn = trained.draw(sight, noise)
    assert drawn.passes == 10 and len(reads) == 1
    handle.remove()
    longer = sight._replace(
        text=torch.cat([sight.text, 9.0 * torch.ones(2, 2, SIZES.text)], 1),
        text_mask=torch.cat([sight.text_mask, torch.zeros(2, 2, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(trained.draw(longer, noise).chunk, drawn.chunk, atol=1e-4, rtol=1e-4)
