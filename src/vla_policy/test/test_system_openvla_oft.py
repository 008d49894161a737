"""OpenVLA-OFT: one pass for all K D values, in both directions; OFT+: language reaches the visual tokens by FiLM."""

from __future__ import annotations

from typing import Any

import torch

from vla_policy.core.systems.openvla_oft import OpenVlaOft, OpenVlaOftConfig
from vla_policy.core.systems.system import Labels
from vla_policy.core.words import BEGIN, END, PAD
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 48, "layers": 2, "heads": 8, "kv_heads": 4, "head_width": 8, "hidden": 64}
KNOTS = (1, 3, 5, 7)
VALUES = len(KNOTS) * SIZES.action_width


def make(**tokens: Any) -> OpenVlaOft:
    torch.manual_seed(0)
    backbone = {"block": "small_vlm", "tokens": tokens, "decoder": DECODER, "vocabulary": 64}
    system = fitted(OpenVlaOft(OpenVlaOftConfig(backbone, {"hidden": 48, "layers": 1}, KNOTS), SIZES))
    assert isinstance(system, OpenVlaOft)
    return system


def test_it_learns_to_reach_what_is_named() -> None:
    system = make()
    before = miss_cm(system)
    learn(system, 220)
    assert miss_cm(system) < 0.65 * before


@torch.no_grad()
def test_one_pass_gives_all_values_where_autoregression_takes_one_each() -> None:
    system = make().eval()
    sight, _ = toy_batch(2)
    widths: list[int] = []
    system.backbone.decoder.register_forward_hook(lambda _, args, __: widths.append(args[0].shape[1]))
    drawn = system.draw(sight, torch.zeros(2, SIZES.horizon, SIZES.action_width))
    prefix = system.backbone.see(sight)[0].shape[1]
    assert widths == [prefix, VALUES] and drawn.passes == 1
    torch.testing.assert_close(system.knots.encode(drawn.chunk), system.values(sight))
    allowed = torch.ones(64, dtype=torch.bool)
    allowed[[PAD, END]] = False
    said, passes = system.backbone.say(system.backbone.read(sight), torch.full((2,), BEGIN), VALUES, allowed)
    assert said.shape == (2, VALUES) and passes >= 20 * drawn.passes


def test_every_action_token_sees_every_other_one() -> None:
    """Under a causal mask the first value could not depend on the place of the last."""
    system = make()
    sight, _ = toy_batch(1)
    for step, other in ((0, len(KNOTS) - 1), (len(KNOTS) - 1, 0)):
        system.zero_grad()
        system.values(sight)[0, step].sum().backward()
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
    assert torch.equal(plain.values(sight), plus.values(sight))


def test_film_alone_can_bring_the_language_in() -> None:
    """The same scenes under three sentences, and no word in the sequence: who can't hear can only guess the middle."""
    scenes = 2
    sight, labels = toy_batch(scenes, 3)
    sight = sight.repeated(3)._replace(sentence=torch.eye(3, SIZES.sentence).repeat_interleave(scenes, 0))
    named = torch.arange(3).repeat_interleave(scenes)
    way = (sight.xyz[torch.arange(3 * scenes), named] - sight.tool) / 0.1
    chunk = labels.chunk.repeat(3, 1, 1)
    chunk[..., :3] = torch.linspace(0, 1, SIZES.horizon)[None, :, None] * way[:, None]
    system = make(text=False, film=True)
    wanted = Labels(system.normalised(chunk), torch.ones(chunk.shape[:2], dtype=torch.bool))
    middle = wanted.chunk.view(3, scenes, *chunk.shape[1:]).median(0).values.repeat(3, 1, 1)
    deaf = float((middle - wanted.chunk).abs().mean())
    optimiser = torch.optim.AdamW(system.parameters(), lr=3e-3)
    for _ in range(160):
        loss = system.losses(sight, wanted)["l1"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(loss.detach()) < 0.8 * deaf
    with torch.no_grad():
        torch.nn.init.zeros_(system.backbone.see.film.to_both.weight)
        torch.nn.init.zeros_(system.backbone.see.film.to_both.bias)
        first, second, third = system.values(sight).view(3, scenes, len(KNOTS), SIZES.action_width)
    assert torch.equal(first, second) and torch.equal(second, third), "it was the only way in"
