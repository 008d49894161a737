"""Octo: readouts read a trunk that they can't disturb, and neither can what is added to it later."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vla_core.errors import ConfigError, UnknownNameError, WeightsError
from vla_policy.core.blocks.attention import EncoderBlock
from vla_policy.core.blocks.blockwise import TASK, BlockwiseConfig, BlockwiseTransformer
from vla_policy.core.systems.octo import Octo, OctoConfig
from vla_policy.core.weights import Metadata, save_weights
from vla_policy.training.toy_world import SIZES, detours, fitted, learn, miss_cm, toy_batch, two_mode_batch

DIFFUSION = {"schedule": "cosine", "steps": 20, "prediction": "sample", "clip": 5.0}
HEAD: dict[str, Any] = {
    "kind": "diffusion", "width": 64, "blocks": 2, "time_width": 16, "diffusion": DIFFUSION, "samples": 4,
}  # fmt: skip
OBSERVATIONS: dict[str, Any] = {
    "objects": {"kind": "objects", "views": [0]},
    "front": {"kind": "scene", "views": [0]},
    "state": {"kind": "state"},
}
WRIST = {"kind": "scene", "views": [1]}
TRUNK = {"width": 32, "layers": 2, "heads": 4}


def make(**changes: Any) -> Octo:
    torch.manual_seed(0)
    sections: dict[str, Any] = {
        "trunk": TRUNK, "history": 2, "observations": OBSERVATIONS, "heads": {"action": HEAD}, "readouts": 1,
        "head": "action", "sampling": {"steps": 20, "eta": 1.0},
    }  # fmt: skip
    system = fitted(Octo(OctoConfig(**{**sections, **changes}), SIZES))
    assert isinstance(system, Octo)
    return system


def grown(old: Octo) -> Octo:
    """With a wrist camera, and then a head that sees it."""
    observations = {"wrist": WRIST, **OBSERVATIONS}
    heads = {"fine": {"kind": "l1"}, "action": HEAD}
    system = make(observations=observations, heads=heads, added=("wrist", "fine"))
    system.begin(old.state_dict(), "old")
    return system


@lru_cache(maxsize=1)
def trained() -> Octo:
    """In the world of two modes."""
    system = make()
    learn(system, 350, batch=two_mode_batch)
    return system.eval()


def noise(rows: int) -> Tensor:
    return torch.randn(rows, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(1))


def test_it_learns_to_reach_what_is_named() -> None:
    assert miss_cm(trained()) < 0.5 * miss_cm(make())


def test_samples_land_in_a_mode_and_never_between() -> None:
    off = detours(trained())
    assert float((off.abs() < 0.35).float().mean()) < 0.1
    assert 0.2 < float((off > 0).float().mean()) < 0.8
    assert float((off.abs() - 1).abs().median()) < 0.3


@torch.no_grad()
def test_an_added_camera_leaves_old_outputs_unchanged_bit_for_bit() -> None:
    old = trained()
    new, (sight, _) = grown(old).eval(), toy_batch(2 * 5, 3, 2)
    assert torch.equal(new.draw(sight, noise(5)).chunk, old.draw(sight, noise(5)).chunk)
    assert torch.equal(new.embedding("action", new.observe(sight)), old.embedding("action", old.observe(sight)))


@torch.no_grad()
def test_the_added_head_sees_the_added_camera() -> None:
    system, (sight, _) = grown(trained()).eval(), toy_batch(2 * 5, 3, 2)
    generic = sight.generic.clone()
    generic[:, 1] += 1.0
    moved = sight._replace(generic=generic)
    for head, changes in (("fine", True), ("action", False)):
        first, second = (system.draw_by(head, s, noise(5)).chunk for s in (sight, moved))
        assert (not torch.equal(first, second)) == changes, head


def test_added_parts_learn_while_the_trunk_stays_as_it_was() -> None:
    system = grown(trained())
    before = {name: value.clone() for name, value in system.state_dict().items()}
    history = learn(system, 30, rows=16, stage="added")
    changed = {name for name, value in system.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in system.named_parameters() if "wrist" in name or "fine" in name}
    assert sum(history[-5:]) < 0.9 * sum(history[:5])


def test_training_of_added_parts_starts_from_the_old_weight_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normalisation too: the old head's numbers mean what they meant."""
    old = make()
    old.action_mean += 1.0
    save_weights(tmp_path / "old.safetensors", old, Metadata("system", "octo", "", {}, {}, {}), half=False)
    monkeypatch.setattr("vla_policy.core.systems.octo.asset_path", lambda relative: tmp_path / relative)
    observations = {**OBSERVATIONS, "wrist": WRIST}
    new = make(observations=observations, added=("wrist",), start="old.safetensors").state_dict()
    assert all(torch.equal(new[name], value) for name, value in old.state_dict().items())


@torch.no_grad()
def test_heads_do_not_know_of_each_other() -> None:
    """A readout is seen by nobody: with one head more, the first one says the same."""
    one = make().eval()
    two = make(heads={"value": {"kind": "l1"}, "action": HEAD}, added=("value",))
    two.begin(one.state_dict(), "one")
    sight, _ = toy_batch(2 * 3, 0, 2)
    assert torch.equal(two.draw(sight, noise(3)).chunk, one.draw(sight, noise(3)).chunk)
    two.readouts["value"].add_(1.0)
    assert torch.equal(two.draw(sight, noise(3)).chunk, one.draw(sight, noise(3)).chunk)


@torch.no_grad()
def test_rings_are_one_sequence_under_a_block_wise_mask() -> None:
    """Task, two observations at two times, a readout at each: the same states by one pass over all of them."""
    torch.manual_seed(0)
    trunk = BlockwiseTransformer(BlockwiseConfig(24, 2, 3)).eval()
    moments = [torch.tensor(row) for row in ([TASK] * 3, [0, 0, 1, 1], [0, 1])]
    tokens = [torch.randn(2, len(moment), 24) for moment in moments]
    valid = [torch.ones(2, len(moment), dtype=torch.bool) for moment in moments]
    valid[0][1, 2] = False
    rings = []
    for part in zip(tokens, moments, valid, strict=True):
        rings.append(trunk(*part, rings))
    moment, ring = torch.cat(moments), torch.tensor([0] * 3 + [1] * 4 + [2] * 2)
    mask = (moment[:, None] >= moment) & (ring[:, None] >= ring) & torch.cat(valid, 1)[:, None]
    x = torch.cat(tokens, 1)
    for block in trunk.blocks:
        assert isinstance(block, EncoderBlock)
        x = block(x, mask[:, None])
    torch.testing.assert_close(torch.cat([ring.hidden for ring in rings], 1), trunk.norm(x))


@torch.no_grad()
def test_readouts_see_the_past_and_not_the_future() -> None:
    system, (sight, _) = make().eval(), toy_batch(2 * 3, 0, 2)
    first = system.embedding("action", system.observe(sight))
    for late, expected in ((True, [False, True]), (False, [True, True])):
        state = sight.state.clone()
        state[int(late) :: 2] += 1.0
        second = system.embedding("action", system.observe(sight._replace(state=state)))
        changed = (second - first).abs().amax((0, 2)) > 0
        assert changed.tolist() == expected


@torch.no_grad()
def test_the_trunk_runs_once_per_observation_however_many_steps_are_denoised() -> None:
    system, rings = make().eval(), []
    system.trunk.register_forward_hook(lambda *_: rings.append(1))
    assert system.draw(toy_batch(2 * 2, 0, 2)[0], noise(2)).passes == 20
    assert len(rings) == 3, "task, observations, readout"


@torch.no_grad()
def test_the_same_noise_gives_the_same_chunk_though_more_noise_is_drawn_on_the_way() -> None:
    system, (sight, _) = make().eval(), toy_batch(2 * 2, 0, 2)
    first = system.draw(sight, noise(2)).chunk
    torch.manual_seed(99)
    assert torch.equal(system.draw(sight, noise(2)).chunk, first)
    assert not torch.allclose(system.draw(sight, -noise(2)).chunk, first, atol=1e-3)


@torch.no_grad()
def test_patches_of_a_camera_can_be_tokens() -> None:
    system = make(observations={**OBSERVATIONS, "cells": {"kind": "patches", "views": [1]}}).eval()
    sight, _ = toy_batch(2 * 2, 0, 2)
    assert "fine" in system.needs and "fine" not in make().needs and sight.fine is not None
    fine = sight.fine.clone()
    fine[:, 1, :, 7, 0] += 1.0
    first, second = (system.draw(s, noise(2)).chunk for s in (sight, sight._replace(fine=fine)))
    assert not torch.equal(first, second)


def test_weights_of_another_octo_and_impossible_parts_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"places.wrist"):
        make(observations={**OBSERVATIONS, "wrist": WRIST}).begin(make().state_dict(), "old")
    with pytest.raises(UnknownNameError, match="'touch'; expected one of: action, front, objects, state"):
        make(added=("touch",))
    with pytest.raises(UnknownNameError, match="'value'; expected one of: action"):
        make(head="value")
    with pytest.raises(ConfigError, match="one observation that isn't added"):
        make(added=tuple(OBSERVATIONS))
    with pytest.raises(ConfigError, match=r"views among \[0, 1\]"):
        make(observations={"far": {"kind": "scene", "views": [2]}})
    with pytest.raises(UnknownNameError, match="objects, patches, scene, state"):
        make(observations={"ear": {"kind": "sound"}})
    with pytest.raises(UnknownNameError, match="diffusion, l1"):
        make(heads={"action": {"kind": "l2"}})
