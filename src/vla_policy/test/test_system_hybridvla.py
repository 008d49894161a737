"""HybridVLA: one model denoises an action and writes it; both count where the writing is sure."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from vla_policy.core.blocks.code_writer import Written
from vla_policy.core.systems.hybridvla import HybridVla, HybridVlaConfig, collaborate
from vla_policy.core.systems.system import Labels
from vla_policy.training.toy_world import SIZES, fitted, learn, left_or_right, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {}, "decoder": DECODER, "vocabulary": 96}
DIFFUSION = {"schedule": "cosine", "steps": 100, "prediction": "sample", "clip": 1.0}
NOISE = torch.randn(16, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(0))


def make(knots: tuple[int, ...] = (6,), confidence: float = 0.96) -> HybridVla:
    torch.manual_seed(0)
    actions = {"knots": knots, "bins": 24}
    system = fitted(HybridVla(HybridVlaConfig(BACKBONE, actions, DIFFUSION, 4, 4, confidence), SIZES), left_or_right)
    assert isinstance(system, HybridVla)
    return system


@pytest.fixture(scope="module")
def trained() -> HybridVla:
    system = make()
    learn(system, 100, rate=6e-3, batch=left_or_right)
    return system.eval()


def test_both_ways_to_an_action_are_learnt_by_the_one_model(trained: HybridVla) -> None:
    sight, labels = left_or_right(16, 7)
    for chunk in trained.both(sight, NOISE)[:2]:
        miss = 10 * (chunk - labels.chunk)[:, 6, :3].norm(dim=-1)
        assert float(miss.median()) < 3.0  # cm, of 18 at the start
    assert miss_cm(trained, batch=left_or_right) < 3.0


def test_the_fusion_switches_exactly_at_the_threshold() -> None:
    """c > 0.96: the mean of both; c = 0.96, or anything below: the denoised action."""
    denoised, written = torch.zeros(4, 8, 7), torch.ones(4, 8, 7)
    at = torch.tensor(0.96, dtype=torch.float64)
    above = torch.nextafter(at, torch.tensor(1.0, dtype=torch.float64))
    below = torch.nextafter(at, torch.tensor(0.0, dtype=torch.float64))
    chunk = collaborate(denoised, written, torch.stack([below, at, above, torch.ones_like(at)]), 0.96)
    assert chunk[:, 0, 0].tolist() == [0.0, 0.0, 0.5, 0.5] and bool((chunk == chunk[:, :1, :1]).all())


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_what_is_drawn_is_decided_row_by_row(trained: HybridVla, confidence: float) -> None:
    sight, _ = toy_batch(16, 3)
    denoised, written, sure = trained.both(sight, NOISE)
    chosen = HybridVlaConfig(BACKBONE, {}, DIFFUSION, 4, 4, confidence)
    before, trained.config = trained.config, chosen
    try:
        drawn = trained.physical(trained.draw(sight, NOISE).chunk)
    finally:
        trained.config = before
    assert 0.0 < float(sure.min()) <= float(sure.max()) <= 1.0 and not torch.allclose(denoised, written)
    expected = torch.stack(
        [(a + b) / 2 if c > confidence else a for a, b, c in zip(denoised, written, sure, strict=True)]
    )
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-5)


def test_confidence_is_the_mean_over_seven_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    system = make()
    probabilities = torch.tensor([[0.9, 1.0, 0.95, 1.0, 0.99, 1.0, 0.95]])
    written = Written(torch.zeros(1, 7, dtype=torch.long), probabilities, 7)
    monkeypatch.setattr(system.actions, "write", lambda *_: written)
    assert float(system.both(toy_batch(1)[0], NOISE[:1])[2]) == pytest.approx(math.fsum(probabilities[0].tolist()) / 7)


@torch.no_grad()
def test_what_is_written_can_not_leak_into_the_noise_but_the_noisy_action_is_read_by_what_is_written() -> None:
    """One sequence: <BOD>, time, noisy action, <EOD>, tokens; each sees those before it."""
    system = make((2, 6)).eval()
    torch.nn.init.normal_(system.noise_out[-1].weight)  # type: ignore[arg-type]
    sight, _ = toy_batch(2)
    read, noisy, time = system.backbone.read(sight), torch.randn(2, 2, 7), torch.tensor([3, 70])
    begin = system.between(noisy, time)
    assert begin.shape[1] == 1 + 1 + 2 + 1

    def run(noisy: torch.Tensor, code: int) -> tuple[torch.Tensor, torch.Tensor]:
        said = system.backbone.embedding(system.actions.slots.tokens(torch.full((2, 13), code)))
        hidden, _ = system.backbone.extend(read, torch.cat([system.between(noisy, time), said], 1))
        return system.predicted(hidden), hidden[:, begin.shape[1] - 1]

    noise, first = run(noisy, 3)
    assert torch.equal(run(noisy, 17)[0], noise)
    other_noise, other_first = run(noisy + 1.0, 3)
    assert not torch.allclose(other_noise, noise) and not torch.allclose(other_first, first)
    assert not torch.allclose(system.between(noisy, time + 10)[:, 1], begin[:, 1])


def test_both_losses_teach_the_one_language_model() -> None:
    system = make()
    torch.nn.init.normal_(system.noise_out[-1].weight)  # type: ignore[arg-type]
    sight, labels = left_or_right(4)
    data = Labels(system.normalised(labels.chunk), labels.known)
    for name, loss in system.losses(sight, data).items():
        system.zero_grad()
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        grads = [p.grad for p in system.backbone.decoder.parameters()]
        assert all(g is not None and float(g.abs().max()) > 0 for g in grads), name


@torch.no_grad()
def test_four_steps_and_seven_tokens_are_eleven_passes_behind_a_prefix_that_is_read_once() -> None:
    system, seen = make().eval(), []
    system.backbone.decoder.register_forward_hook(lambda *_: seen.append(1))
    sight, _ = toy_batch(2)
    assert system.draw(sight, NOISE[:2]).passes == 11 and len(seen) == 1 + 11


def test_knots_in_physical_units_come_back_from_the_diffusion_s_scale() -> None:
    system = make((2, 6))
    bins = system.actions.bins.bins
    low, high = torch.tensor(bins.low).view(2, 7), torch.tensor(bins.high).view(2, 7)
    chunk = torch.zeros(5, 8, 7)
    chunk[:, [2, 6]] = low + torch.rand(5, 2, 7) * (high - low)
    scaled = system.scaled(chunk)
    assert float(scaled.abs().max()) <= 1.0
    torch.testing.assert_close(system.unscaled(scaled)[:, [2, 6]], chunk[:, [2, 6]])
