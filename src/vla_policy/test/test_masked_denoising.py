"""Discrete diffusion of tokens: order, repair, number of evaluations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vla_core.errors import ConfigError, PolicyError, UnknownNameError
from vla_policy.core.masked_denoising import MaskedDenoisingConfig, corrupt, denoise, masked_after

LENGTH, VALUES = 56, 32
MASK = VALUES
CONFIG = MaskedDenoisingConfig(rounds=12, temperature=0.0, confidence="probability", threshold=0.3, largest_drop=0.3)
NO_REPAIR = replace(CONFIG, threshold=0.0, largest_drop=1.0)
seeds = st.integers(0, 2**31)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_masked(rows: int = 1, length: int = LENGTH) -> Tensor:
    return torch.full((rows, length), MASK)


class Sentences:
    """The exact posterior of a language of few sentences, in which every word is misspelled now and then.

    Each token is judged by all the others that are visible, as a model judges it that was trained on wrong tokens too.
    """

    def __init__(self, sentences: Tensor, misspelled: float = 0.02) -> None:
        self.sentences, self.misspelled, self.calls = sentences, misspelled, 0
        self.seen: list[Tensor] = []
        self.spelling = torch.full((*sentences.shape, VALUES), misspelled / VALUES)
        self.spelling.scatter_(-1, sentences[..., None], 1 - misspelled)

    def __call__(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(tokens.clone())
        index = tokens.where(tokens != MASK, 0)[:, None, :, None].expand(-1, len(self.sentences), -1, 1)
        fit = self.spelling.log().expand(len(tokens), -1, -1, -1).gather(-1, index)[..., 0]
        fit = fit.masked_fill((tokens == MASK)[:, None], 0.0)
        others = fit.sum(-1, keepdim=True) - fit
        weights = torch.softmax(others, 1)
        return torch.einsum("bsl,slv->blv", weights, self.spelling).log()


def two_sentences(seed: int = 0) -> Tensor:
    """(2,L), different everywhere."""
    first = torch.randint(VALUES, (LENGTH,), generator=generator(seed))
    return torch.stack([first, (first + 7) % VALUES])


@given(seeds, st.integers(1, 30), st.sampled_from(["probability", "gap"]), st.sampled_from([0.0, 1.0]))
def test_an_oracle_gets_its_way(seed: int, rounds: int, confidence: str, temperature: float) -> None:
    wanted = torch.randint(VALUES, (3, LENGTH), generator=generator(seed))
    oracle = 100.0 * torch.nn.functional.one_hot(wanted, VALUES)
    config = replace(CONFIG, rounds=rounds, confidence=confidence, temperature=temperature)
    out = denoise(lambda _: oracle, all_masked(3), MASK, config, generator(seed))
    assert torch.equal(out.tokens, wanted) and not out.remasked.any()


def test_fewer_evaluations_than_tokens() -> None:
    """What autoregressive decoding needs LENGTH evaluations for. The paper's chunk: 56 tokens in 12."""
    model = Sentences(two_sentences())
    out = denoise(model, all_masked(), MASK, CONFIG)
    assert out.evaluations == model.calls == 12 < LENGTH
    assert (out.tokens == two_sentences()).all(1).any()


def test_masked_tokens_follow_the_cosine() -> None:
    model = Sentences(two_sentences())
    denoise(model, all_masked(), MASK, NO_REPAIR)
    left = [int((tokens == MASK).sum()) for tokens in model.seen]
    assert left == [LENGTH] + [math.floor(LENGTH * math.cos(math.pi / 2 * i / 12)) for i in range(1, 12)]
    assert masked_after(0.0) == 1.0 and masked_after(1.0) == 0.0


@pytest.mark.parametrize("confidence", ["probability", "gap"])
def test_easy_tokens_come_first(confidence: str) -> None:
    """The round in which a token is kept follows the model's confidence, not its place."""
    sureness = torch.rand(LENGTH, generator=generator(0)) * 6 + 2
    logits = sureness[None, :, None] * torch.nn.functional.one_hot(torch.arange(LENGTH) % VALUES, VALUES)
    out = denoise(lambda _: logits, all_masked(), MASK, replace(NO_REPAIR, confidence=confidence))
    kept = out.kept_in[0][sureness.argsort(descending=True)]
    assert bool((kept.diff() >= 0).all()) and sorted(set(kept.tolist())) == list(range(1, 13))


def test_a_planted_wrong_token_is_masked_again_and_repaired() -> None:
    """One token of the other sentence among three given ones of the right sentence. Without re-masking it stays."""
    right, other = two_sentences()
    model, start = Sentences(torch.stack([right, other])), all_masked()
    start[0, [10, 20, 30]], start[0, 40] = right[[10, 20, 30]], other[40]
    left = denoise(model, start, MASK, NO_REPAIR)
    assert int(left.tokens[0, 40]) == int(other[40]) and not left.remasked.any() and not left.kept_in[0, 40]
    for repair in (replace(CONFIG, largest_drop=1.0), replace(CONFIG, largest_drop=1.0, confidence="gap")):
        out = denoise(model, start, MASK, repair)
        assert torch.equal(out.tokens[0], right)
        assert out.remasked.tolist() == [1] and int(out.kept_in[0, 40]) > 1 and not out.kept_in[0, 10]


@pytest.mark.parametrize("given_at_first", [True, False])
def test_a_token_that_loses_confidence_is_masked_again(given_at_first: bool) -> None:
    """Believed at 0.9 while little is known, at 0.45 later: a drop by more than 0.3, and there is no threshold."""
    hasty, right = 3, 5

    def model(tokens: Tensor) -> Tensor:
        probability = torch.full((1, LENGTH, VALUES), 0.2 / (VALUES - 1))
        probability[..., 1] = 0.8
        late = float((tokens != MASK).float().mean()) > 0.5
        probability[:, 7] = torch.full((VALUES,), 1e-6)
        probability[:, 7, hasty], probability[:, 7, right] = (0.45, 0.55) if late else (0.9, 0.1)
        return probability.log()

    start = all_masked()
    if given_at_first:
        start[0, 7] = hasty
    config = replace(CONFIG, threshold=0.0)
    assert int(denoise(model, start, MASK, replace(config, largest_drop=0.5)).tokens[0, 7]) == hasty
    out = denoise(model, start, MASK, config)
    assert int(out.tokens[0, 7]) == right and out.remasked.tolist() == [1]


def test_re_masking_mends_what_was_drawn_at_the_same_time() -> None:
    """Tokens of one round don't know of each other, so some belong to one sentence and some to the other."""
    sentences = two_sentences()
    few = replace(CONFIG, rounds=5, temperature=1.0)

    def pure(config: MaskedDenoisingConfig) -> tuple[float, float]:
        out = denoise(Sentences(sentences, 1e-3), all_masked(200), MASK, config, generator(0))
        first, second = ((out.tokens == sentence).all(1).float().mean() for sentence in sentences)
        return float(first), float(second)

    at_once, without = sum(pure(replace(few, rounds=1))), sum(pure(replace(few, threshold=0.0, largest_drop=1.0)))
    first, second = pure(few)
    assert at_once == 0.0 and without < 0.4 and first + second > 0.95
    assert min(first, second) > 0.3, "both sentences are drawn"


@given(seeds, st.integers(1, 20), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["probability", "gap"]))
def test_no_token_stays_masked(seed: int, rounds: int, threshold: float, drop: float, confidence: str) -> None:
    """Even if the model says something else at every round, and even if it would like to write the mask itself."""
    draw = generator(seed)
    config = MaskedDenoisingConfig(rounds, 1.0, confidence, threshold, drop)

    def fickle(tokens: Tensor) -> Tensor:
        logits = 3 * torch.randn(*tokens.shape, VALUES + 1, generator=draw)
        logits[..., MASK] = 1e4
        return logits

    out = denoise(fickle, all_masked(2), MASK, config, draw)
    assert out.evaluations <= rounds and bool(((out.tokens >= 0) & (out.tokens < VALUES)).all())
    assert bool(((out.kept_in >= 1) & (out.kept_in <= rounds)).all())


def test_rows_don_t_know_of_each_other() -> None:
    sentences = torch.cat([two_sentences(0), two_sentences(1)])
    start = all_masked(3)
    for row, sentence in enumerate(sentences[1:]):
        start[row, 5] = sentence[5]
    start[1, 9] = sentences[0, 9]
    together = denoise(Sentences(sentences), start, MASK, CONFIG)
    for row in range(3):
        alone = denoise(Sentences(sentences), start[row : row + 1], MASK, CONFIG)
        assert torch.equal(alone.tokens[0], together.tokens[row])
    assert bool((start[0, :5] == MASK).all()), "the start is not written into"


def test_training_meets_every_stage_of_decoding() -> None:
    """Masked shares are distributed as cos(pi/2 u): mean 2/pi; and no row is without a loss."""
    tokens = torch.randint(VALUES, (5000, 20), generator=generator(0))
    seen, loss = corrupt(tokens, MASK, generator(1))
    assert torch.equal(loss, seen == MASK) and torch.equal(seen[~loss], tokens[~loss])
    counts = loss.sum(1)
    assert int(counts.min()) == 1 and set(counts.tolist()) == set(range(1, 21))
    assert float(counts.float().mean()) / 20 == pytest.approx(2 / math.pi + 0.025, abs=0.01)  # rounded up
    places = loss.float().mean(0)
    assert float(places.max() - places.min()) < 0.05, "no place is preferred"


def test_training_may_teach_to_doubt() -> None:
    """Wrong and right visible tokens are on the loss, as many of each; else a kept token's confidence means nothing."""
    tokens = torch.randint(VALUES, (2000, 20), generator=generator(0))
    seen, loss = corrupt(tokens, MASK, generator(1), wrong=0.1, values=VALUES)
    visible = seen != MASK
    wrong = visible & (seen != tokens)
    assert bool(loss[wrong].all()) and int(seen[visible].max()) < VALUES
    assert float(wrong.sum() / visible.sum()) == pytest.approx(0.1 * (VALUES - 1) / VALUES, abs=0.01)
    assert float((loss & visible).sum() / visible.sum()) == pytest.approx(0.2, abs=0.01)


def test_what_cannot_be_followed_is_refused() -> None:
    with pytest.raises(PolicyError, match="NaN"):
        denoise(lambda tokens: torch.full((*tokens.shape, VALUES), torch.nan), all_masked(), MASK, CONFIG)
    with pytest.raises(UnknownNameError, match="gap, probability"):
        replace(CONFIG, confidence="entropy").check()
    with pytest.raises(ConfigError, match="at least one round"):
        replace(CONFIG, rounds=0).check()
    with pytest.raises(ConfigError, match="values to draw from"):
        corrupt(all_masked(), MASK, wrong=0.1)
