"""Training rows whose chunk begins at a future state (VLASH): the label's own later steps, from where they begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core import rotations
from vla_core.contract import Contract
from vla_core.types import Float64
from vla_policy.core.drawing.future_state import WIDTH_SCALE_M, Gripper
from vla_policy.core.processors import state_features
from vla_policy.training.dataset import Batch


@dataclass(frozen=True, slots=True)
class FutureRows:
    """Makes them from rows of a Dataset.

    Attributes:
        contract: Of the data.
        gripper: Of the robot.
        longest: Most steps ahead.
    """

    contract: Contract
    gripper: Gripper
    longest: int

    def draw(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Half of the rows answer for a state up to `longest` steps ahead."""
        count = len(batch["chunk"])
        return self.shift(batch, rng.integers(1, self.longest + 1, count) * (rng.random(count) < 0.5))

    def shift(self, batch: Batch, offset: NDArray[np.int64]) -> Batch:
        """Rows that answer for the state `offset` (B,) steps ahead.

        Returns:
            The batch with `chunk` (B,T,7) from there on, relative to the tool there; `known` (B,T), False beyond the
            label's end; and `ahead` (B,AHEAD), see `future_state.features`.
        """
        chunk = batch["chunk"].astype(np.float64)
        row, horizon = np.arange(len(chunk)), chunk.shape[1]
        begin = np.where(offset[:, None] > 0, chunk[row, offset], 0.0)  # no offset: the tool as it was observed
        steps = offset[:, None] + np.arange(horizon)
        later = chunk[row[:, None], np.minimum(steps, horizon - 1)]
        turned = rotations.multiply(
            rotations.from_rotvec(later[..., 3:6]), rotations.conjugate(rotations.from_rotvec(begin[:, None, 3:6]))
        )
        relative = [later[..., :3] - begin[:, None, :3], rotations.to_rotvec(turned), later[..., 6:]]
        ahead = [begin[:, :6], self._width_change(batch, offset)[:, None], (offset / horizon)[:, None]]
        return {
            **batch,
            "chunk": np.concatenate(relative, -1).astype(np.float32),
            "known": steps < horizon,
            "ahead": np.concatenate(ahead, 1).astype(np.float32),
        }

    def _width_change(self, batch: Batch, offset: NDArray[np.int64]) -> Float64:
        """(B,) [0.1 m], with nothing between the fingers."""
        column = state_features(self.contract).place(self.contract.state_slice("gripper_width").start)
        width = batch["state"][:, column].astype(np.float64)
        openings = 0.5 * (batch["chunk"][..., 6].astype(np.float64) + 1.0)
        widths = self.gripper.follow(width, openings, self.contract.dt_s)
        out: Float64 = (widths[np.arange(len(width)), offset] - width) / WIDTH_SCALE_M
        return out
