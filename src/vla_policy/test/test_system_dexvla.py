"""DexVLA: one head per robot, three stages, and sub-tasks that are said and scale what the expert is told."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from vla_core.errors import UnknownNameError, WeightsError
from vla_policy.core.blocks.plug_in_expert import RobotConfig
from vla_policy.core.systems.dexvla import DexVla, DexVlaConfig
from vla_policy.core.systems.system import Labels
from vla_policy.core.weights import Metadata, save_weights
from vla_policy.training.toy_world import NAMES, SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 1, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
CONFIG = DexVlaConfig(
    robot="one_arm",
    robots={},
    start="",
    backbone={"block": "small_vlm", "tokens": {"film": True}, "decoder": DECODER, "vocabulary": 64},
    frozen=False,
    encoder={"tokens": {"text": False, "film": True}, "decoder": DECODER, "features": 32},
    expert={"width": 32, "layers": 1, "heads": 4, "hidden": 64},
    diffusion={"schedule": "cosine", "steps": 100, "prediction": "sample", "clip": 3.0},
    action_tokens=2,
    samples=4,
    steps=5,
    words=6,
)
NOISE = torch.randn(4, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(1))


def make(**changes: Any) -> DexVla:
    torch.manual_seed(0)
    system = fitted(DexVla(replace(CONFIG, **changes), SIZES))
    assert isinstance(system, DexVla)
    return system


def state_of(system: DexVla) -> dict[str, Tensor]:
    return copy.deepcopy(system.state_dict())


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """First names of what is not the same bit for bit; the expert's parts by their own."""
    names = [name for name, part in before.items() if not torch.equal(part, after[name])]
    return {name.split(".")[1 if name.startswith("expert") else 0] for name in names}


class Course(NamedTuple):
    """The three stages, with the misses and the weights before the first and after each."""

    misses: list[float]
    weights: list[dict[str, Tensor]]
    reads: list[int]
    system: DexVla


@pytest.fixture(scope="module")
def course() -> Course:
    system = make()
    calls: list[int] = []
    system.backbone.decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    misses, weights, reads = [miss_cm(system)], [state_of(system)], []
    for stage, steps, rate in (("expert", 150, 3e-3), ("align", 150, 3e-3), ("adapt", 30, 2e-3)):
        calls.clear()
        learn(system, steps, stage=stage, rate=rate)
        reads.append(len(calls))
        misses.append(miss_cm(system))
        weights.append(state_of(system))
    return Course(misses, weights, reads, system.eval())


def test_the_expert_learns_without_the_vlm_and_the_whole_learns_to_reach_what_is_named(course: Course) -> None:
    assert course.misses[1] < 0.5 * course.misses[0]
    assert course.misses[3] < 0.5 * course.misses[0]
    assert course.reads[0] == 0  # nobody asks the VLM in the first stage


def test_each_stage_teaches_its_part_and_leaves_the_others_bit_identical(course: Course) -> None:
    expert = {"trunk", "step", "heads"}
    bridge = {"action_tokens", "project"}
    first, second, third = (changed(*pair) for pair in zip(course.weights, course.weights[1:], strict=False))
    assert first == {"encoder", *expert}
    assert second == {*bridge, *expert, "backbone"}
    assert third == {*bridge, *expert, "backbone", "reasoning", "film"}


def test_a_frozen_vlm_is_bit_identical_after_alignment() -> None:
    system = make(frozen=True)
    before = state_of(system)
    learn(system, 3, stage="align")
    assert changed(before, system.state_dict()) == {"action_tokens", "project", "trunk", "step", "heads"}
    learn(system, 1, stage="adapt")
    assert "backbone" in changed(before, system.state_dict())


@torch.no_grad()
def test_the_sub_task_is_said_and_published(course: Course) -> None:
    sight, labels = toy_batch(16, 5)
    drawn = course.system.draw(sight, NOISE.repeat(4, 1, 1))
    right = [said == wanted for said, wanted in zip(drawn.text, labels.subtask, strict=True)]
    assert sum(right) > 12
    words = 5  # reach the red cube, and the end
    assert drawn.passes == 5 + words


@torch.no_grad()
def test_what_was_said_reaches_the_expert_by_film_alone() -> None:
    """The identity at first; with a FiLM that has learnt, other words are another chunk."""
    system, sight = make().eval(), toy_batch(4)[0]
    for parameter in system.expert.parameters():  # zero at first
        torch.nn.init.normal_(parameter, std=0.3)
    read = system._read(sight)
    texts = [system.backbone.texts([f"reach the {NAMES[i]}"] * 4) for i in (0, 2)]

    def chunk(said: Tensor | None) -> Tensor:
        return system.diffusion.sample(system._predict(system._condition(sight, read, said)), NOISE, 5)

    silent = chunk(None)
    assert torch.equal(chunk(texts[0]), silent) and torch.equal(chunk(texts[1]), silent)
    torch.nn.init.normal_(system.film.to_both.weight, std=0.3)
    assert not torch.allclose(chunk(texts[0]), chunk(texts[1]), atol=1e-2)


@torch.no_grad()
def test_adding_a_robot_adds_a_head_and_leaves_the_others_bit_identical(course: Course) -> None:
    system, sight = copy.deepcopy(course.system), toy_batch(4)[0]
    before, chunk = state_of(system), system.draw(sight, NOISE).chunk
    system.expert.add("two_arms", RobotConfig(state=9, actions=14))
    assert changed(before, system.state_dict()) == set()
    new = system.state_dict().keys() - before.keys()
    assert new and all(name.startswith("expert.heads.two_arms.") for name in new)
    assert torch.equal(system.draw(sight, NOISE).chunk, chunk)
    system.use("two_arms")
    wide = sight._replace(state=torch.randn(4, 9))
    drawn = system.draw(wide, torch.randn(4, SIZES.horizon, 14))
    assert drawn.chunk.shape == (4, SIZES.horizon, 14) and system.physical(drawn.chunk).shape == drawn.chunk.shape
    system.use("one_arm")
    assert torch.equal(system.physical(system.draw(sight, NOISE).chunk), course.system.physical(chunk))
    with pytest.raises(UnknownNameError, match="robot 'three_arms'; expected one of: one_arm, two_arms"):
        system.use("three_arms")


@pytest.mark.parametrize("stage", ["expert", "align", "adapt"])
def test_training_one_robot_leaves_the_heads_of_others_bit_identical(stage: str) -> None:
    system = make(robots={"two_arms": {"state": 9, "actions": 14}})
    system.use("two_arms")
    before = state_of(system)
    parameters = system.stages()[stage]
    system.enter(stage)
    optimiser = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    for step in range(3):
        sight, labels = toy_batch(8, step)
        sight = sight._replace(state=torch.cat([sight.state, sight.state[:, :3]], 1))
        both = Labels(torch.cat([labels.chunk] * 2, -1), labels.known, labels.subtask)
        torch.stack(list(system.losses(sight, both).values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
    heads = {n: p for n, p in before.items() if not torch.equal(p, system.state_dict()[n]) and ".heads." in n}
    assert heads and all(".two_arms." in name for name in heads)


def test_the_first_stage_learns_from_all_robots() -> None:
    """Batches of both in turn: either loss falls, through one transformer."""
    system = make(robots={"two_arms": {"state": 9, "actions": 14}})
    system.enter("expert")
    optimiser = torch.optim.AdamW(system.stages()["expert"], lr=3e-3)
    losses: dict[str, list[float]] = {"one_arm": [], "two_arms": []}
    for step in range(40):
        sight, labels = toy_batch(16, step)
        labels = replace(labels, chunk=(labels.chunk - labels.chunk.mean(0)) / labels.chunk.std(0).clamp(min=0.1))
        robot = "one_arm" if step % 2 else "two_arms"
        system.use(robot)
        if robot == "two_arms":
            sight = sight._replace(state=torch.cat([sight.state, sight.state[:, :3]], 1))
            labels = replace(labels, chunk=torch.cat([labels.chunk, -labels.chunk], -1))
        loss = system.losses(sight, labels)["denoising"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None for p in system.expert.trunk.parameters())
        optimiser.step()
        losses[robot].append(float(loss.detach()))
    assert all(sum(curve[-4:]) < 0.8 * sum(curve[:4]) for curve in losses.values())


def test_a_robot_is_added_to_weights_of_another(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = course.system
    file = tmp_path / "share" / "toy" / "one_arm.safetensors"
    save_weights(file, system, Metadata("system", "toy", "", {}, {}, {}, {"system": system.notes()}), half=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    robots, start = {"one_arm": {"state": SIZES.state, "actions": SIZES.action_width}}, "toy/one_arm.safetensors"
    other = make(robot="two_arms", robots=robots, start=start)
    before, after = system.state_dict(), other.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert before.keys() - same <= {"action_mean", "action_std"}
    assert all(".two_arms." in name for name in after.keys() - before.keys())
    torch.testing.assert_close(other.expert.head("two_arms").mean, other.action_mean)
    other.use("one_arm")
    sight = toy_batch(4)[0]
    with torch.no_grad():
        again = other.eval().draw(sight, NOISE)
        assert (
            torch.equal(again.chunk, system.draw(sight, NOISE).chunk) and again.text == system.draw(sight, NOISE).text
        )
    with pytest.raises(WeightsError, match="missing"):
        make(robot="two_arms", robots=robots | {"hand": {"state": 6, "actions": 12}}, start=start)


def test_weights_remember_their_stage() -> None:
    """What was trained without the VLM draws without it."""
    system = make()
    system.enter("expert")
    other = make()
    other.restore(system.notes())
    assert other.stage == "expert" and other.draw(toy_batch(4)[0], NOISE).text == ()
    with pytest.raises(UnknownNameError, match="stage 'joint'; expected one of: adapt, align, expert"):
        system.enter("joint")
