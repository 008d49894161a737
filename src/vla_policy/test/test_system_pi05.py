"""pi0.5: the sub-task is said first, published, and what the chunk follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_system_knowledge_insulation import ACTIONS, BACKBONE

from vla_core.errors import ConfigError
from vla_policy.core import flow
from vla_policy.core.systems.pi05 import Pi05, Pi05Config
from vla_policy.core.systems.system import Labels
from vla_policy.core.words import PAD
from vla_policy.training.toy_world import NAMES, SIZES, Batch, fitted, learn, left_or_right, miss_cm, toy_batch


def make(batch: Batch = toy_batch, words: int = 7) -> Pi05:
    torch.manual_seed(0)
    expert = {"width": 32, "hidden": 64}
    config = Pi05Config(BACKBONE, expert, ACTIONS, samples=4, prefix_steps=4, steps=5, words=words)
    system = fitted(Pi05(config, SIZES), batch)
    assert isinstance(system, Pi05)
    return system


@pytest.fixture(scope="module")
def taught() -> Pi05:
    system = make(left_or_right)
    learn(system, 130, rate=5e-3, batch=left_or_right)
    return system.eval()


def noise_of(rows: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    return torch.randn(rows, SIZES.horizon, SIZES.action_width, generator=rng)


def test_it_learns_to_reach_what_is_named(taught: Pi05) -> None:
    assert miss_cm(taught, batch=left_or_right) < 0.4 * miss_cm(make(left_or_right), batch=left_or_right)


@torch.no_grad()
def test_the_subtask_is_said_and_published(taught: Pi05) -> None:
    sight, labels = left_or_right(24, 3)
    assert taught.draw(sight, noise_of(24)).text == labels.subtask == taught.field(sight).text


@torch.no_grad()
def test_the_chunk_follows_what_was_said(taught: Pi05, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same observation and noise: the same words lead to the same chunk, other words to another."""
    sight, labels = left_or_right(24, 3)
    own = taught.draw(sight, noise_of(24)).chunk
    for said in (labels.subtask, tuple(f"reach the {NAMES[0]}" for _ in labels.subtask)):
        tokens = taught.backbone.texts(said)[:, 1:]
        monkeypatch.setattr(taught.backbone, "say", lambda *_, tokens=tokens: (tokens, tokens.shape[1]))
        drawn = taught.draw(sight, noise_of(24))
        assert drawn.text == said
        same = torch.tensor([mine == other for mine, other in zip(said, labels.subtask, strict=True)])
        changed = (drawn.chunk - own).abs().amax((1, 2))
        assert float(changed[same].max()) < 1e-5 and not (changed[~same] < 1e-3).any()


@torch.no_grad()
def test_said_in_training_and_said_by_itself_are_one_condition() -> None:
    """The expert stands where it stood in training, however long the sub-tasks of a batch are."""
    system = make().eval()
    sight, _ = toy_batch(3)
    read, text, passes = system.conditioned(sight)
    assert read.valid.shape[1] == system.backbone.read(sight).valid.shape[1] + 7 and passes <= 7 and len(text) == 3
    for length in (3, 6):
        tokens = torch.tensor([[1, 8, 10, 6, 5, 2][:length]])
        assert system._padded(tokens).tolist() == [tokens[0].tolist() + [PAD] * (7 - length)]
    with pytest.raises(ConfigError, match="8 tokens; expected at most 7"):
        system._padded(torch.ones(1, 8, dtype=torch.long))


@torch.no_grad()
def test_padding_behind_a_subtask_weighs_nothing() -> None:
    system = make().eval()
    sight, _ = toy_batch(2)
    read = system.backbone.read(sight)
    behind = system.backbone.appended(read, system._padded(torch.tensor([[1, 8, 2], [1, 8, 2]])))
    prefix = read.valid.shape[1]
    assert behind.valid[:, prefix:].tolist() == [[True] * 3 + [False] * 4] * 2
    spoilt = [(k.clone(), v.clone()) for k, v in behind.cache]
    for key, value in spoilt:
        key[:, :, prefix + 3 :], value[:, :, prefix + 3 :] = 9.0, 9.0
    time = torch.zeros(2, SIZES.horizon)
    one, other = (
        system.expert.velocity(noise_of(2), time, sight.state, r) for r in (behind, behind._replace(cache=spoilt))
    )
    assert torch.equal(one, other)


@torch.no_grad()
def test_action_tokens_are_never_said() -> None:
    system = make().eval()
    mask = system.actions.slots.mask()
    system.backbone.speak.weight[mask] = 10.0 * system.backbone.speak.weight[~mask].abs().max()
    sight, _ = toy_batch(4)
    said: list[torch.Tensor] = []
    appended = system.backbone.appended
    system.backbone.appended = lambda read, tokens: said.append(tokens) or appended(read, tokens)  # type: ignore[method-assign, func-returns-value]
    system.conditioned(sight)
    assert not mask[said[0]].any()


def test_pre_training_teaches_the_backbone_alone_and_knows_no_flow() -> None:
    system = make()
    expert = [p.clone() for p in system.expert.parameters()]
    learn(system, 2, stage="pretrain")
    sight, labels = toy_batch(4)
    assert set(system.losses(sight, labels)) == {"subtask", "action_tokens", "answer"}
    assert all(torch.equal(a, b) for a, b in zip(expert, system.expert.parameters(), strict=True))
    learn(system, 1)
    assert "flow" in system.losses(sight, labels)
    assert not all(torch.equal(a, b) for a, b in zip(expert, system.expert.parameters(), strict=True))


def test_the_gradient_of_the_experts_loss_is_exactly_zero_in_the_backbone() -> None:
    """The words of the sub-task are insulated too."""
    system = make()
    sight, labels = toy_batch(8)
    system.losses(sight, labels)["flow"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in system.backbone.parameters())
    assert all(p.grad is not None for p in system.expert.parameters())


@torch.no_grad()
def test_action_tokens_stand_behind_the_subtask() -> None:
    system = make().eval()
    sight, labels = toy_batch(8)
    labels = Labels(system.normalised(labels.chunk), labels.known, labels.subtask, labels.questions)
    swapped = replace(labels, subtask=labels.subtask[::-1])
    one, other = (float(system.losses(sight, given)["action_tokens"]) for given in (labels, swapped))
    assert one != other


@torch.no_grad()
def test_the_field_continues_from_the_same_words() -> None:
    system = make().eval()
    sight, _ = toy_batch(2)
    noise = noise_of(2)
    torch.testing.assert_close(flow.integrate(system.field(sight).fast, noise, 5), system.draw(sight, noise).chunk)
