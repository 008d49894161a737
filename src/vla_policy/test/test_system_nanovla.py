"""NanoVLA: words are read once, vision never sees them, and the large backbone answers only under uncertainty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core.blocks.beta_router import BetaRouter, BetaRouterConfig, at_least
from vla_policy.core.blocks.late_fusion import LateFusion, LateFusionConfig
from vla_policy.core.systems.nanovla import NanoVla, NanoVlaConfig
from vla_policy.training.toy_world import SIZES, Batch, fitted, learn, left_or_right, miss_cm, toy_batch
from vla_policy.training.trainer import Loop, LoopConfig

WIDTH = 48  # of sentences
counts = st.integers(0, 60)


def decoder(width: int) -> dict[str, Any]:
    return {"width": width, "layers": 1, "heads": 2, "kv_heads": 2, "head_width": 8, "hidden": 2 * width}


SMALL: dict[str, Any] = {"language": decoder(16), "width": 32, "layers": 2, "heads": 4}
LARGE: dict[str, Any] = {"language": decoder(24), "width": 40, "layers": 2, "heads": 4}


def make(batch: Batch = toy_batch) -> NanoVla:
    torch.manual_seed(0)
    router = {"tasks": 8, "reach": 0.2, "memory": 200.0}
    system = fitted(NanoVla(NanoVlaConfig(SMALL, LARGE, router, tolerance=0.05), SIZES), batch)
    assert isinstance(system, NanoVla)
    return system


def fusion() -> LateFusion:
    torch.manual_seed(0)
    return LateFusion(LateFusionConfig(**SMALL), SIZES).eval()


def noise_of(rows: int) -> Tensor:
    return torch.zeros(rows, SIZES.horizon, SIZES.action_width)


def calls(module: torch.nn.Module) -> list[int]:
    """Grows by the rows of every call."""
    rows: list[int] = []
    module.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    return rows


def test_it_learns_to_reach_what_is_named_with_either_backbone() -> None:
    """And the router learns that the small one is enough. What knows no names ends 15 cm away."""
    system = make(left_or_right)
    learn(system, 300, rate=3e-3, batch=left_or_right)
    sight, labels = left_or_right(64, 7)
    with torch.no_grad():
        for backbone in (system.small, system.large):
            error = (system.physical(backbone(sight)) - labels.chunk)[:, -2, :3].norm(dim=-1)
            assert float(10 * error.median()) < 5.0
    assert not system.router.escalates(sight.sentence).any()
    assert miss_cm(system, batch=left_or_right) < 5.0


@torch.no_grad()
def test_an_instruction_is_encoded_once_however_often_it_is_answered() -> None:
    net = fusion()
    encoded, looked = calls(net.language), calls(net.see.object)
    first, other = (toy_batch(1, seed)[0] for seed in (3, 4))
    other = other._replace(text=first.text.clone(), text_mask=first.text_mask.clone())
    chunks = [net(sight) for sight in (first, other, first)]
    assert len(encoded) == 1 and len(looked) == 3
    assert not torch.equal(chunks[0], chunks[1]) and torch.equal(chunks[0], chunks[2])
    net(first._replace(text=first.text + 1.0))
    assert len(encoded) == 2
    net(first)
    assert len(encoded) == 3


@torch.no_grad()
def test_what_is_kept_of_an_instruction_changes_no_chunk() -> None:
    net = fusion()
    sight, _ = toy_batch(3)
    kept = [net(sight.rows(slice(i, i + 1))) for i in range(3)]
    again = [net(sight.rows(slice(i, i + 1))) for i in range(3)]
    torch.testing.assert_close(torch.cat(kept), net(sight))
    assert torch.equal(torch.cat(kept), torch.cat(again))


def test_new_weights_forget_the_instruction_and_gradients_never_meet_it() -> None:
    net = fusion()
    sight, _ = toy_batch(1)
    with torch.no_grad():
        before = net(sight)
    net(sight).sum().backward()  # type: ignore[no-untyped-call]
    assert net.word.weight.grad is not None and float(net.word.weight.grad.abs().max()) > 0
    net.train()
    with torch.no_grad():
        net.word.weight.add_(1.0)
        assert not torch.equal(net.eval()(sight), before)


@torch.no_grad()
def test_vision_never_sees_a_word_and_words_never_see_an_image() -> None:
    net = fusion()
    sight, _ = toy_batch(2, 0)
    other, _ = toy_batch(2, 1)
    told = sight._replace(text=other.text + 1.0, sentence=other.sentence + 1.0)
    for a, b in zip(net.look(sight).keys_values, net.look(told).keys_values, strict=True):
        assert torch.equal(a, b)
    seen = other._replace(text=sight.text, text_mask=sight.text_mask)
    for a, b in zip(net.read(sight).keys_values, net._encode(seen.text, seen.text_mask).keys_values, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(net(sight), net(told)) and not torch.equal(net(sight), net(seen))


@torch.no_grad()
def test_padded_words_weigh_nothing() -> None:
    net = fusion()
    sight, _ = toy_batch(2)
    text = torch.cat([sight.text, torch.randn(2, 4, SIZES.text)], 1)
    mask = torch.cat([sight.text_mask, torch.zeros(2, 4, dtype=torch.bool)], 1)
    torch.testing.assert_close(net(sight._replace(text=text, text_mask=mask)), net(sight))


@pytest.mark.parametrize(
    ("small", "large", "escalates"),
    [
        ((0, 0), (0, 0), True),  # nothing is known
        ((100, 0), (100, 0), False),  # the small one is enough
        ((100, 0), (0, 0), False),
        ((2, 0), (2, 0), True),  # too little is known
        ((0, 100), (100, 0), True),  # it is not enough
        ((0, 100), (0, 100), False),  # and where neither succeeds, the large one wouldn't help
        ((60, 40), (95, 5), True),
    ],
)
def test_the_router_escalates_only_on_uncertainty(
    small: tuple[int, int], large: tuple[int, int], escalates: bool
) -> None:
    router, task = BetaRouter(BetaRouterConfig(tasks=4), WIDTH), torch.randn(1, WIDTH)
    record(router, task, small, large)
    assert router.escalates(task).tolist() == [escalates]


def record(router: BetaRouter, task: Tensor, small: tuple[int, int], large: tuple[int, int]) -> None:
    """Trials of one task; where the backbones have unequal numbers, straight into the table."""
    if small[0] + small[1] == large[0] + large[1] > 0:
        total = sum(small)
        outcome = torch.stack([torch.arange(total) < small[0], torch.arange(total) < large[0]], 1)
        router.observe(task.expand(total, -1), outcome)
        assert router.posterior(task)[0].tolist() == [[1 + small[0], 1 + small[1]], [1 + large[0], 1 + large[1]]]
    else:
        router.tasks[0], router.trials[0] = task[0], torch.tensor([small, large], dtype=torch.float)


@given(counts, counts, counts, counts)
def test_a_success_of_the_small_backbone_never_speaks_for_the_large_one(s: int, f: int, sl: int, fl: int) -> None:
    large = 1.0 + torch.tensor([[sl, fl]], dtype=torch.float)
    before, after, worse = (
        float(at_least(1.0 + torch.tensor([[s + a, f + b]], dtype=torch.float), large, 0.05))
        for a, b in ((0, 0), (1, 0), (0, 1))
    )
    assert worse <= before + 1e-6 <= after + 2e-6


@given(st.integers(0, 2**31), counts, counts, counts, counts)
def test_the_probability_is_that_of_beta_distributions(seed: int, s: int, f: int, sl: int, fl: int) -> None:
    """Against Monte Carlo, the paper's way."""
    torch.manual_seed(seed)
    small, large = torch.tensor([[1.0 + s, 1.0 + f]]), torch.tensor([[1.0 + sl, 1.0 + fl]])
    one, other = (torch.distributions.Beta(*beta[0]).sample((4000,)) for beta in (small, large))
    expected = float((one >= other - 0.05).float().mean())
    assert float(at_least(small, large, 0.05)) == pytest.approx(expected, abs=0.04)


def test_evidence_carries_to_similar_instructions_only() -> None:
    torch.manual_seed(0)
    router = BetaRouter(BetaRouterConfig(tasks=4), 384)
    task = torch.randn(1, 384)
    router.observe(task.expand(200, -1), torch.ones(200, 2, dtype=torch.bool))
    alike, foreign = task + 0.1 * torch.randn(1, 384), torch.randn(1, 384)
    assert router.escalates(torch.cat([task, alike, foreign])).tolist() == [False, False, True]
    torch.testing.assert_close(router.posterior(foreign)[0], torch.ones(2, 2), atol=0.05, rtol=0)


def test_what_was_unlearnt_is_escalated_again() -> None:
    router, task = BetaRouter(BetaRouterConfig(tasks=4, memory=100.0), WIDTH), torch.randn(1, WIDTH)
    good, bad = torch.tensor([[True, True]]), torch.tensor([[False, True]])
    router.observe(task.expand(400, -1), good.expand(400, -1))
    assert not router.escalates(task).any() and float(router.trials.sum(2).max()) <= 100.0 + 1e-3
    for _ in range(20):
        router.observe(task.expand(10, -1), bad.expand(10, -1))
    assert router.escalates(task).all()


def test_a_full_table_counts_known_tasks_and_leaves_others_uncertain() -> None:
    torch.manual_seed(0)
    router, tasks = BetaRouter(BetaRouterConfig(tasks=2), 384), torch.randn(3, 384)
    for _ in range(60):
        router.observe(tasks, torch.ones(3, 2, dtype=torch.bool))
    assert router.escalates(tasks).tolist() == [False, False, True]


def test_each_row_is_answered_by_the_backbone_that_the_router_chose() -> None:
    """Of a fresh policy the large one answers, where trials went well the small one; new instructions go back."""
    system = make()
    small, large = calls(system.small.see.object), calls(system.large.see.object)
    sight, _ = toy_batch(6)
    with torch.no_grad():
        system.eval().draw(sight, noise_of(6))
        assert (sum(small), sum(large)) == (0, 6)
        for _ in range(30):
            system.router.observe(sight.sentence, torch.ones(6, 2, dtype=torch.bool))
        small.clear(), large.clear()
        known = system.draw(sight, noise_of(6)).chunk
        assert (sum(small), sum(large)) == (6, 0) and torch.equal(known, system.small(sight))
        new = sight.sentence.clone()
        new[2] = 5.0
        small.clear(), large.clear()
        mixed = system.draw(sight._replace(sentence=new), noise_of(6)).chunk
        assert (sum(small), sum(large)) == (5, 1)
        torch.testing.assert_close(mixed[2], system.large(sight)[2])
        torch.testing.assert_close(mixed[[0, 1, 3, 4, 5]], known[[0, 1, 3, 4, 5]])


class Stage:
    """The toy world as the training loop meets it."""

    def __init__(self, system: NanoVla) -> None:
        self.system = system

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.system.parameters())

    def batches(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        while True:
            yield {"seed": np.array(rng.integers(1000))}

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        sight, labels = toy_batch(8, int(batch["seed"]))
        return self.system.losses(sight, labels)


def test_evidence_reaches_the_weights_that_are_kept(tmp_path: Path) -> None:
    """Training keeps the moving average of parameters; trials aren't averaged but counted."""
    system = make()
    bounds = LoopConfig("system", 0.0, 3, 1e-3, 1, 0.0, 1.0, 0.9, {"small": 1.0, "large": 1.0}, 0)
    loop = Loop(system, Stage(system), bounds, tmp_path, lambda model: {})
    loop.run()
    kept = dict(loop.average.state_dict())
    assert float(system.router.trials.sum()) > 0 and torch.equal(kept["router.trials"], system.router.trials)
    assert not torch.equal(kept["small.word.weight"], system.small.word.weight)


def test_routers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"confidence in 0\.\.1"):
        BetaRouterConfig(confidence=1.5).check()
