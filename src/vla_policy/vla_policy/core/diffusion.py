"""Denoising diffusion of action chunks (Chi et al. 2023, Diffusion Policy; Octo Model Team 2024).

Forward, Ho et al. 2020, DDPM, eq. 4: x_t = sqrt(a_t) data + sqrt(1 - a_t) noise, a_t the running product of 1 - beta.
Backward, DDPM eq. 6 and 7 in all steps, or Song et al. 2021, DDIM, eq. 12 and 16 in any number of steps: eta = 0
follows the noise without drawing more, eta = 1 draws as much as DDPM and with all steps is DDPM.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vla_core.errors import ConfigError, UnknownNameError

#: What a network says of chunks (B,T,D) at times int64 (B,).
Predict = Callable[[Tensor, Tensor], Tensor]

SCHEDULES = ("cosine", "linear")
PREDICTIONS = ("epsilon", "sample", "v")
LARGEST_BETA = 0.999  # Nichol & Dhariwal 2021, section 3.2


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """How noise is added, and what is predicted.

    Attributes:
        schedule: 'cosine' (Nichol & Dhariwal 2021, eq. 17; Diffusion Policy, Octo) or 'linear' (DDPM, section 4).
        steps: Times of the forward process: 100 in Diffusion Policy, 1000 in DDPM, 20 in Octo.
        prediction: 'epsilon', the noise; 'sample', the data; 'v', their mixture by Salimans & Ho 2022, section 4.
        clip: Largest normalised action, which predicted samples are clipped to: the first steps divide by nearly 0.
    """

    schedule: str
    steps: int
    prediction: str
    clip: float = math.inf


class Split(NamedTuple):
    """The two parts that a noisy chunk consists of, as predicted, (B,T,D) each."""

    sample: Tensor
    epsilon: Tensor


def betas(schedule: str, steps: int) -> Tensor:
    """Variance added per step, float64 (steps,), in 0..LARGEST_BETA.

    The linear one runs from 1e-4 to 0.02 for 1000 steps, and with fewer steps is steeper by as much, so that as little
    of the data is left at the end.

    Raises:
        UnknownNameError: another schedule.
    """
    if schedule not in SCHEDULES:
        raise UnknownNameError("noise schedule", schedule, SCHEDULES)
    if schedule == "linear":
        rising = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)
        return rising.clamp(max=LARGEST_BETA)
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    left = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - left[1:] / left[:-1]).clamp(0.0, LARGEST_BETA)


class Diffusion:
    """The process of one configuration, on normalised chunks (B,T,D) at times int64 (B,), 0 the least noisy.

    Attributes:
        alpha_bar: Share of the data's variance left at every time, float64 (steps,).
    """

    def __init__(self, config: DiffusionConfig) -> None:
        """Prepare the schedule.

        Raises:
            ConfigError: unknown schedule or prediction, no steps, or a clip that is not positive.
        """
        if config.prediction not in PREDICTIONS:
            raise UnknownNameError("prediction", config.prediction, PREDICTIONS)
        if config.steps < 1 or not config.clip > 0:
            got = f"{config.steps} diffusion steps, clip {config.clip}"
            raise ConfigError(got, "at least one step, clip > 0", "mend the preset")
        self.config = config
        self.alpha_bar = torch.cumprod(1 - betas(config.schedule, config.steps), 0)
        self._and_data = torch.cat([self.alpha_bar, torch.ones(1, dtype=torch.float64)])  # time -1 is the data

    def sample_time(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Times int64 (count,), uniform, for training."""
        return torch.randint(self.config.steps, (count,), device=device)

    def q_sample(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What becomes of data (B,T,D) by `time`: q(x_t | x_0), DDPM eq. 4."""
        kept, added = self._weights(time, data)
        return kept * data + added * noise

    def target(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the network shall say of `q_sample` (B,T,D); the loss is the mean square of the difference."""
        match self.config.prediction:
            case "epsilon":
                return noise
            case "sample":
                return data
            case _:
                kept, added = self._weights(time, data)
                return kept * noise - added * data

    def split(self, x: Tensor, predicted: Tensor, time: Tensor) -> Split:
        """Sample and noise that a prediction says x (B,T,D) consists of; they add up to x after clipping too."""
        kept, added = self._weights(time, x)
        match self.config.prediction:
            case "epsilon":
                sample = (x - added * predicted) / kept
            case "sample":
                sample = predicted
            case _:
                sample = kept * x - added * predicted
        sample = sample.clamp(-self.config.clip, self.config.clip)
        return Split(sample, (x - kept * sample) / added)

    def ddpm_step(self, x: Tensor, predicted: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """From `time` to the time before: the posterior of DDPM eq. 6 and 7, with its variance (section 3.2)."""
        now, before = self._alpha_bar(time, x), self._alpha_bar(time - 1, x)
        beta = 1 - now / before
        of_sample = before.sqrt() * beta / (1 - now)
        of_x = (1 - beta).sqrt() * (1 - before) / (1 - now)
        deviation = ((1 - before) / (1 - now) * beta).sqrt()
        sample = self.split(x, predicted, time).sample
        return of_sample.to(x) * sample + of_x.to(x) * x + deviation.to(x) * noise

    def ddim_step(
        self, x: Tensor, predicted: Tensor, time: Tensor, earlier: Tensor, noise: Tensor, eta: float
    ) -> Tensor:
        """From `time` to any `earlier` one (B,), -1 being the data: DDIM eq. 12, with the deviation of eq. 16."""
        now, then = self._alpha_bar(time, x), self._alpha_bar(earlier, x)
        deviation = eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        direction = (1 - then - deviation**2).clamp(min=0.0).sqrt()
        sample, epsilon = self.split(x, predicted, time)
        return then.sqrt().to(x) * sample + direction.to(x) * epsilon + deviation.to(x) * noise

    def times(self, steps: int) -> list[int]:
        """Evenly spaced, from the noisiest to 0 (Lin et al. 2024, section 3.3: the noisiest must be among them).

        Raises:
            ConfigError: no steps, or more than there are times.
        """
        if not 1 <= steps <= self.config.steps:
            raise ConfigError(f"{steps} sampling steps", f"1..{self.config.steps}", "mend the preset's `decoding`")
        return [round(time) for time in torch.linspace(self.config.steps - 1, 0, steps, dtype=torch.float64).tolist()]

    def sample(
        self,
        predict: Predict,
        noise: Tensor,
        steps: int,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        further: Tensor | None = None,
    ) -> Tensor:
        """From noise to chunks (B,T,D) by DDIM; eta = 1 with all steps is DDPM.

        Args:
            predict: The network, called `steps` times.
            noise: (B,T,D), standard normal.
            steps: How many, at most those of the process.
            eta: Share of DDPM's noise that is drawn at every step, 0..1.
            generator: For that noise.
            further: That noise, drawn before, (steps,B,T,D).

        Raises:
            ConfigError: as `times`.
        """
        x, times = noise, self.times(steps)
        for i, (now, then) in enumerate(zip(times, [*times[1:], -1], strict=True)):
            time, earlier = (torch.full(noise.shape[:1], t, device=noise.device) for t in (now, then))
            drawn = torch.zeros_like(x)
            if eta > 0 and further is not None:
                drawn = further[i]
            elif eta > 0:
                drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x = self.ddim_step(x, predict(x, time), time, earlier, drawn, eta)
        return x

    def _alpha_bar(self, time: Tensor, like: Tensor) -> Tensor:
        """Float64 (B,1,1): differences from 1 and from each other must not be rounded."""
        return self._and_data.to(time.device)[time].view(-1, *[1] * (like.dim() - 1))

    def _weights(self, time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of data and noise, (B,1,1)."""
        alpha_bar = self._alpha_bar(time, like)
        return alpha_bar.sqrt().to(like), (1 - alpha_bar).sqrt().to(like)
