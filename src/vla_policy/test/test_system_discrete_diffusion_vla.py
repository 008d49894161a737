"""Discrete Diffusion VLA: fewer evaluations than tokens, easy ones first, a wrong one is masked again and repaired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from vla_core.errors import ConfigError
from vla_policy.core.masked_denoising import denoise
from vla_policy.core.systems.discrete_diffusion_vla import DiscreteDiffusionConfig, DiscreteDiffusionVla
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 48, "layers": 2, "heads": 8, "kv_heads": 4, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {}, "decoder": DECODER, "vocabulary": 64}
DENOISING = {"rounds": 6, "temperature": 0.0, "confidence": "probability", "threshold": 0.02, "largest_drop": 1.0}
KNOTS, BINS = (3, 7), 24
TOKENS = len(KNOTS) * SIZES.action_width


def make(**changes: Any) -> DiscreteDiffusionVla:
    torch.manual_seed(0)
    config = DiscreteDiffusionConfig(BACKBONE, KNOTS, BINS, 0.05, DENOISING)
    system = fitted(DiscreteDiffusionVla(replace(config, **changes), SIZES))
    assert isinstance(system, DiscreteDiffusionVla)
    return system


@pytest.fixture(scope="module")
def trained() -> DiscreteDiffusionVla:
    system = make()
    learn(system, 270)
    return system.eval().requires_grad_(False)


def test_it_learns_to_reach_what_is_named(trained: DiscreteDiffusionVla) -> None:
    assert miss_cm(trained) < 0.5 * miss_cm(make())


def test_fewer_evaluations_than_tokens(trained: DiscreteDiffusionVla) -> None:
    """The prefix is read once, and every round is one pass over all action tokens."""
    widths: list[int] = []
    hook = trained.backbone.decoder.register_forward_hook(lambda _, args, __: widths.append(args[0].shape[1]))
    sight, _ = toy_batch(2)
    drawn = trained.draw(sight, torch.zeros(2, SIZES.horizon, SIZES.action_width))
    hook.remove()
    assert drawn.passes == 6 < TOKENS == 14
    assert widths == [trained.backbone.see(sight)[0].shape[1], *[TOKENS] * 6]


def test_a_planted_wrong_token_is_masked_again_and_repaired(trained: DiscreteDiffusionVla) -> None:
    """The first knot of x at the other end of its range, all others right. Without re-masking it stays."""
    sight, labels = toy_batch(32, 7)
    codes = trained.bins.encode(labels.chunk)
    place = SIZES.action_width  # x at the second knot
    wrong = codes.clone()
    wrong[:, place] = (codes[:, place] + BINS // 2) % BINS
    wrong[:, -1] = trained.mask
    read = trained.backbone.read(sight)

    def mended(**changes: float) -> tuple[float, float]:
        out = denoise(lambda c: trained.logits(read, c), wrong, trained.mask, replace(trained.denoising, **changes))
        far = (out.tokens[:, place] - codes[:, place]).abs() > 3
        return 1.0 - float(far.float().mean()), float((out.remasked > 0).float().mean())

    assert mended(threshold=0.0) == (0.0, 0.0)
    repaired, remasked = mended()
    assert repaired > 0.8 and remasked > 0.8


def test_easy_tokens_come_first(trained: DiscreteDiffusionVla) -> None:
    """The gripper is always the same at a knot; how far to go must be seen."""
    sight, _ = toy_batch(32, 7)
    read = trained.backbone.read(sight)
    start = torch.full((32, TOKENS), trained.mask)
    config = replace(trained.denoising, threshold=0.0)
    kept = denoise(lambda c: trained.logits(read, c), start, trained.mask, config).kept_in.float()
    kept = kept.view(32, len(KNOTS), SIZES.action_width)
    assert float(kept[..., 6].mean()) + 1.0 < float(kept[:, -1, :3].mean())


def test_tokens_are_the_last_words_of_the_backbone(trained: DiscreteDiffusionVla) -> None:
    """No head of its own: embeddings in, logits out are those of the vocabulary."""
    codes = torch.arange(BINS + 1)
    assert sorted(trained.slots.tokens(codes).tolist()) == list(range(64 - BINS - 1, 64))
    sight, _ = toy_batch(1)
    read = trained.backbone.read(sight)
    masked = torch.full((1, TOKENS), trained.mask)
    hidden = trained.actions(trained.backbone, read, trained.backbone.embedding(trained.slots.tokens(masked)))
    spoken = trained.backbone.speak(hidden)[..., trained.slots.tokens(torch.arange(BINS))]
    torch.testing.assert_close(trained.logits(read, masked), spoken)
    with pytest.raises(ConfigError, match="action tokens"):
        make(bins=64)


def test_noise_decides_where_the_temperature_is_not_0(trained: DiscreteDiffusionVla) -> None:
    sight, _ = toy_batch(2)
    noise = torch.randn(2, 2, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(0))
    config, trained.denoising = trained.denoising, replace(trained.denoising, temperature=1.0)
    first, again, other = (trained.draw(sight, n).chunk for n in (noise[0], noise[0], noise[1]))
    trained.denoising = config
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_bins_come_back_from_the_notes(trained: DiscreteDiffusionVla) -> None:
    loaded = DiscreteDiffusionVla(trained.config, SIZES)
    loaded.restore(trained.notes())
    loaded.load_state_dict(trained.state_dict())
    sight, _ = toy_batch(2)
    noise = torch.zeros(2, SIZES.horizon, SIZES.action_width)
    assert torch.equal(loaded.draw(sight, noise).chunk, trained.draw(sight, noise).chunk)
