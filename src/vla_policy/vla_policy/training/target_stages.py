"""Training of TargetFlow, as stages of the loop: first the flow head, then the corrector of its chunks (A2C2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vla_core.contract import Contract
from vla_core.types import Float32
from vla_policy.core import flow
from vla_policy.core.models.target_flow import TargetFlow
from vla_policy.core.processors import action_transform
from vla_policy.core.target_policy import SituationReader
from vla_policy.training.dataset import Batch
from vla_policy.training.losses import correction_losses

#: Random numbers and how many rows → a batch with the arrays that the stage names.
Sampler = Callable[[np.random.Generator, int], Batch]


@dataclass(frozen=True, slots=True)
class TargetStageConfig:
    """Options of one stage."""

    steps: int
    batch: int
    learning_rate: float
    warmup_steps: int


class FlowStage:
    """The flow head, with given prefixes (training-time RTC) and with targets older than the tool (VLASH).

    Args:
        sampler: Of state (B,S), age_s (B,), absolute actions (B,T,A) and how many of their steps are given (B,).
    """

    def __init__(self, model: TargetFlow, contract: Contract, sampler: Sampler, batch: int) -> None:
        self.model, self._sampler, self._batch = model, sampler, batch
        self._transform, self._reader = action_transform(contract), SituationReader.of(contract)

    def parameters(self) -> list[nn.Parameter]:
        """Encoder and head."""
        return [p for name, p in self.model.named_parameters() if not name.startswith("corrector")]

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless fresh states."""
        while True:
            found = self._sampler(rng, self._batch)
            yield {**found, "chunk": self._transform.forward(found["actions"], found["state"])}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Flow matching."""
        model = self.model
        data = (torch.from_numpy(batch["chunk"]) - model.action_mean) / model.action_std
        keys_values = model.keys_values(self._reader.read(batch["state"], batch["age_s"]))
        given = torch.arange(data.shape[1]) < torch.from_numpy(batch["given"])[:, None]
        time = torch.where(given, 1.0, flow.sample_time(len(data))[:, None])
        point, velocity = flow.path(data, torch.randn_like(data), time)
        error = (model.head.velocity(point, time, keys_values) - velocity).square()
        return {"flow": (error * ~given[..., None]).sum() / ((~given).sum() * data.shape[2])}


class CorrectorStage:
    """The corrector, on the flow head's own chunks; the flow head stays as it is.

    Args:
        sampler: Of the present state (B,S), what is left of a chunk `base` (B,N,A) with its first step's number
            `first` (1,), and what the expert would do now `actions` (B,N,A).
    """

    def __init__(self, model: TargetFlow, contract: Contract, sampler: Sampler, batch: int) -> None:
        self.model, self._sampler, self._batch = model, sampler, batch
        self._transform, self._reader = action_transform(contract), SituationReader.of(contract)

    def parameters(self) -> list[nn.Parameter]:
        """The corrector's."""
        return list(self.model.corrector.parameters())

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless; one `first` per batch."""
        while True:
            found = self._sampler(rng, self._batch)
            relative = {key: self._transform.forward(found[key], found["state"]) for key in ("base", "actions")}
            yield {**found, **relative}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See correction_losses."""
        base, wanted = (torch.from_numpy(batch[key]) for key in ("base", "actions"))
        now = self._reader.read(batch["state"], np.zeros(len(base), np.float32))
        corrected = self.model.correct(base, int(batch["first"][0]), now)
        return correction_losses(corrected, base, wanted, self.model.action_std)


def fit_normalisation(model: TargetFlow, chunks: Float32) -> None:
    """Mean and standard deviation of relative chunks (N,T,D), per step; what hardly varies keeps a floor."""
    model.action_mean.copy_(torch.from_numpy(chunks.mean(0)))
    model.action_std.copy_(torch.from_numpy(chunks.std(0)).clamp(min=0.05))


@torch.no_grad()
def sample_chunks(model: TargetFlow, contract: Contract, states: Float32, steps: int, seed: int) -> Float32:
    """The flow head's absolute chunks (N,T,A) for state vectors (N,S)."""
    transform, reader, rows = action_transform(contract), SituationReader.of(contract), []
    generator = torch.Generator().manual_seed(seed)
    for part in np.array_split(states, max(1, len(states) // 1024)):
        keys_values = model.keys_values(reader.read(part, np.zeros(len(part), np.float32)))
        noise = torch.randn(len(part), contract.horizon, transform.width, generator=generator)
        drawn = flow.integrate(lambda x, t, kv=keys_values: model.head.velocity(x, t, kv), noise, steps)  # type: ignore[misc]
        rows.append(transform.inverse((drawn * model.action_std + model.action_mean).numpy(), part))
    return np.concatenate(rows)
