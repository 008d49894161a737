"""RT-2: one model acts and answers; asked to act, it can't talk."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vla_core.errors import ConfigError
from vla_policy.core.blocks.answers import answers
from vla_policy.core.systems.rt2 import Rt2
from vla_policy.core.systems.writing import WritingConfig
from vla_policy.core.tokenizers.errors import TokenError
from vla_policy.core.words import BEGIN
from vla_policy.training.toy_world import SIZES, fitted, learn, left_or_right, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
VOCABULARY, BINS = 96, 24


def make(vocabulary: int = VOCABULARY) -> Rt2:
    torch.manual_seed(0)
    backbone: dict[str, Any] = {"block": "small_vlm", "tokens": {}, "decoder": DECODER, "vocabulary": vocabulary}
    system = fitted(Rt2(WritingConfig(backbone, {"knots": (6,), "bins": BINS}), SIZES), left_or_right)
    assert isinstance(system, Rt2)
    return system


@pytest.fixture(scope="module")
def trained() -> Rt2:
    system = make()
    learn(system, 80, rate=6e-3, batch=left_or_right)
    return system.eval()


def test_one_set_of_weights_acts_and_answers(trained: Rt2) -> None:
    """Co-fine-tuned on both: goes where it is told to, and says what a question asks for."""
    assert miss_cm(trained, batch=left_or_right) < 0.2 * miss_cm(make(), batch=left_or_right)
    _, labels = left_or_right(64, 7)
    assert labels.questions is not None
    right = [
        said == wanted
        for said, wanted in zip(
            answers(trained.backbone, labels.questions.sight), labels.questions.answers, strict=True
        )
    ]
    assert sum(right) > 0.9 * len(right)


def test_free_text_can_never_reach_the_robot(trained: Rt2) -> None:
    """Where the model, left to itself, answers in words, it acts all the same when it is asked to act."""
    _, labels = left_or_right(16, 7)
    assert labels.questions is not None
    asked = labels.questions.sight
    said, _ = trained.backbone.say(trained.backbone.read(asked), torch.full((16,), BEGIN), 7)
    with pytest.raises(TokenError, match="action tokens 95 down"):
        trained.actions.slots.codes(said)
    written = trained.act(asked)
    assert written.codes.shape == (16, 7) and bool(((written.codes >= 0) & (written.codes < BINS)).all())
    drawn = trained.physical(trained.draw(asked, torch.zeros(16, 8, 7)).chunk)
    bins = trained.actions.bins.bins
    assert bool((drawn[:, 6] >= torch.tensor(bins.low) - 1e-4).all())
    assert bool((drawn[:, 6] <= torch.tensor(bins.high) + 1e-4).all())


def test_demonstrations_and_questions_teach_the_same_weights() -> None:
    system = make()
    sight, labels = left_or_right(8)
    losses = system.losses(sight, labels)
    assert set(losses) == {"action", "answer"} and system.questions_per_row > 0
    for name in losses:
        system.zero_grad()
        losses[name].backward(retain_graph=True)  # type: ignore[no-untyped-call]
        assert all(float(p.grad.abs().max()) > 0 for p in system.backbone.decoder.parameters() if p.grad is not None)
        assert system.backbone.decoder.layers[0].query.weight.grad is not None  # type: ignore[union-attr]


def test_bins_reach_from_the_least_to_the_greatest_value_of_the_data() -> None:
    system = make()
    chunk = left_or_right(256, 9)[1].chunk[:, 6]
    torch.testing.assert_close(torch.tensor(system.actions.bins.bins.low), chunk.amin(0))
    torch.testing.assert_close(torch.tensor(system.actions.bins.bins.high), chunk.amax(0))


def test_an_action_takes_as_many_passes_as_it_has_values() -> None:
    sight, _ = toy_batch(2)
    assert make().draw(sight, torch.zeros(2, 8, 7)).passes == 7


def test_a_vocabulary_without_room_for_words_and_actions_is_refused() -> None:
    with pytest.raises(ConfigError, match="words and 24 action tokens in 32"):
        make(32)
