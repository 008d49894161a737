"""What one training step is, for each stage.

`joint`: images to actions, everything end to end. `expert`: vision and language frozen, their output cached, only the
action side learns; a step costs a few percent of a joint one. `corrector`: everything else frozen, the residual head
learns to correct the policy's own chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_core.types import Float32
from vla_policy.core.blocks.fusion import Condition
from vla_policy.core.blocks.language import Reading
from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.core.processors import action_transform
from vla_policy.training import losses
from vla_policy.training.augment import augment, move_labels
from vla_policy.training.dataset import Batch, Dataset, shuffled
from vla_policy.training.disturbed_rows import DisturbedRows
from vla_policy.training.featurise import FROZEN, featurise, percept_rows
from vla_policy.training.future_rows import FutureRows
from vla_policy.training.texts import TextBank

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class StageConfig:
    """Options of one stage.

    Attributes:
        batch: Rows.
        learning_rate: Peak.
        warmup_steps: Steps up to it.
        flow_samples: Noise samples per frame.
        prefix_steps: Longest given prefix.
        longest_offset_steps: Chunks begin up to so many steps ahead, where the recipe says `future`.
        drift_m, gripper_steps: See DisturbedRows; of the stage `head`.
    """

    batch: int
    learning_rate: float
    warmup_steps: int
    flow_samples: int
    prefix_steps: int
    longest_offset_steps: int
    drift_m: float = 0.0
    gripper_steps: int = 0


@dataclass(frozen=True, slots=True)
class CorrectorConfig:
    """Options of the corrector's stage.

    Attributes:
        batch: Rows.
        learning_rate: Peak.
        warmup_steps: Steps up to it.
        bases: Frames whose chunks are corrected.
        frame_steps: Steps of a chunk between two frames of an episode.
    """

    batch: int
    learning_rate: float
    warmup_steps: int
    bases: int
    frame_steps: int


@dataclass(frozen=True, slots=True)
class Material:
    """What both stages work on."""

    dataset: Dataset
    instructions: TextBank
    objects: TextBank
    device: torch.device
    augmentation: dict[str, Any]
    objects_per_frame: int
    mixed: bool


class Stage(Protocol):
    """One stage: which parameters learn, from which batches, by which losses."""

    def parameters(self) -> list[nn.Parameter]:
        """Parameters that learn."""

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless batches, drawn in a background thread."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Every loss of one batch by name."""


def tensors(batch: Batch, device: torch.device) -> Tensors:
    """Arrays to tensors; positions of absent things become 0 instead of NaN, their masks say so."""
    out = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in batch.items()}
    return out | {name: out[name].nan_to_num() for name in ("role_uv", "role_xyz", "obj_uv") if name in out}


class JointStage:
    """Everything end to end on augmented images."""

    def __init__(self, model: KeypointFlow, material: Material, config: StageConfig) -> None:
        self.model, self.material, self.config = model, material, config

    def parameters(self) -> list[nn.Parameter]:
        """All of them."""
        return list(self.model.parameters())

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Images and labels."""
        dataset = self.material.dataset
        return (dataset.batch(index) for index in shuffled(dataset.train, self.config.batch, rng))

    def losses(self, batch: Batch) -> Tensors:
        """Grounding of roles and of named objects, and the action losses."""
        model, material = self.model, self.material
        data = tensors(batch, material.device)
        rgb, shift = augment(data["rgb"], **material.augmentation)
        features = model.see(rgb, material.mixed)
        reading = material.instructions.read(model, data["instruction"])
        percept, located = model.perceive(features, reading)
        uv, visible = move_labels(data["role_uv"], data["role_visible"], shift)
        role = losses.grounding_losses(located, uv, visible, model)
        named = self._object_losses(features, data, shift)
        condition = model.fusion(percept.moved(-shift), reading, data["state"], material.mixed)
        config = self.config
        action = losses.action_losses(model, condition, data, config.flow_samples, config.prefix_steps, material.mixed)
        return {**action, **{name: role[name] + named[name] for name in ("uv", "presence")},
                "heat": role["heat"], "object_heat": named["heat"]}  # fmt: skip

    def _object_losses(self, features: Tensor, data: Tensors, shift: Tensor) -> Tensors:
        """Names light up on their objects; one name more per frame, drawn at random, is mostly absent."""
        model, material = self.model, self.material
        names = data["obj_name"]
        order = torch.rand(names.shape, device=names.device).masked_fill(names < 0, 2.0).argsort(1)
        chosen = names.gather(1, order[:, : material.objects_per_frame])
        other = torch.randint(len(material.objects.sentences), (len(names), 1), device=names.device)
        asked = torch.cat([torch.where(chosen < 0, other, chosen), other], 1)
        queries = material.objects.read(model, asked.flatten()).queries[:, 0].unflatten(0, asked.shape)
        uv, visible = move_labels(data["obj_uv"], data["obj_visible"], shift)
        same, slot = (asked[..., None] == names[:, None]).max(-1)  # which slot bears the name; names are unique
        slot = slot[:, None].expand(-1, uv.shape[1], -1)
        uv = uv.gather(2, slot[..., None].expand(-1, -1, -1, 2))
        visible = visible.gather(2, slot) & same[:, None]
        return losses.grounding_losses(model.grounding(features, queries), uv, visible, model)


class CachedPercepts:
    """What frozen vision and language make of every frame."""

    def __init__(self, model: KeypointFlow, material: Material, cache: Path) -> None:
        self._model, self._material = model, material
        arguments = (model, material.dataset, material.instructions, cache, material.augmentation)
        self._percepts = featurise(*arguments)
        self._readings = material.instructions.table(model)

    def condition(self, index: NDArray[np.int64], data: Tensors) -> Condition:
        """Of the frames `index` (B,), with their `instruction` and `state`."""
        reading = Reading(*(part[data["instruction"]] for part in self._readings))
        percept = percept_rows(self._percepts, index, self._material.device)
        condition: Condition = self._model.fusion(percept, reading, data["state"], self._material.mixed)
        return condition


class ExpertStage:
    """The action side on cached percepts.

    Args:
        future: Makes half of the chunks begin at a future state; None: none does.
    """

    def __init__(
        self, model: KeypointFlow, material: Material, config: StageConfig, cache: Path, future: FutureRows | None
    ) -> None:
        self.model, self.material, self.config, self.future = model, material, config, future
        self.cached = CachedPercepts(model, material, cache)

    def parameters(self) -> list[nn.Parameter]:
        """Fusion and head."""
        others = (*FROZEN, "corrector")
        return [p for name, p in self.model.named_parameters() if name.partition(".")[0] not in others]

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Labels, and the frames' indices for the cached percepts."""
        labels = self.material.dataset.labels
        for index in shuffled(self.material.dataset.train, self.config.batch, rng):
            batch = {"index": index, **{name: array[index] for name, array in labels.items()}}
            yield self.future.draw(batch, rng) if self.future else batch

    def losses(self, batch: Batch) -> Tensors:
        """The action losses."""
        model, material, config = self.model, self.material, self.config
        data = tensors(batch, material.device)
        condition = self.cached.condition(batch["index"], data)
        return losses.action_losses(model, condition, data, config.flow_samples, config.prefix_steps, material.mixed)


class HeadStage(ExpertStage):
    """The head alone, on rows that continue what was planned in error."""

    def __init__(
        self, model: KeypointFlow, material: Material, config: StageConfig, cache: Path, rows: DisturbedRows
    ) -> None:
        super().__init__(model, material, config, cache, rows.future)
        self._rows = rows

    def parameters(self) -> list[nn.Parameter]:
        """Head and future state; what is seen stays as it is."""
        return [p for name, p in self.model.named_parameters() if name.partition(".")[0] in ("head", "future")]

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """As ExpertStage, disturbed."""
        labels = self.material.dataset.labels
        for index in shuffled(self.material.dataset.train, self.config.batch, rng):
            yield self._rows.draw({"index": index, **{name: array[index] for name, array in labels.items()}}, rng)

    def losses(self, batch: Batch) -> Tensors:
        """Those that depend on the head."""
        config, data = self.config, tensors(batch, self.material.device)
        with torch.no_grad():
            condition = self.cached.condition(batch["index"], data)
        found = losses.action_losses(
            self.model, condition, data, config.flow_samples, config.prefix_steps, self.material.mixed
        )
        return {name: found[name] for name in ("flow", "l1")}


class CorrectorStage:
    """The corrector, on the policy's chunks for earlier frames of the same episodes.

    A demonstration is disturbed, so it doesn't go where the policy's chunk for an earlier frame led: what is left of
    that chunk is the base, what the expert does now is wanted.

    Args:
        decoding_steps: Euler steps of the policy's chunks.

    Raises:
        ConfigError: there are no episodes among the data.
    """

    def __init__(
        self, model: KeypointFlow, material: Material, config: CorrectorConfig, cache: Path, contract: Contract,
        decoding_steps: int, seed: int,
    ) -> None:  # fmt: skip
        self.model, self.material, self.config = model, material, config
        self.cached, self._transform = CachedPercepts(model, material, cache), action_transform(contract)
        rng = np.random.default_rng(seed)
        dataset = material.dataset
        train = dataset.train[np.isfinite(dataset.labels["progress"][dataset.train])]  # those of a still have no sequel
        if not len(train):
            raise ConfigError("a corrector to train on stills alone", "episodes among the data", "generate some")
        self._bases = np.sort(rng.choice(train, min(config.bases, len(train)), replace=False))
        self._chunks = self._draw(decoding_steps, torch.Generator().manual_seed(seed))

    def parameters(self) -> list[nn.Parameter]:
        """The corrector's."""
        return list(self.model.corrector.parameters())

    @torch.no_grad()
    def _draw(self, steps: int, generator: torch.Generator) -> Float32:
        """The policy's chunks (N,T,A) for the frames `_bases`, absolute."""
        labels, rows = self.material.dataset.labels, []
        for piece in np.array_split(self._bases, max(1, len(self._bases) // 256)):
            data = tensors({name: labels[name][piece] for name in ("instruction", "state")}, self.material.device)
            keys_values = self.model.keys_values(self.cached.condition(piece, data))
            shape = (len(piece), *labels["chunk"].shape[1:])
            noise = torch.randn(shape, generator=generator).to(self.material.device)
            drawn = self.model.sample(keys_values, noise, steps).float().cpu().numpy()
            rows.append(self._transform.inverse(drawn, labels["raw_state"][piece]))
        return np.concatenate(rows)

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless; one number of frames gone by per batch."""
        dataset, horizon = self.material.dataset, self._chunks.shape[1]
        episode, step = dataset.labels["episode"], dataset.labels["step"]
        while True:
            gone = int(rng.integers(0, (horizon - 2) // self.config.frame_steps + 1))
            choice = rng.integers(len(self._bases), size=2 * self.config.batch)
            now = self._bases[choice] + gone
            inside = now < len(dataset)
            choice, now = choice[inside], now[inside]
            before = self._bases[choice]
            same = (episode[now] == episode[before]) & (step[now] - step[before] == gone)
            choice, now = choice[same][: self.config.batch], now[same][: self.config.batch]
            if not len(now):
                continue
            first = gone * self.config.frame_steps
            base = self._transform.forward(self._chunks[choice, first:], dataset.labels["raw_state"][now])
            labels = {name: dataset.labels[name][now] for name in ("instruction", "state")}
            wanted = dataset.labels["chunk"][now, : horizon - first]
            yield {"index": now, "base": base, "wanted": wanted, "first": np.array([first]), **labels}

    def losses(self, batch: Batch) -> Tensors:
        """See correction_losses."""
        model = self.model
        data = tensors(batch, self.material.device)
        with torch.no_grad():
            tokens = self.cached.condition(batch["index"], data).tokens
        corrected = model.correct(data["base"], int(batch["first"][0]), tokens)
        return losses.correction_losses(corrected, data["base"], data["wanted"], model.action_std)
