"""OpenVLA: two encoders side by side, bins that outliers don't widen, tokens that nobody uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vla_core.errors import PolicyError
from vla_policy.core.sight import Sight
from vla_policy.core.systems.openvla import OpenVla
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.small_vlm import SmallVlmSystem, SmallVlmSystemConfig
from vla_policy.core.systems.system import Labels
from vla_policy.core.systems.writing import WritingConfig
from vla_policy.core.weights import Metadata, save_weights
from vla_policy.training.toy_world import NAMES, SIZES, fitted, learn, left_or_right, miss_cm, queries, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
VOCABULARY, BINS = 96, 24
WITH_BOTH = Sizes(**{name: getattr(SIZES, name) for name in SIZES.__slots__} | {"semantic": 5})


def backbone(**tokens: bool) -> dict[str, Any]:
    return {"block": "small_vlm", "tokens": tokens, "decoder": DECODER, "vocabulary": VOCABULARY}


def make(section: dict[str, Any] | None = None) -> OpenVla:
    torch.manual_seed(0)
    config = WritingConfig(section or backbone(fused=True), {"knots": (6,), "bins": BINS})
    system = fitted(OpenVla(config, WITH_BOTH), left_or_right)
    assert isinstance(system, OpenVla)
    return system


def with_semantic(sight: Sight, seed: int = 0) -> Sight:
    shape = (len(sight.state), SIZES.views, len(NAMES), 5)
    return sight._replace(semantic=torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def both_encoders(rows: int, seed: int = 0, history: int = 1) -> tuple[Sight, Labels]:
    """As left_or_right, but the first encoder can't tell the things apart: only the semantic one knows them."""
    sight, labels = left_or_right(rows, seed, history)
    meaning = queries()[:, :5].expand(rows, SIZES.views, -1, -1)
    same = sight.pooled.mean(2, keepdim=True).expand_as(sight.pooled)
    return sight._replace(pooled=same, semantic=meaning), labels


def test_it_learns_to_reach_what_only_the_semantic_encoder_knows() -> None:
    """The names' queries, which tokens are told too, are hidden: what is where must come from the second encoder."""
    system = make()
    system.backbone.see.names.zero_()
    before = miss_cm(system, batch=both_encoders)
    learn(system, 80, rate=6e-3, batch=both_encoders)
    assert miss_cm(system, batch=both_encoders) < 0.2 * before


@torch.no_grad()
def test_encoders_are_fused_channel_by_channel() -> None:
    """Not one token more, and a thing's semantic features go into that thing's token alone."""
    system, alone = make().eval(), make(backbone()).eval()
    sight = with_semantic(toy_batch(2)[0])
    tokens, _ = system.backbone.see(sight)
    assert tokens.shape == alone.backbone.see(sight)[0].shape
    assert sight.semantic is not None
    changed = sight.semantic.clone()
    changed[:, 1, 2] += 1.0  # the third thing, in the second view
    other, _ = system.backbone.see(sight._replace(semantic=changed))
    moved = (tokens - other).abs().amax((0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [2]


def test_what_it_needs_is_asked_for_and_missed() -> None:
    assert make().needs == {"semantic"} and make(backbone()).needs == frozenset()
    sight, _ = toy_batch(2)
    with pytest.raises(PolicyError, match=r"Sight\.semantic"):
        make().draw(sight, torch.zeros(2, 8, 7))


def test_outliers_do_not_widen_the_bins() -> None:
    """With 500 rows, four wild ones on a side are less than 1 %."""
    torch.manual_seed(1)
    clean = torch.randn(500, 8, 7)
    wild = clean.clone()
    wild[:4] += 1e4
    system = make()
    system.fit(Fitting(wild, queries(), NAMES))
    bins = system.actions.bins.bins
    assert bool((torch.tensor(bins.high) <= clean[4:, 6].amax(0) + 1e-4).all())
    assert bool((torch.tensor(bins.low) >= clean[4:, 6].amin(0) - 1e-4).all())


def test_an_action_within_the_bounds_comes_back_half_a_bin_off_at_most() -> None:
    system = make()
    bins = system.actions.bins.bins
    low, high = torch.tensor(bins.low), torch.tensor(bins.high)
    chunk = low + torch.rand(50, 8, 7) * (high - low)
    codes = system.actions.encode(chunk, torch.ones(50, 8, dtype=torch.bool))
    error = (system.actions.decode(codes) - chunk)[:, 6].abs()
    assert bool((error <= (high - low) / BINS / 2 + 1e-5).all())


def test_actions_take_the_tokens_that_are_used_least() -> None:
    """The last ones, counted down, which stand for no word."""
    system = make()
    assert system.actions.slots.tokens(torch.tensor([0, BINS - 1])).tolist() == [VOCABULARY - 1, VOCABULARY - BINS]
    assert len(system.backbone.words) <= VOCABULARY - BINS
    written = system.actions.write(
        system.backbone,
        system.backbone.read(with_semantic(toy_batch(2)[0])),
        system.backbone.embedding(torch.ones(2, 1).long()),
    )
    assert written.passes == 7


@torch.no_grad()
def test_it_begins_as_the_model_that_was_pre_trained_with_one_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns for the second encoder are added to the projector, and change nothing at first."""
    torch.manual_seed(5)
    first = fitted(SmallVlmSystem(SmallVlmSystemConfig(backbone()), SIZES))
    assert isinstance(first, SmallVlmSystem)
    file = tmp_path / "share" / "toy" / "vlm.safetensors"
    save_weights(file, first, Metadata("system", "toy", "", {}, {}, {}, {"system": first.notes()}), half=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    system = make(backbone(fused=True) | {"start": "toy/vlm.safetensors"})
    sight, _ = toy_batch(3)
    expected = first.backbone.read(sight).hidden
    for seed in (0, 1):
        torch.testing.assert_close(system.backbone.read(with_semantic(sight, seed)).hidden, expected)
    assert system.backbone.words.words == first.backbone.words.words
