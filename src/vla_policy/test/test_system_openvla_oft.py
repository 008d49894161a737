"""OpenVLA-OFT: one pass for all K D values, in both directions; OFT+: language reaches the visual tokens by FiLM."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_sights import SIZES, fitted, learn, miss_cm, toy_batch

from vla_policy.core.systems.openvla_oft import OpenVlaOft, OpenVlaOftConfig
from vla_policy.core.words import BEGIN, END, PAD

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
VALUES = SIZES.horizon * SIZES.action_width


def make(**tokens: Any) -> OpenVlaOft:
    torch.manual_seed(0)
    backbone = {"block": "small_vlm", "tokens": tokens, "decoder": DECODER, "vocabulary": 64}
    system = fitted(OpenVlaOft(OpenVlaOftConfig(backbone, {"hidden": 48, "layers": 1}), SIZES))
    assert isinstance(system, OpenVlaOft)
    return system


def test_it_learns_to_reach_what_is_named() -> None:
    system = make()
    before = miss_cm(system)
    learn(system, 150)
    assert miss_cm(system) < 0.4 * before


@torch.no_grad()
def test_one_pass_gives_all_values_where_autoregression_takes_one_each() -> None:
    system = make().eval()
    sight, _ = toy_batch(2)
    widths: list[int] = []
    system.backbone.decoder.register_forward_hook(lambda _, args, __: widths.append(args[0].shape[1]))
    drawn = system.draw(sight, torch.zeros(2, SIZES.horizon, SIZES.action_width))
    prefix = system.backbone.see(sight)[0].shape[1]
    assert widths == [prefix, VALUES] and drawn.passes == 1
    allowed = torch.ones(64, dtype=torch.bool)
    allowed[[PAD, END]] = False
    said, passes = system.backbone.say(system.backbone.read(sight), torch.full((2,), BEGIN), VALUES, allowed)
    assert said.shape == (2, VALUES) and passes >= 20 * drawn.passes


def test_every_action_token_sees_every_other_one() -> None:
    """Under a causal mask the first value could not depend on the place of the last."""
    system = make()
    sight, _ = toy_batch(1)
    for step, other in ((0, SIZES.horizon - 1), (SIZES.horizon - 1, 0)):
        system.zero_grad()
        system.chunk(sight)[0, step].sum().backward()
        grad = system.actions.step.grad
        assert grad is not None and bool((grad[other].abs() > 0).any())


@torch.no_grad()
def test_action_tokens_are_empty() -> None:
    """They bring nothing but their place: not what is seen, and no noise."""
    system, embedded = make().eval(), []
    extend = system.backbone.extend
    system.backbone.extend = lambda read, tokens, *rest: embedded.append(tokens) or extend(read, tokens, *rest)  # type: ignore[method-assign, func-returns-value]
    for seed in (0, 1):
        sight, _ = toy_batch(2, seed)
        first = system.draw(sight, torch.zeros(2, SIZES.horizon, SIZES.action_width)).chunk
        again = system.draw(sight, torch.randn(2, SIZES.horizon, SIZES.action_width)).chunk
        assert torch.equal(first, again)
    assert all(torch.equal(tokens[0], embedded[0][0]) and torch.equal(tokens[1], tokens[0]) for tokens in embedded)


@torch.no_grad()
def test_film_changes_nothing_at_the_start() -> None:
    plain, plus = make().eval(), make(film=True).eval()
    missing = plus.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["backbone.see.film.to_both.weight", "backbone.see.film.to_both.bias"]
    sight, _ = toy_batch(4)
    assert torch.equal(plain.chunk(sight), plus.chunk(sight))


@pytest.mark.parametrize("film", [True, False])
def test_film_alone_brings_the_language_in(film: bool) -> None:
    """No word stands in the sequence. With FiLM the right thing is reached, without it nobody can know which."""
    system = make(text=False, film=film)
    before = miss_cm(system)
    learn(system, 150)
    after = miss_cm(system)
    assert after < 0.4 * before if film else after > 0.6 * before
