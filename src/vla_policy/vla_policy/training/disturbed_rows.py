"""Training rows that continue a motion which was planned in error, as the running one may have been.

Policies that are given the steps in execution (RTC by training, Black et al. 2025) or the state that they lead to
(VLASH) learn from demonstrations, where those steps are always right. Then they go on with whatever they are given and
look no more. Here some are wrong: behind the expert's pace, since an arm must catch up with an answer that came late,
beside its way, or with a gripper that is early, late or as it must not be. The rest of the label leads back to the way
and goes on from the place that was reached: whoever hurries after the expert's clock closes the gripper above things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32, Float64
from vla_policy.training.dataset import Batch
from vla_policy.training.future_rows import FutureRows

_UNIT_M = 0.1  # of a chunk's positions
_RAD_PER_M = 2.0  # a plan that ends 1 cm beside the way is turned by about 1 degree
_BACK_STEPS = 6
_BEHIND = 0.7  # share of what is in error that falls behind
_SHUT = 0.3  # share of it whose gripper is shut where it must be open


@dataclass(frozen=True, slots=True)
class DisturbedRows:
    """Makes them from rows of a Dataset.

    Attributes:
        future: Makes rows that begin at a future state.
        longest: Most given steps.
        drift_m: Standard deviation of how far beside the way the last step in error lies, per axis [m].
        gripper_steps: The gripper is up to so many steps early or late.
    """

    future: FutureRows
    longest: int
    drift_m: float
    gripper_steps: int

    def draw(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Half of the rows begin at a future state, half of them continue given steps; half of either were in error.

        Returns:
            As `FutureRows.shift`, and `given` (B,): how many first steps of `chunk` are given.
        """
        count = len(batch["chunk"])
        offset = rng.integers(1, self.future.longest + 1, count) * (rng.random(count) < 0.5)
        given = rng.integers(1, self.longest + 1, count) * (rng.random(count) < 0.5)
        until = np.where(offset > 0, offset, given) * (rng.random(count) < 0.5)
        shifted = self.future.shift({**batch, "chunk": self.disturbed(batch["chunk"], until, rng)}, offset)
        return {**shifted, "given": given}

    def disturbed(self, chunk: Float32, until: NDArray[np.int64], rng: np.random.Generator) -> Float32:
        """Chunks (B,T,7) that were planned in error before step `until` (B,), and the way back; 0: as they are."""
        count = len(chunk)
        lag = until * rng.random(count) * (rng.random(count) < _BEHIND)
        out = behind(chunk.astype(np.float64), until, lag)
        drift = rng.normal(0.0, self.drift_m / _UNIT_M, (count, 6))
        drift[:, 3:] *= _RAD_PER_M * _UNIT_M
        out[..., :6] += astray(until, chunk.shape[1])[..., None] * drift[:, None]
        late = rng.integers(-self.gripper_steps, self.gripper_steps + 1, count)
        shut = (rng.random(count) < _SHUT) & (chunk[:, 0, 6] > 0.0)  # to open what holds something has no way back
        out[..., 6] = other_gripper(out[..., 6], until, late, shut)
        return out.astype(np.float32)


def behind(chunk: Float64, until: NDArray[np.int64], lag: Float64) -> Float64:
    """Chunks (B,T,7) that fall `lag` (B,) steps behind before step `until` (B,), 0..until, and then keep the pace."""
    count, horizon, _ = chunk.shape
    steps = np.arange(horizon, dtype=np.float64)
    place = steps - (lag / np.maximum(until, 1))[:, None] * np.minimum(steps, until[:, None])
    before = np.minimum(place.astype(np.int64), horizon - 2)
    share = (place - before)[..., None]
    row = np.arange(count)[:, None]
    out = (1.0 - share) * chunk[row, before] + share * chunk[row, before + 1]
    out[..., 6] = chunk[row, np.floor(place + 1e-9).astype(np.int64), 6]
    return out


def astray(until: NDArray[np.int64], horizon: int) -> Float64:
    """How far beside the way every step lies (B,T): 1 at the last one in error, then back; nowhere for until = 0."""
    steps = np.arange(horizon) + 1
    away = steps / np.maximum(until, 1)[:, None]
    back = 1.0 - (steps - until[:, None]) / _BACK_STEPS
    return np.where(until[:, None] > 0, np.clip(np.minimum(away, back), 0.0, 1.0), 0.0)


def other_gripper(
    opening: Float64, until: NDArray[np.int64], late: NDArray[np.int64], shut: NDArray[np.bool_]
) -> Float64:
    """Openings -1..1 (B,T) that come `late` (B,) steps later before step `until` (B,), or not at all: `shut` (B,)."""
    steps = np.arange(opening.shape[1])
    shifted = np.take_along_axis(opening, np.clip(steps - late[:, None], 0, len(steps) - 1), 1)
    return np.where(steps < until[:, None], np.where(shut[:, None], -1.0, shifted), opening)
