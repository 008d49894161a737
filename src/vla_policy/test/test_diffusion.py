"""Denoising diffusion: what holds for every schedule, prediction and sampler."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core.diffusion import LARGEST_BETA, PREDICTIONS, SCHEDULES, Diffusion, DiffusionConfig, betas

schedules, predictions = st.sampled_from(SCHEDULES), st.sampled_from(PREDICTIONS)
seeds = st.integers(0, 2**31)


def process(
    schedule: str = "cosine", steps: int = 100, prediction: str = "epsilon", clip: float = math.inf
) -> Diffusion:
    return Diffusion(DiffusionConfig(schedule, steps, prediction, clip))


def chunks(seed: int, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Data and noise (rows,5,3)."""
    generator = torch.Generator().manual_seed(seed)
    data, noise = torch.randn(2, rows, 5, 3, generator=generator, dtype=torch.float64)
    return data, noise


class Gaussian:
    """The exact prediction where the data are normal, mean and deviation given (conjugate posterior of x_0)."""

    def __init__(self, diffusion: Diffusion, mean: float, std: float) -> None:
        self.diffusion, self.mean, self.std, self.calls = diffusion, mean, std, 0

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        self.calls += 1
        left = self.diffusion.alpha_bar[time].view(-1, 1, 1)
        spread = left * self.std**2 + 1 - left
        data = self.mean + left.sqrt() * self.std**2 / spread * (x - left.sqrt() * self.mean)
        noise = (x - left.sqrt() * data) / (1 - left).sqrt()
        return self.diffusion.target(data, noise, time)


@given(schedules, st.integers(2, 1000))
def test_ever_less_of_the_data_is_left(schedule: str, steps: int) -> None:
    beta, left = betas(schedule, steps), process(schedule, steps).alpha_bar
    assert bool((beta > 0).all()) and float(beta.max()) <= LARGEST_BETA
    torch.testing.assert_close(left[1:], left[:-1] * (1 - beta[1:]))
    assert bool((left.diff() < 0).all()) and float(left[-1]) < 0.03


def test_schedules_are_the_published_ones() -> None:
    """DDPM: 1e-4 to 0.02 in 1000 steps. Nichol & Dhariwal: the square of a cosine, half of the noise at mid-time."""
    linear = betas("linear", 1000)
    assert (float(linear[0]), float(linear[-1])) == pytest.approx((1e-4, 0.02))
    left = process("cosine", 1000).alpha_bar
    expected = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(left[499]) == pytest.approx(expected) and float(betas("cosine", 1000)[-1]) == LARGEST_BETA


@given(schedules, seeds)
def test_noise_comes_in_small_steps_or_at_once(schedule: str, seed: int) -> None:
    """q(x_t | x_0) has the mean and variance of t + 1 single steps q(x_t | x_t-1)."""
    diffusion, beta = process(schedule, 50), betas(schedule, 50)
    data, _ = chunks(seed, rows=1)
    mean, variance, zero = data, 0.0, torch.zeros_like(data)
    for t in range(50):
        mean, variance = (1 - beta[t]).sqrt() * mean, (1 - beta[t]) * variance + beta[t]
        time = torch.tensor([t])
        torch.testing.assert_close(diffusion.q_sample(data, zero, time), mean)
        torch.testing.assert_close(diffusion.q_sample(zero, zero + 1, time) ** 2, zero + variance)


@given(schedules, predictions, seeds)
def test_a_right_prediction_takes_a_chunk_apart(schedule: str, prediction: str, seed: int) -> None:
    diffusion = process(schedule, 100, prediction)
    data, noise = chunks(seed)
    time = torch.tensor([0, 20, 70, 95])
    x = diffusion.q_sample(data, noise, time)
    sample, epsilon = diffusion.split(x, diffusion.target(data, noise, time), time)
    torch.testing.assert_close(sample, data, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(epsilon, noise, atol=1e-6, rtol=1e-6)


@given(schedules, predictions, seeds, st.integers(1, 40), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_sampler_lands_on_a_single_point(
    schedule: str, prediction: str, seed: int, steps: int, eta: float
) -> None:
    """Data that are one chunk: the oracle knows the noise, and any number of steps leads there."""
    diffusion = process(schedule, 40, prediction)
    point, noise = chunks(seed)

    def oracle(x: Tensor, time: Tensor) -> Tensor:
        left = diffusion.alpha_bar[time].view(-1, 1, 1)
        return diffusion.target(point, (x - left.sqrt() * point) / (1 - left).sqrt(), time)

    out = diffusion.sample(oracle, noise, steps, eta, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(out, point, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddim_recovers_a_gaussian_from_its_score(schedule: str, prediction: str) -> None:
    """DDIM maps noise to data along an affine path, so the mean and deviation of its result are read off exactly."""
    diffusion = process(schedule, 1000, prediction)
    noise = torch.tensor([[[0.0]], [[1.0]], [[-2.0]]], dtype=torch.float64)
    off = []
    for steps in (10, 100, 1000):
        exact = Gaussian(diffusion, mean=0.7, std=0.3)
        out = diffusion.sample(exact, noise, steps)[:, 0, 0]
        assert exact.calls == steps
        mean, std = float(out[0]), float(out[1] - out[0])
        assert float(out[2]) == pytest.approx(mean - 2 * std)
        off.append(abs(mean - 0.7) + abs(std - 0.3))
    assert off[2] < 0.01 and off[2] < off[1] < off[0] < 0.2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ancestral_sampling_recovers_a_gaussian(schedule: str) -> None:
    diffusion, generator = process(schedule, 100), torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 1, 1, generator=generator, dtype=torch.float64)
    out = diffusion.sample(Gaussian(diffusion, mean=-0.4, std=0.5), noise, 100, 1.0, generator)
    assert float(out.mean()) == pytest.approx(-0.4, abs=0.02) and float(out.std()) == pytest.approx(0.5, abs=0.03)


@given(schedules, predictions, seeds, st.sampled_from([math.inf, 1.0]))
def test_ddim_with_all_steps_and_all_noise_is_ddpm(schedule: str, prediction: str, seed: int, clip: float) -> None:
    """DDIM, section 4.1: eta = 1 is the original process. The predictions are any, the clipped ones too."""
    diffusion = process(schedule, 30, prediction, clip)
    predicted, x = chunks(seed, rows=30)
    noise, time = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed)), torch.arange(30)
    ancestral = diffusion.ddpm_step(x, predicted, time, noise)
    torch.testing.assert_close(ancestral, diffusion.ddim_step(x, predicted, time, time - 1, noise, eta=1.0))


def test_ddim_without_noise_repeats_itself_and_ancestral_sampling_does_not() -> None:
    diffusion, (_, noise) = process(), chunks(0)
    model = Gaussian(diffusion, 0.0, 1.0)
    torch.testing.assert_close(diffusion.sample(model, noise, 10), diffusion.sample(model, noise, 10), rtol=0, atol=0)
    first, second = (diffusion.sample(model, noise, 10, 1.0, torch.Generator().manual_seed(i)) for i in (0, 1))
    assert not torch.allclose(first, second, atol=0.1)


def test_a_clip_holds_what_the_first_step_blows_up() -> None:
    """At the noisiest time of the cosine schedule a small mistake about the noise is divided by nearly zero."""
    noise = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))

    def mistaken(x: Tensor, _time: Tensor) -> Tensor:
        return 0.9 * x

    assert float(process(clip=1.0).sample(mistaken, noise, 1).abs().max()) <= 1.0
    assert float(process().sample(mistaken, noise, 1).abs().max()) > 100


def test_single_precision_is_enough() -> None:
    diffusion, (_, noise) = process("linear", 1000), chunks(0)
    model = Gaussian(diffusion, 0.2, 0.5)
    single = diffusion.sample(lambda x, t: model(x.double(), t).float(), noise.float(), 50)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), diffusion.sample(model, noise, 50), atol=1e-4, rtol=1e-4)


@given(st.integers(1, 200), st.data())
def test_sampling_times_fall_from_the_noisiest_to_the_least_noisy(steps: int, draw: st.DataObject) -> None:
    few = draw.draw(st.integers(1, steps))
    times = process(steps=steps).times(few)
    assert len(times) == few and times[0] == steps - 1 and (few == 1 or times[-1] == 0)
    assert all(a > b for a, b in pairwise(times))


def test_training_times_are_all_times() -> None:
    torch.manual_seed(0)
    assert sorted(set(process(steps=7).sample_time(500).tolist())) == list(range(7))


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="cosine, linear"):
        process("sigmoid")
    with pytest.raises(UnknownNameError, match="epsilon, sample, v"):
        process(prediction="score")
    for steps, clip in ((0, 1.0), (10, 0.0), (10, math.nan)):
        with pytest.raises(ConfigError, match="at least one step"):
            process(steps=steps, clip=clip)
    with pytest.raises(ConfigError, match=r"101 sampling steps; expected 1\.\.100"):
        process().times(101)
