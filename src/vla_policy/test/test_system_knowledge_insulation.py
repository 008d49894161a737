"""Knowledge insulation: what the expert learns doesn't reach the backbone, which learns from words alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core.blocks.fast_words import FastWords, FastWordsConfig
from vla_policy.core.systems.knowledge_insulation import KnowledgeInsulation, KnowledgeInsulationConfig
from vla_policy.core.systems.sizes import Fitting
from vla_policy.core.systems.system import Labels
from vla_policy.core.words import END, PAD
from vla_policy.training.toy_world import SIZES, Batch, fitted, learn, left_or_right, miss_cm, queries, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {}, "decoder": DECODER, "vocabulary": 96}
ACTIONS = {"vocabulary": 24, "scale": 1.0}


def config(**changes: Any) -> KnowledgeInsulationConfig:
    expert = {"width": 32, "hidden": 64}
    settings = {"backbone": BACKBONE, "expert": expert, "actions": ACTIONS, "samples": 4, "prefix_steps": 4, "steps": 5}
    return KnowledgeInsulationConfig(**{**settings, **changes})


def make(batch: Batch = toy_batch, **changes: Any) -> KnowledgeInsulation:
    torch.manual_seed(0)
    system = fitted(KnowledgeInsulation(config(**changes), SIZES), batch)
    assert isinstance(system, KnowledgeInsulation)
    return system


def gradients(system: KnowledgeInsulation, *names: str) -> dict[str, float]:
    """Largest absolute gradient of every parameter from the named losses; 0 where there is no way."""
    torch.manual_seed(1)
    sight, labels = toy_batch(8)
    losses = system.losses(sight, labels)
    system.zero_grad(set_to_none=True)
    torch.stack([losses[name] for name in names]).sum().backward()  # type: ignore[no-untyped-call]
    return {n: 0.0 if p.grad is None else float(p.grad.abs().max()) for n, p in system.named_parameters()}


def test_the_gradient_of_the_experts_loss_is_exactly_zero_in_the_backbone() -> None:
    found = gradients(make(), "flow")
    assert {name for name, size in found.items() if size > 0} == {n for n in found if n.startswith("expert.")}
    assert all(size == 0.0 for name, size in found.items() if name.startswith("backbone."))


def test_without_insulation_it_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof above can fail: with the gradient let through, every layer of the backbone feels the expert."""
    monkeypatch.setattr("vla_policy.core.systems.knowledge_insulation.detached", lambda cache: cache)
    found = gradients(make(), "flow")
    assert all(found[f"backbone.decoder.layers.{i}.key.weight"] > 0 for i in range(DECODER["layers"]))


def test_the_backbone_learns_from_words_alone_and_the_expert_from_none() -> None:
    found = gradients(make(), "action_tokens", "subtask", "answer")
    assert all(size == 0.0 for name, size in found.items() if name.startswith("expert."))
    assert all(size > 0.0 for name, size in found.items() if name.startswith("backbone."))


def test_it_learns_to_reach_what_is_named_and_to_write_the_chunk_in_words() -> None:
    """Insulated, the expert can only know what the backbone learnt to know by writing action tokens."""
    system = make(left_or_right)
    before = miss_cm(system, batch=left_or_right)
    learn(system, 120, rate=5e-3, batch=left_or_right)
    assert miss_cm(system, batch=left_or_right) < 0.4 * before
    sight, labels = left_or_right(64, 7)
    labels = Labels(system.normalised(labels.chunk), labels.known, labels.subtask, labels.questions)
    with torch.no_grad():
        assert float(system.losses(sight, labels)["action_tokens"]) < 0.1


@torch.no_grad()
def test_neither_kind_of_action_sees_the_other() -> None:
    """The expert draws the same chunk however the chunk would read in words, and the words don't know the noise."""
    system = make().eval()
    sight, labels = toy_batch(4)
    noise = torch.randn(4, SIZES.horizon, SIZES.action_width)
    before = system.draw(sight, noise).chunk
    read = system.backbone.read(sight)
    first = system.action_loss(read, labels)
    system.expert.velocity(noise, torch.zeros(4, SIZES.horizon), sight.state, read)
    assert torch.equal(system.action_loss(read, labels), first)
    assert torch.equal(system.draw(sight, noise).chunk, before)


@torch.no_grad()
def test_chunks_are_drawn_without_writing_a_word() -> None:
    system, said = make().eval(), []
    system.backbone.speak.register_forward_hook(lambda *_: said.append(1))
    sight, _ = toy_batch(2)
    drawn = system.draw(sight, torch.randn(2, SIZES.horizon, SIZES.action_width))
    assert drawn.passes == 5 and drawn.text == () and not said


def test_rows_without_all_labels_write_no_chunk() -> None:
    """The words of a chunk stand for all of its steps."""
    system = make()
    sight, labels = toy_batch(4)
    read = system.backbone.read(sight)
    assert not labels.known[::2].all() and labels.known[1::2].all()
    odd = Labels(labels.chunk[1::2], labels.known[1::2])
    expected = system.action_loss(system.backbone.read(sight.rows(slice(1, None, 2))), odd)
    torch.testing.assert_close(system.action_loss(read, labels), expected)
    none = Labels(labels.chunk, torch.zeros_like(labels.known))
    assert float(system.action_loss(read, none)) == 0.0


def chunks() -> Tensor:
    return toy_batch(64, 3)[1].chunk


def words(vocabulary: int = 128) -> FastWords:
    block = FastWords(FastWordsConfig(vocabulary, 3.0), 192)
    block.fit(Fitting(chunks(), queries(), ()))
    return block


def test_a_chunk_in_words_reads_back_as_the_chunk() -> None:
    block, given = words(), chunks()
    written = block.encode(given)
    ends = (written == END).sum(1)
    assert written.min() >= 0 and (ends == 1).all()
    bound = block.tokens.error_bound()
    for row, chunk in zip(written, given, strict=True):
        length = int((row == END).nonzero()[0, 0])
        assert (row[length + 1 :] == PAD).all()
        codes = block.slots.codes(row[:length])
        assert int(codes[0]) == 0
        error = block.tokens.decode((codes[1:] - 1).tolist()) - chunk.numpy()
        assert (np.linalg.norm(error, axis=0) <= bound + 1e-5).all()


def test_fitted_words_survive_a_weight_file() -> None:
    block, other = words(), FastWords(FastWordsConfig(128, 3.0), 192)
    with pytest.raises(ConfigError, match="before any data"):
        other.encode(chunks())
    other.restore(block.notes())
    assert torch.equal(other.encode(chunks()), block.encode(chunks()))


def test_action_tokens_never_overwrite_words() -> None:
    with pytest.raises(ConfigError, match="12 words and 24 action tokens in 30; expected at most 6 words"):
        make(backbone=BACKBONE | {"vocabulary": 30})
