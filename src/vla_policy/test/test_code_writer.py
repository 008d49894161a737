"""A language model that writes actions and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError
from vla_policy.core.blocks.code_writer import NONE, check_room, prompt, teach, write
from vla_policy.core.blocks.vlm import SmallVlm, SmallVlmConfig
from vla_policy.core.systems.sizes import Fitting
from vla_policy.core.tokenizers.errors import TokenError
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots
from vla_policy.core.words import BEGIN
from vla_policy.training.toy_world import SIZES, queries, toy_batch

DECODER = {"width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 8, "hidden": 32}
VOCABULARY, COUNT, ROWS = 40, 12, 3
SLOTS = VocabularySlots.overwritten(VOCABULARY, COUNT)
some_lengths = st.lists(st.integers(1, 5), min_size=COUNT - 1, max_size=COUNT - 1).map(lambda more: [1, *more])
few = settings(max_examples=25, deadline=None)


class Shout(nn.Module):
    """Says what the model says, but prefers every word to every action."""

    def __init__(self, speak: nn.Module, by: float) -> None:
        super().__init__()
        self.speak, self.by = speak, by

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.where(SLOTS.mask(), 0.0, self.by) + self.speak(hidden)


def model(seed: int = 0) -> SmallVlm:
    torch.manual_seed(seed)
    vlm = SmallVlm(SmallVlmConfig("small_vlm", {}, DECODER, VOCABULARY), SIZES).eval().requires_grad_(False)
    vlm.fit(Fitting(toy_batch(1)[1].chunk, queries(), ("reach the red cube", "yes no")))
    vlm.speak.weight.mul_(10)  # an untrained model that has opinions
    return vlm


@few
@given(st.integers(0, 1000), some_lengths, st.integers(1, 12))
def test_every_answer_is_whole_and_holds_nothing_but_codes(seed: int, lengths: list[int], total: int) -> None:
    vlm, size = model(seed), torch.tensor(lengths)
    written = write(vlm, SLOTS, vlm.read(toy_batch(ROWS, seed)[0]), prompt(vlm, ROWS), size, total)
    there = written.codes != NONE
    assert bool(((written.codes < COUNT) & (written.codes >= NONE)).all())
    assert (size[written.codes.clamp(min=0)] * there).sum(1).tolist() == [total] * ROWS
    assert bool((there.long().diff(dim=1) <= 0).all()) and written.passes == int(there.sum(1).max())
    assert bool((written.confidence[~there] == 0).all())


@few
@given(st.integers(0, 1000))
def test_cached_keys_and_values_write_what_the_whole_sequence_would(seed: int) -> None:
    """Every code is the likeliest one behind all codes before it, as found without any cache."""
    vlm, ones = model(seed), torch.ones(COUNT, dtype=torch.long)
    read = vlm.read(toy_batch(ROWS, seed)[0])
    written = write(vlm, SLOTS, read, prompt(vlm, ROWS), ones, 5)
    said = torch.cat([torch.full((ROWS, 1), BEGIN), SLOTS.tokens(written.codes)], 1)
    logits = vlm.speak(vlm.extend(read, vlm.embedding(said[:, :-1]))[0])
    assert torch.equal(SLOTS.constrain(logits).argmax(-1), said[:, 1:])
    expected = torch.softmax(logits, -1).gather(-1, said[:, 1:, None])[..., 0]
    torch.testing.assert_close(written.confidence, expected, atol=1e-5, rtol=1e-4)


def test_the_prefix_is_read_once_and_every_pass_adds_what_was_written_last() -> None:
    vlm, ones, seen = model(), torch.ones(COUNT, dtype=torch.long), []
    vlm.decoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    read = vlm.read(toy_batch(ROWS)[0])
    write(vlm, SLOTS, read, prompt(vlm, ROWS), ones, 7)
    assert seen == [read.valid.shape[1], *[1] * 7]


def test_a_model_that_only_wants_to_talk_still_writes_actions_but_is_not_sure_of_them() -> None:
    vlm, ones = model(), torch.ones(COUNT, dtype=torch.long)
    read = vlm.read(toy_batch(ROWS)[0])
    quiet = write(vlm, SLOTS, read, prompt(vlm, ROWS), ones, 7)
    vlm.speak = Shout(vlm.speak, 1e4)  # type: ignore[assignment]
    free, _ = vlm.say(read, torch.full((ROWS,), BEGIN), 7)
    with pytest.raises(TokenError):
        SLOTS.codes(free)
    loud = write(vlm, SLOTS, read, prompt(vlm, ROWS), ones, 7)
    assert torch.equal(loud.codes, quiet.codes) and float(loud.confidence.max()) == 0.0 < float(quiet.confidence.min())


def test_taught_codes_are_next_tokens_of_the_whole_vocabulary() -> None:
    vlm, codes = model(), torch.tensor([[3, 0, 11], [5, 5, NONE], [NONE, 2, 7]])
    read = vlm.read(toy_batch(ROWS)[0])
    said = torch.cat([torch.full((ROWS, 1), BEGIN), SLOTS.tokens(codes.clamp(min=0))], 1)
    logits = vlm.speak(vlm.extend(read, vlm.embedding(said[:, :-1]))[0])
    each = F.cross_entropy(logits.transpose(1, 2), said[:, 1:], reduction="none")
    torch.testing.assert_close(teach(vlm, SLOTS, read, prompt(vlm, ROWS), codes), each[codes != NONE].mean())
    assert float(teach(vlm, SLOTS, read, prompt(vlm, ROWS), torch.full_like(codes, NONE))) == 0.0


def test_words_where_actions_stand_are_refused() -> None:
    vlm = model()
    words = len(vlm.words)
    check_room(vlm, VocabularySlots.overwritten(VOCABULARY, VOCABULARY - words))
    for slots in (
        VocabularySlots.overwritten(VOCABULARY, VOCABULARY - words + 1),
        VocabularySlots(VOCABULARY, 2, 5, False),
    ):
        with pytest.raises(ConfigError, match=f"got {words} words"):
            check_room(vlm, slots)
