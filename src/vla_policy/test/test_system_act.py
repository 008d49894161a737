"""ACT: the style encoder is for training alone; z = 0 decides, and one z moves both arms."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, distributions

from vla_core.contract import load_contract
from vla_policy.core import objectives
from vla_policy.core.preset import load_preset
from vla_policy.core.sight import Sight
from vla_policy.core.systems.act import Act, ActConfig
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import Labels
from vla_policy.training.toy_world import SIZES, detours, fitted, learn, miss_cm, toy_batch, two_mode_batch

CONFIG = ActConfig(
    tokens={"text": False, "film": True}, width=32, heads=4, style=8, style_layers=1, encoder_layers=1, decoder_layers=1
)  # fmt: skip


def make() -> Act:
    torch.manual_seed(0)
    system = fitted(Act(CONFIG, SIZES))
    assert isinstance(system, Act)
    return system


@lru_cache(maxsize=1)
def trained() -> Act:
    """In the world of two modes."""
    system = make()
    learn(system, 260, rows=64, rate=4e-3, batch=two_mode_batch, weights={"kl": 0.05})
    return system.eval()


def noise(rows: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(seed))


def test_it_learns_to_reach_what_is_named() -> None:
    assert miss_cm(trained()) < 0.5 * miss_cm(make())


@torch.no_grad()
def test_z_is_zero_and_so_the_chunk_is_the_same_whatever_the_noise() -> None:
    system, (sight, _) = trained(), toy_batch(3)
    drawn = system.draw(sight, noise(3))
    assert torch.equal(system.draw(sight, noise(3, 2)).chunk, drawn.chunk) and drawn.passes == 1
    assert torch.equal(system.decode(sight, torch.zeros(3, CONFIG.style)), drawn.chunk)


@torch.no_grad()
def test_the_style_encoder_is_dropped_at_inference() -> None:
    system, (sight, _) = make().eval(), toy_batch(3)
    chunk = system.draw(sight, noise(3)).chunk
    system.style = None
    assert torch.equal(system.draw(sight, noise(3)).chunk, chunk)


def test_without_style_chunks_run_between_the_modes() -> None:
    """z = 0 says one thing for one observation, and L1 has no reason to choose a side: Diffusion Policy and Octo do."""
    off = detours(trained())
    assert float((off.abs() < 0.65).float().mean()) > 0.3


@torch.no_grad()
def test_unknown_steps_are_no_style() -> None:
    system, (sight, labels) = make().eval(), toy_batch(2)
    assert system.style is not None
    known = labels.known.clone()
    known[:, 5:] = False
    chunk = labels.chunk.clone()
    first = system.style(sight.state, chunk, known)
    chunk[:, 5:] = 100.0
    torch.testing.assert_close(system.style(sight.state, chunk, known).mean, first.mean)
    assert not torch.allclose(system.style(sight.state, chunk, labels.known).mean, first.mean, atol=1e-3)


def test_the_divergence_is_that_of_normal_distributions() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 8), torch.randn(5, 8)
    prior = distributions.Normal(torch.zeros(8), torch.ones(8))
    expected = distributions.kl_divergence(distributions.Normal(mean, (0.5 * log_variance).exp()), prior)
    torch.testing.assert_close(objectives.kl_to_standard_normal(mean, log_variance), expected.sum(-1).mean())


def test_the_preset_weighs_the_divergence_as_the_paper_does() -> None:
    preset = load_preset("act")
    assert preset.training["losses"] == {"l1": 1.0, "kl": 10.0} and preset.model["style"] == 32


ALOHA = load_contract("aloha")
LEFT = [ALOHA.action_names.index(name) for name in ALOHA.action_names if name.startswith("left_")]
RIGHT = [ALOHA.action_names.index(name) for name in ALOHA.action_names if name.startswith("right_")]
TWO_ARMS = Sizes(
    horizon=20, action_width=len(ALOHA.action_names), state=len(ALOHA.state_names), views=len(ALOHA.cameras), names=3,
    features=8, generic=2, text=16, sentence=12,
)  # fmt: skip


def hand_over(rows: int, seed: int, history: int = 1) -> tuple[Sight, Labels]:
    """Both arms leave together, at a time that nothing tells: all joints of the left forwards, of the right back."""
    rng = torch.Generator().manual_seed(seed)
    one, _ = toy_batch(rows, seed)
    views = [0, 1, 1]
    state = torch.randn(rows, TWO_ARMS.state, generator=rng)
    start = 4.0 + 12.0 * torch.rand(rows, 1, 1, generator=rng)
    gone = torch.sigmoid(torch.arange(20.0)[None, :, None] - start)
    way = torch.where(torch.tensor([i in LEFT for i in range(14)]), 1.0, -1.0)
    sight = one._replace(pooled=one.pooled[:, views], uv=one.uv[:, views], presence=one.presence[:, views],
                         generic=one.generic[:, views], state=state)  # fmt: skip
    return sight, Labels(gone * way, torch.ones(rows, 20, dtype=torch.bool))


@torch.no_grad()
def test_z_says_how_a_demonstration_was_done() -> None:
    """Decoded in its own style, a chunk leaves when the demonstration did; no observation tells when."""
    system, (sight, labels) = two_armed(), hand_over(32, 3)
    assert system.style is not None
    z = system.style(sight.state, system.normalised(labels.chunk), labels.known).mean
    when, again = (chunk.abs().mean((1, 2)) for chunk in (labels.chunk, system.physical(system.decode(sight, z))))
    assert float(torch.corrcoef(torch.stack([when, again]))[0, 1]) > 0.9


@torch.no_grad()
def test_one_z_moves_both_arms_in_step() -> None:
    """14 joint targets of aloha.yaml: whatever z, left and right leave at the same time; other z, another time."""
    assert (len(LEFT), len(RIGHT), ALOHA.action_space) == (7, 7, "joint_position")
    system = two_armed()
    sight, labels = hand_over(32, 3)
    times = []
    for seed in range(4):
        z = torch.randn(32, system.config.style, generator=torch.Generator().manual_seed(seed))
        chunk = system.physical(system.decode(sight, z))
        way = labels.chunk[:, -1:]
        progress = chunk / way  # 0..1 of every joint's own way
        left, right = progress[..., LEFT].mean(-1), progress[..., RIGHT].mean(-1)
        times.append(torch.stack([left.sum(1), right.sum(1)]))
    left, right = torch.stack(times, 1)  # steps spent at the goal
    assert float(left.std()) > 1.0
    assert float((left - right).abs().median()) < 0.1 * float(left.std())
    drawn = system.draw(sight, torch.randn(32, 20, 14)).chunk
    assert drawn.shape == (32, 20, 14) and bool(torch.isfinite(drawn).all())


@lru_cache(maxsize=1)
def two_armed() -> Act:
    with torch.enable_grad():
        torch.manual_seed(0)
        system = Act(replace(CONFIG, style=2), TWO_ARMS)
        learn(system, 240, rows=16, batch=hand_over, weights={"kl": 0.001})
    return system.eval()
