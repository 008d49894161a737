"""Between a contract's actions and what a checkpoint draws: one place, with inverses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vla_core.types import Float32
from vla_policy.checkpoints.scaling import Scaling
from vla_policy.checkpoints.units import Units

_MOVES = 1e-6  # what a column changes by under a normalised step of 1; those that change less were constant in training


@dataclass(frozen=True, slots=True)
class CheckpointActions:
    """Actions of the contract to normalised ones of the checkpoint, and back.

    Outside (A): the contract's columns, units and space. Inside (D'): the checkpoint's columns, drawn relative to the
    state where it was trained so, normalised, padded with zeros up to the width that is drawn, as in training. A column
    that was constant in training stays at its training value, whatever the robot does.

    Attributes:
        place: (A,) the checkpoint's column of every column of the contract.
        relative: bool (D,), D = A: the checkpoint's columns that count from the state.
        state: (S,) places in the contract's state, in the checkpoint's order.
        units: The contract's, from the checkpoint's.
        scaling: Of the checkpoint's actions.
        width: D'.
    """

    place: tuple[int, ...]
    relative: Tensor
    state: tuple[int, ...]
    units: Units
    scaling: Scaling
    width: int

    def forward(self, actions: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """Actions (T,A) under a state (S',) of the contract to (T,D')."""
        size = len(self.place)
        rows = torch.zeros(len(actions), size)
        rows[:, list(self.place)] = torch.from_numpy(self.units.inverse(np.asarray(actions, np.float32)))
        normal = self.scaling.forward(rows - self._origin(state))
        constant = (self.scaling.inverse(torch.ones(size)) - self.scaling.inverse(torch.zeros(size))).abs() < _MOVES
        padded = torch.zeros(len(actions), self.width)
        padded[:, :size] = torch.where(constant, torch.full_like(normal, self.scaling.bias), normal)
        found: Float32 = padded.numpy()
        return found

    def inverse(self, drawn: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """Drawn rows (T,D') or (T,D) under a state (S',) of the contract to its actions (T,A)."""
        normal = torch.from_numpy(np.asarray(drawn, np.float32))[:, : len(self.place)]
        rows = self.scaling.inverse(normal) + self._origin(state)
        return self.units.forward(rows[:, list(self.place)].numpy())

    def _origin(self, state: NDArray[np.floating[Any]]) -> Tensor:
        """Where the checkpoint's columns count from (D,)."""
        origin, columns = torch.zeros(len(self.place)), self.relative.nonzero()[:, 0]
        origin[columns] = torch.from_numpy(np.asarray(state[list(self.state)], np.float32))[columns]
        return origin
