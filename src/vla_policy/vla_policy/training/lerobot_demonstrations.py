"""A LeRobot data set as training batches, with what `training/dataset.py` makes of shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.types import UInt8
from vla_policy.core.processors import action_transform, state_features
from vla_policy.training.dataset import Batch
from vla_policy.training.lerobot_contract import LABEL, match_contract
from vla_policy.training.lerobot_format import ACTION, IMAGES, OBSERVATION_STATE
from vla_policy.training.lerobot_reader import LeRobotDataset


class LeRobotDemonstrations:
    """All frames of a LeRobot data set in a contract's order and units, addressed by one index.

    Attributes:
        instructions: The tasks.
        labels: Arrays over all N frames as in `dataset.Dataset`: `instruction` (index into `instructions`), `episode`,
            `step`, `raw_state`, `state`, `chunk`, and whatever stands as `label.…` in the data set. `known` bool (N,T)
            says which steps of a chunk lie within its episode.
        train, held_out: Frame indices; held out is the last tenth of the episodes, at least one where there are two.
    """

    def __init__(self, folder: Path, contract: Contract) -> None:
        """Open and check the data.

        Raises:
            DatasetError: no LeRobot v3.0, broken, or not what the contract asks for.
            PolicyError: actions of a space that isn't learnt.
        """
        self.source = LeRobotDataset(folder)
        self._keys = [IMAGES + name for name in contract.view_names]
        match = match_contract(self.source, contract)
        self.instructions = list(self.source.tasks)
        frames = np.arange(len(self.source))
        state = np.asarray(self.source.column(OBSERVATION_STATE), np.float32)[:, match.state]
        if match.chunks == ACTION:
            chunk, known = self.source.chunk(frames, ACTION, contract.horizon)
            chunk = chunk[..., match.action]
        else:
            chunk = self.source.column(match.chunks)
            known = np.ones(chunk.shape[:2], np.bool_)
        rows = {"instruction": "task_index", "episode": "episode_index", "step": "frame_index"}
        self.labels: Batch = {name: self.source.column(column) for name, column in rows.items()}
        extra = [k for k, f in self.source.features.items() if k.startswith(LABEL) and f.dtype != "string"]
        self.labels |= {key.removeprefix(LABEL): self.source.column(key) for key in extra}
        self.labels |= {"raw_state": state, "state": state_features(contract).forward(state), "known": known}
        self.labels["chunk"] = action_transform(contract).forward(chunk, state)
        self.train, self.held_out = self._split(frames)

    def __len__(self) -> int:
        return len(self.source)

    def images(self, indices: NDArray[np.int64]) -> UInt8:
        """Pictures uint8 (B,V,H,W,3) of the given frames."""
        return np.stack([self.source.images(indices, key) for key in self._keys], 1)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Labels and pictures of the given frames."""
        return {"rgb": self.images(indices), **{name: array[indices] for name, array in self.labels.items()}}

    def _split(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        episodes = self.source.episodes
        held = min(max(1, len(episodes) // 10), len(episodes) - 1)
        first = episodes[-held].start if held else len(frames)
        return frames[:first], frames[first:]
