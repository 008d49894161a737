"""One training stage of a system: which of its parameters learn, on cached sights of demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vla_core.contract import Contract
from vla_policy.core.systems.system import Labels, Questions, System
from vla_policy.training.dataset import Batch, Dataset, shuffled
from vla_policy.training.scene_texts import Frame, question, subtask
from vla_policy.training.sights import SightBank


@dataclass(frozen=True, slots=True)
class SystemStageConfig:
    """Options of one stage: rows per batch, peak learning rate, steps up to it."""

    batch: int
    learning_rate: float
    warmup_steps: int


def with_past(dataset: Dataset, frames: NDArray[np.int64], system: System, frame_s: float) -> NDArray[np.int64]:
    """Frames (B,) to (B*history,): every frame behind its past, oldest first; before an episode was its start.

    Args:
        dataset: With a frame every `frame_s` [s].
        frames: The present ones.
        system: How much past, and how far apart.
        frame_s: Time between two frames of an episode [s].
    """
    count = system.history
    if count == 1:
        return frames
    episode, step = dataset.labels["episode"], dataset.labels["step"]
    back = max(1, round(system.history_s / frame_s)) * np.arange(count - 1, -1, -1)
    past = np.maximum(frames[:, None] - back, 0)
    same = (episode[past] == episode[frames][:, None]) & (step[past] == step[frames][:, None] - back)
    first = np.where(same, past, frames[:, None]).min(1, keepdims=True)
    return np.where(same, past, first).reshape(-1)


class SystemStage:
    """Batches and losses of one stage.

    Args:
        name: Of the stage, among the system's.
        frame_s: Time between two frames of an episode [s].
        mixed: Matrix products in bfloat16; parameters and their averages stay in float32.
    """

    def __init__(
        self, system: System, name: str, dataset: Dataset, bank: SightBank, contract: Contract,
        config: SystemStageConfig, frame_s: float, mixed: bool,
    ) -> None:  # fmt: skip
        system.enter(name)
        self.system, self._learn, self._dataset, self._bank = system, system.stages()[name], dataset, bank
        self._config, self._tool = config, contract.state_slice("tool_pose")
        self._device = system.action_mean.device
        self._frame_s, self._mixed = frame_s, mixed

    def parameters(self) -> list[nn.Parameter]:
        """Those of the stage."""
        return self._learn

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Frame indices, chunks, and texts where the system speaks."""
        dataset, system = self._dataset, self.system
        labels = dataset.labels
        for frames in shuffled(dataset.train, self._config.batch // system.history, rng):
            index = with_past(dataset, frames, system, self._frame_s)
            batch: Batch = {
                "index": index,
                "instruction": labels["instruction"][index],
                "chunk": labels["chunk"][index],
            }
            if system.speaks:
                batch["subtask"] = np.array([subtask(self._frame(row)) for row in index])
            asked = rng.choice(dataset.train, round(system.questions_per_row * len(index)))
            if len(asked):
                pairs = [question(self._frame(row), dataset.object_names, rng) for row in asked]
                batch["asked"] = asked
                batch["question"] = np.array([self._bank.place[text] for text, _ in pairs])
                batch["answer"] = np.array([text for _, text in pairs])
            yield batch

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Of the system."""
        sight = self._bank.sight(batch["index"], batch["instruction"])
        chunk = self.system.normalised(torch.from_numpy(batch["chunk"]).to(self._device))
        known = torch.ones(chunk.shape[:2], dtype=torch.bool, device=self._device)
        questions = None
        if "asked" in batch:
            questions = Questions(self._bank.sight(batch["asked"], batch["question"]), tuple(map(str, batch["answer"])))
        labels = Labels(chunk, known, tuple(map(str, batch.get("subtask", ()))), questions)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
            return self.system.losses(sight, labels)

    def _frame(self, row: int) -> Frame:
        dataset = self._dataset
        return Frame.of(dataset.labels, int(row), dataset.object_names, dataset.families, self._tool)
