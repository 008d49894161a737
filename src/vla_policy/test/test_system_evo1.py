"""Evo-1: every block attends to the backbone's middle and to nothing else; the first stage spares the backbone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core import flow
from vla_policy.core.systems.evo1 import Evo1, Evo1Config
from vla_policy.core.systems.small_vlm import SmallVlmSystem, SmallVlmSystemConfig
from vla_policy.core.weights import Metadata, save_weights
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
WHOLE: dict[str, Any] = {"block": "small_vlm", "tokens": {"film": True}, "decoder": DECODER, "vocabulary": 64}
BACKBONE = WHOLE | {"first_layers": 1}
EXPERT = {"width": 32, "layers": 2, "heads": 4, "hidden": 64, "joined": 64}


def make(**backbone: Any) -> Evo1:
    torch.manual_seed(0)
    config = Evo1Config(BACKBONE | backbone, EXPERT, samples=6, prefix_steps=4, steps=5)
    system = fitted(Evo1(config, SIZES))
    assert isinstance(system, Evo1)
    return system


@pytest.fixture(scope="module")
def course() -> tuple[float, dict[str, Tensor], dict[str, Tensor], Evo1]:
    """Both stages: the miss before them, the backbone before and after the first one, and the trained system."""
    system = make()
    miss, before = miss_cm(system), copy.deepcopy(system.backbone.state_dict())
    learn(system, 20, stage="expert")
    between = copy.deepcopy(system.backbone.state_dict())
    learn(system, 180, stage="all")
    return miss, before, between, system.eval()


def test_it_learns_to_reach_what_is_named(course: tuple[float, dict[str, Tensor], dict[str, Tensor], Evo1]) -> None:
    miss, _, _, system = course
    assert miss_cm(system) < 0.5 * miss


def test_the_backbone_is_bit_identical_after_the_first_stage_and_learns_in_the_second(
    course: tuple[float, dict[str, Tensor], dict[str, Tensor], Evo1],
) -> None:
    _, before, between, system = course
    assert all(torch.equal(part, before[name]) for name, part in between.items())
    after = system.backbone.state_dict()
    assert not torch.equal(after["decoder.layers.0.query.weight"], before["decoder.layers.0.query.weight"])


def test_no_gradient_is_computed_for_a_frozen_backbone() -> None:
    system = make()
    sight, labels = toy_batch(4)
    for stage, expected in (("expert", False), ("all", True)):
        system.enter(stage)
        system.losses(sight, labels)["flow"].backward()  # type: ignore[no-untyped-call]
        assert (system.backbone.see.state[0].weight.grad is not None) == expected


@torch.no_grad()
def test_steps_meet_in_the_head_and_nowhere_before() -> None:
    system = make().eval()
    known = system.expert.integrate(*system.backbone.read(toy_batch(1)[0])[:2], toy_batch(1)[0].state)
    streams: list[Tensor] = []
    system.expert.blocks[-1].register_forward_hook(lambda _, __, out: streams.append(out))
    actions, time = torch.randn(1, SIZES.horizon, SIZES.action_width), torch.full((1, SIZES.horizon), 0.4)
    other = actions.clone()
    other[:, 2] += 1.0
    first, second = system.expert(actions, time, known), system.expert(other, time, known)
    moved = (streams[0] - streams[1]).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [step == 2 for step in range(SIZES.horizon)]
    assert bool(((first - second).abs().amax(-1) > 1e-6).all())


@torch.no_grad()
def test_every_block_attends_to_the_backbone_and_the_state() -> None:
    """Integration module: the state stands, as one token, behind the backbone's; masked words are not seen."""
    system = make().eval()
    sight = toy_batch(2)[0]
    read = system.backbone.read(sight)
    known = system.expert.integrate(read.hidden, read.valid, sight.state)
    moved = system.expert.integrate(read.hidden, read.valid, sight.state + 1.0)
    for one, other in zip(known.keys_values, moved.keys_values, strict=True):
        assert one.shape[3] == read.hidden.shape[1] + 1
        assert torch.equal(one[:, :, :, :-1], other[:, :, :, :-1])
        assert not torch.allclose(one[:, :, :, -1], other[:, :, :, -1])
    actions, time = torch.randn(2, SIZES.horizon, SIZES.action_width), torch.zeros(2, SIZES.horizon)
    said = system.expert(actions, time, known)
    blind = read.valid.clone()
    blind[:, -3:] = False
    wild = read.hidden.clone()
    wild[:, -3:] += 5.0
    without = system.expert(actions, time, system.expert.integrate(read.hidden, blind, sight.state))
    assert torch.equal(system.expert(actions, time, system.expert.integrate(wild, blind, sight.state)), without)
    assert not torch.allclose(without, said, atol=1e-4)


@torch.no_grad()
def test_the_backbone_is_cut_behind_its_middle_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of the whole one load; what is attended to is what its first layer makes of the sight."""
    torch.manual_seed(3)
    whole = fitted(SmallVlmSystem(SmallVlmSystemConfig(WHOLE), SIZES))
    file = tmp_path / "share" / "toy" / "whole.safetensors"
    notes = {"system": whole.notes()} | whole.notes()
    save_weights(file, whole, Metadata("system", "toy", "", {}, {}, {}, notes), half=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    system = make(start="toy/whole.safetensors").eval()
    assert len(system.backbone.decoder.layers) == 1 and system.backbone.decoder_config.layers == 1
    sight, states = toy_batch(2)[0], []
    assert isinstance(whole, SmallVlmSystem)
    whole.backbone.decoder.layers[0].register_forward_hook(lambda _, __, out: states.append(out[0]))
    whole.backbone.read(sight)
    torch.testing.assert_close(system.backbone.read(sight).hidden, whole.backbone.decoder.norm(states[0]))
    with pytest.raises(ConfigError, match="the first 3 of 2 layers"):
        make(first_layers=3)


@torch.no_grad()
def test_one_reading_serves_all_steps_and_given_steps_are_kept() -> None:
    system, reads = make().eval(), []
    system.backbone.decoder.register_forward_hook(lambda *_: reads.append(1))
    sight, labels = toy_batch(2)
    noise = torch.randn(2, SIZES.horizon, SIZES.action_width)
    assert system.draw(sight, noise).passes == 5 and len(reads) == 1
    given = system.normalised(labels.chunk)[:, :3]
    continued = flow.integrate(system.field(sight).fast, noise, 5, given)
    assert torch.equal(continued[:, :3], given)
    several = system.field(sight).fast(noise.repeat(2, 1, 1), torch.zeros(4, SIZES.horizon))
    torch.testing.assert_close(several[2:], system.field(sight).fast(noise, torch.zeros(2, SIZES.horizon)))


def test_flow_times_are_those_of_beta_2_2() -> None:
    torch.manual_seed(0)
    time = flow.sample_middle_time(20_000)
    assert float(time.min()) == pytest.approx(0.02) and float(time.max()) == pytest.approx(0.98)
    assert float(time.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(time.var()) == pytest.approx(1 / 20, abs=0.002)
