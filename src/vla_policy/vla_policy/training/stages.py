"""What one training step is, for each of the two stages.

`joint`: images to actions, everything end to end. `expert`: vision and language frozen, their output cached, only the
action side learns; a step costs a few percent of a joint one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vla_policy.core.blocks.fusion import Condition
from vla_policy.core.blocks.language import Reading
from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.training import losses
from vla_policy.training.augment import augment, move_labels
from vla_policy.training.dataset import Batch, Dataset, shuffled
from vla_policy.training.featurise import FROZEN, featurise, percept_rows
from vla_policy.training.texts import TextBank

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class StageConfig:
    """Options of one stage: batch size, peak learning rate, warm-up, noise samples per frame, longest given prefix."""

    batch: int
    learning_rate: float
    warmup_steps: int
    flow_samples: int
    prefix_steps: int


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


class ExpertStage:
    """The action side on cached percepts."""

    def __init__(self, model: KeypointFlow, material: Material, config: StageConfig, cache: Path) -> None:
        self.model, self.material, self.config = model, material, config
        arguments = (model, material.dataset, material.instructions, cache, material.augmentation)
        self.percepts = featurise(*arguments)
        self.readings = material.instructions.table(model)

    def parameters(self) -> list[nn.Parameter]:
        """Fusion and head."""
        return [p for name, p in self.model.named_parameters() if name.partition(".")[0] not in FROZEN]

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Labels, and the frames' indices for the cached percepts."""
        labels = self.material.dataset.labels
        for index in shuffled(self.material.dataset.train, self.config.batch, rng):
            yield {"index": index, **{name: array[index] for name, array in labels.items()}}

    def losses(self, batch: Batch) -> Tensors:
        """The action losses."""
        model, material = self.model, self.material
        data = tensors(batch, material.device)
        reading = Reading(*(part[data["instruction"]] for part in self.readings))
        percept = percept_rows(self.percepts, batch["index"], material.device)
        condition: Condition = model.fusion(percept, reading, data["state"], material.mixed)
        config = self.config
        return losses.action_losses(model, condition, data, config.flow_samples, config.prefix_steps, material.mixed)
