"""Interpolation and means of actions, column by column, each by what its part of the contract means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_core import rotations, tool_steps
from vla_core.action_parts import ActionPart, short_form_parts
from vla_core.types import Float64

_HELD = ("gripper", "mode", "terminate")  # a value holds from its step to the next
_VOTED = ("mode", "terminate")  # there is nothing between two values


class ActionAlgebra:
    """Interpolation and weighted means of actions of one contract.

    - Places (joint_position, tool_pose) are interpolated linearly. Quaternions are brought to one hemisphere, combined
      linearly and normalised: for the few degrees between neighbouring steps the same as slerp.
    - Amounts (deltas from step to step, twists) are what happens from one step to the next. At a place between steps
      they are what happens in the one step's time from there, and nothing happens after the last one: resampled under
      a shift of time they add up to the same.
    - Deltas from the chunk's start are interpolated as places are, rotation vectors as the rotations that they are.
    - Grippers, modes and terminate hold their last value; a mean of modes is the one with the greatest weight.

    Args:
        names: (A,) action names in contract order.
        parts: Of the contract; when left out, those that the names alone tell (contracts in short form).
    """

    def __init__(self, names: Sequence[str], parts: tuple[ActionPart, ...] = ()) -> None:
        self.names = tuple(names)
        self.parts = parts or short_form_parts(self.names)
        self._quaternions = [list(p.columns[3:]) for p in self.parts if p.space == "tool_pose"]
        self._rotvecs = [list(p.columns[3:]) for p in self.parts if p.space == "tool_delta"]
        self._tool_steps = [p for p in self.parts if p.space == "tool_delta" and p.accumulates]
        self._amounts = [c for p in self.parts if p.accumulates or p.space == "base_twist" for c in p.columns]
        self._voted = [c for p in self.parts if p.space in _VOTED for c in p.columns]
        self.held = [c for p in self.parts if p.space in _HELD for c in p.columns]
        self.motion = [k for k in range(len(self.names)) if k not in self.held]

    def at(self, actions: Float64, place: Float64) -> Float64:
        """Actions (N,A) at the places (N,) [steps], within 0..T-1 (amounts: 0..T), of a chunk's actions (T,A)."""
        low = np.clip(np.floor(place + 1e-6).astype(int), 0, len(actions) - 1)
        high = np.minimum(low + 1, len(actions) - 1)
        share = np.clip(place - low, 0.0, 1.0)
        after = actions[high]
        after[np.ix_(low + 1 >= len(actions), self._amounts)] = 0.0
        mixed = self.mean(np.stack([actions[low], after]), np.stack([1.0 - share, share]))
        mixed[:, self.held] = actions[low][:, self.held]
        for part in self._tool_steps:
            path = tool_steps.accumulated(tool_steps.IDENTITY, actions[:, part.columns], part.frame)
            start, end = (tool_steps.on_path(path, place + step) for step in (0, 1))
            mixed[:, part.columns] = tool_steps.between(start, end, part.frame)
        return mixed

    def mean(self, actions: Float64, weights: Float64) -> Float64:
        """Weighted mean (N,A) over the first axis of actions (K,N,A); weights (K,N) >= 0, not all 0 for any N."""
        share = weights / weights.sum(0)
        out: Float64 = np.einsum("kn,kna->na", share, actions)
        for columns in self._quaternions:
            out[:, columns] = _mean_turn(actions[..., columns], share)
        for columns in self._rotvecs:
            turns = rotations.from_rotvec(actions[..., columns]).astype(np.float64)
            out[:, columns] = rotations.to_rotvec(_mean_turn(turns, share))
        for column in self._voted:
            said = actions[..., column]
            votes = np.einsum("jn,jkn->kn", share, (said[:, None] == said[None]).astype(np.float64))
            out[:, column] = np.take_along_axis(said, votes.argmax(0)[None], 0)[0]
        return out


def _mean_turn(turns: Float64, share: Float64) -> Float64:
    """Weighted mean (N,4) of quaternions (K,N,4), all brought to the hemisphere of the heaviest; share (K,N)."""
    heaviest = np.take_along_axis(turns, share.argmax(0)[None, :, None], 0)
    turns = np.where((turns * heaviest).sum(-1, keepdims=True) < 0.0, -turns, turns)
    mean = np.einsum("kn,kna->na", share, turns)
    unit: Float64 = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return unit
