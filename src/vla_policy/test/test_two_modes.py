"""What each kind of head makes of demonstrations that go left or right of an obstacle, never through it.

The obstacle is at `c`, the chunk is two steps of one dimension, both about c - 1 or both about c + 1. Heads that
give a mean run into it, those that draw a sample pass it (Chi et al. 2023, Diffusion Policy, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_policy.core import flow
from vla_policy.core.diffusion import Diffusion, DiffusionConfig
from vla_policy.core.masked_denoising import MaskedDenoisingConfig, corrupt, denoise
from vla_policy.core.tokenizers.bins import Bins

HORIZON, COUNT, SPREAD = 2, 48, 0.05
MASK = COUNT
ROWS = 1000


def demonstrations(count: int) -> tuple[Tensor, Tensor]:
    """Obstacles (count,1) and chunks (count,2,1)."""
    obstacle = torch.rand(count, 1) - 0.5
    side = torch.randint(2, (count, 1)) * 2.0 - 1
    return obstacle, (obstacle + side + SPREAD * torch.randn(count, HORIZON))[..., None]


def shares(obstacle: Tensor, chunks: Tensor) -> tuple[float, float, float]:
    """Shares of chunks (N,2,1) that pass left, that pass right, and that start in the middle between the two."""
    off = chunks[..., 0] - obstacle
    left, right = ((off - side).abs().amax(1) < 0.35 for side in (-1, 1))
    between = off[:, 0].abs() < 0.65
    return float(left.float().mean()), float(right.float().mean()), float(between.float().mean())


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, outputs))


def train(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(*demonstrations(256)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()


def features(time: Tensor) -> Tensor:
    """(N,1) in 0..1 to (N,8)."""
    angle = time * torch.pi * torch.tensor([0.5, 1.0, 2.0, 4.0])
    return torch.cat([angle.sin(), angle.cos()], -1)


@lru_cache(maxsize=1)
def obstacles() -> Tensor:
    torch.manual_seed(1)
    return demonstrations(ROWS)[0]


@lru_cache(maxsize=1)
def bins() -> Bins:
    torch.manual_seed(2)
    return Bins.fit(demonstrations(20_000)[1].reshape(-1, 1).numpy(), "quantile", COUNT)


def regression(loss: Callable[[Tensor, Tensor], Tensor], seed: int) -> Tensor:
    """Chunks (ROWS,2,1) of a network that gives one chunk."""
    torch.manual_seed(seed)
    model = mlp(1, HORIZON)
    train(model, lambda c, chunk: loss(model(c), chunk[..., 0]), 300)
    with torch.no_grad():
        out: Tensor = model(obstacles())[..., None]
    return out


@lru_cache(maxsize=1)
def token_model() -> Callable[[Tensor, Tensor], Tensor]:
    """Logits (B,2,COUNT) of both tokens by obstacle and by what is visible of the tokens (B,2)."""
    torch.manual_seed(0)
    model = mlp(1 + HORIZON * (COUNT + 1), HORIZON * COUNT)

    def logits(obstacle: Tensor, seen: Tensor) -> Tensor:
        visible = F.one_hot(seen, COUNT + 1).float().flatten(1)
        out: Tensor = model(torch.cat([obstacle, visible], -1)).unflatten(-1, (HORIZON, COUNT))
        return out

    def loss(obstacle: Tensor, chunk: Tensor) -> Tensor:
        tokens = bins().encode(chunk)[..., 0]
        seen, asked = corrupt(tokens, MASK)
        return F.cross_entropy(logits(obstacle, seen)[asked], tokens[asked])

    train(model, loss, 500)
    return lambda obstacle, seen: logits(obstacle, seen).detach()


def drawn_tokens(rounds: int, temperature: float) -> Tensor:
    config = MaskedDenoisingConfig(rounds, temperature, "probability", threshold=0.0, largest_drop=1.0)
    start = torch.full((ROWS, HORIZON), MASK)
    model = token_model()
    out = denoise(lambda seen: model(obstacles(), seen), start, MASK, config, torch.Generator().manual_seed(0))
    return bins().decode(out.tokens[..., None])


@lru_cache(maxsize=1)
def denoiser() -> tuple[Diffusion, Callable[[Tensor, Tensor], Tensor]]:
    torch.manual_seed(0)
    diffusion, model = Diffusion(DiffusionConfig("cosine", 50, "epsilon", clip=2.0)), mlp(1 + HORIZON + 8, HORIZON)

    def predict(obstacle: Tensor, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = model(torch.cat([obstacle, x[..., 0], features(time[:, None] / 50)], -1))[..., None]
        return out

    def loss(obstacle: Tensor, chunk: Tensor) -> Tensor:
        noise, time = torch.randn_like(chunk), diffusion.sample_time(len(chunk))
        return F.mse_loss(predict(obstacle, diffusion.q_sample(chunk, noise, time), time), noise)

    train(model, loss, 800)
    return diffusion, lambda x, time: predict(obstacles(), x, time).detach()


@lru_cache(maxsize=1)
def flow_field() -> Callable[[Tensor, Tensor], Tensor]:
    torch.manual_seed(0)
    model = mlp(1 + HORIZON + 8, HORIZON)

    def velocity(obstacle: Tensor, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = model(torch.cat([obstacle, x[..., 0], features(time[:, None])], -1))[..., None]
        return out

    def loss(obstacle: Tensor, chunk: Tensor) -> Tensor:
        noise, time = torch.randn_like(chunk), flow.sample_time(len(chunk))
        point, wanted = flow.path(chunk, noise, time)
        return F.mse_loss(velocity(obstacle, point, time), wanted)

    train(model, loss, 800)
    return lambda x, time: velocity(obstacles(), x, time[:, 0]).detach()


def noise() -> Tensor:
    return torch.randn(ROWS, HORIZON, 1, generator=torch.Generator().manual_seed(3))


def test_the_mean_runs_into_the_obstacle() -> None:
    for seed in range(3):
        assert shares(obstacles(), regression(F.mse_loss, seed))[2] == 1.0


def test_l1_does_not_care_whether_it_runs_into_the_obstacle() -> None:
    """Every point between two equal modes is a median: the loss is the same there, and chance decides."""
    torch.manual_seed(0)
    obstacle, chunk = demonstrations(100_000)
    middle, left = (float((chunk[..., 0] - obstacle - place).abs().mean()) for place in (0.0, -0.8))
    assert abs(middle - left) < 0.01
    between = [shares(obstacles(), regression(F.l1_loss, seed))[2] for seed in range(8)]
    assert sum(between) / len(between) > 0.6


def test_the_mean_of_bins_runs_into_the_obstacle_and_their_draws_pass_it() -> None:
    """The same network, the same probabilities."""
    nothing_seen = torch.full((ROWS, HORIZON), MASK)
    probability = token_model()(obstacles(), nothing_seen).softmax(-1)
    assert shares(obstacles(), (probability @ bins().centres()[0])[..., None])[2] > 0.99
    for temperature in (0.0, 1.0):
        left, right, between = shares(obstacles(), drawn_tokens(HORIZON, temperature))
        assert between < 0.02 and left + right > 0.95 and min(left, right) > 0.2


def test_tokens_drawn_at_the_same_time_may_take_both_sides() -> None:
    """In one parallel pass each step chooses a side for itself, half of the time another one than its neighbour."""
    for temperature in (0.0, 1.0):
        left, right, between = shares(obstacles(), drawn_tokens(1, temperature))
        assert between < 0.02 and left + right < 0.85
    assert left + right < 0.6


def test_diffusion_passes_on_either_side() -> None:
    diffusion, predict = denoiser()
    for steps, eta, stray in ((50, 1.0, 0.05), (50, 0.0, 0.1), (10, 0.0, 0.15)):
        chunks = diffusion.sample(predict, noise(), steps, eta, torch.Generator().manual_seed(0))
        left, right, between = shares(obstacles(), chunks)
        assert between < stray and left + right > 1 - 1.5 * stray and min(left, right) > 0.3


def test_flow_matching_passes_on_either_side() -> None:
    left, right, between = shares(obstacles(), flow.integrate(flow_field(), noise(), 10))
    assert between < 0.15 and left + right > 0.8 and min(left, right) > 0.3


def test_one_euler_step_of_a_flow_is_the_mean() -> None:
    """From noise the best velocity leads to the mean of the data: drawing needs more than one step."""
    assert shares(obstacles(), flow.integrate(flow_field(), noise(), 1))[2] > 0.9
