"""Interpolation and means of actions, column by column: poses, joints and grippers each by their kind."""

from __future__ import annotations

import numpy as np

from vla_core.types import Float64

_QUATERNION = ("qx", "qy", "qz", "qw")
_GRIPPER = "gripper"


def is_gripper(name: str) -> bool:
    """Whether an action is a gripper's opening: 'gripper', or 'left_gripper' and so on where there are several."""
    return name == _GRIPPER or name.endswith(f"_{_GRIPPER}")


class ActionAlgebra:
    """Interpolation and weighted means of actions of one contract, column by column.

    Numbers are interpolated linearly. Quaternions are brought to one hemisphere, combined linearly and normalised: for
    the few degrees between neighbouring steps the same as slerp. A gripper holds its last value.

    Args:
        names: (A,) action names in contract order.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.quaternion = [names.index(n) for n in _QUATERNION] if set(_QUATERNION) <= set(names) else []
        self.gripper = [k for k, name in enumerate(names) if is_gripper(name)]
        self.motion = [k for k in range(len(names)) if k not in self.gripper]

    def at(self, actions: Float64, place: Float64) -> Float64:
        """Actions (N,A) at the places (N,) [steps], within 0..T-1, of a chunk's actions (T,A)."""
        low = np.clip(np.floor(place + 1e-6).astype(int), 0, len(actions) - 1)
        high = np.minimum(low + 1, len(actions) - 1)
        share = np.clip(place - low, 0.0, 1.0)
        mixed = self.mean(np.stack([actions[low], actions[high]]), np.stack([1.0 - share, share]))
        mixed[:, self.gripper] = actions[low][:, self.gripper]
        return mixed

    def mean(self, actions: Float64, weights: Float64) -> Float64:
        """Weighted mean (N,A) over the first axis of actions (K,N,A); weights (K,N) >= 0, not all 0 for any N."""
        share = weights / weights.sum(0)
        out: Float64 = np.einsum("kn,kna->na", share, actions)
        if self.quaternion:
            turns = actions[..., self.quaternion]
            heaviest = np.take_along_axis(turns, share.argmax(0)[None, :, None], 0)
            turns = np.where((turns * heaviest).sum(-1, keepdims=True) < 0.0, -turns, turns)
            mean = np.einsum("kn,kna->na", share, turns)
            out[:, self.quaternion] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out
