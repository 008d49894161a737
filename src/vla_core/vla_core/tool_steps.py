"""Steps of a tool pose: a translation [m] and a rotation vector [rad], along the base's axes or the tool's own.

    base:  p' = p + dp,      R' = exp(w) R
    tool:  p' = p + R dp,    R' = R exp(w)

Poses are x y z qx qy qz qw. Every function takes leading batch dimensions.
"""

from __future__ import annotations

import numpy as np

from vla_core import rotations
from vla_core.action_parts import TOOL_FRAME
from vla_core.types import Float64

IDENTITY: Float64 = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
IDENTITY.setflags(write=False)


def moved(pose: Float64, step: Float64, frame: str) -> Float64:
    """The pose (...,7) that a step (...,6) leads to from `pose` (...,7).

    Args:
        frame: 'base' or 'tool'.
    """
    turn = rotations.from_rotvec(step[..., 3:])
    if frame == TOOL_FRAME:
        shift = np.einsum("...ij,...j->...i", rotations.to_matrix(pose[..., 3:]), step[..., :3])
        turned = rotations.multiply(pose[..., 3:], turn)
    else:
        shift, turned = step[..., :3], rotations.multiply(turn, pose[..., 3:])
    turned = turned / np.linalg.norm(turned, axis=-1, keepdims=True)
    return np.concatenate([pose[..., :3] + shift, turned], -1).astype(np.float64)


def between(start: Float64, end: Float64, frame: str) -> Float64:
    """The step (...,6) that leads from pose `start` (...,7) to `end` (...,7), by the shorter rotation."""
    shift, back = end[..., :3] - start[..., :3], rotations.conjugate(start[..., 3:])
    if frame == TOOL_FRAME:
        shift = np.einsum("...ji,...j->...i", rotations.to_matrix(start[..., 3:]), shift)
        turn = rotations.multiply(back, end[..., 3:])
    else:
        turn = rotations.multiply(end[..., 3:], back)
    return np.concatenate([shift, rotations.to_rotvec(turn)], -1).astype(np.float64)


def accumulated(first: Float64, steps: Float64, frame: str) -> Float64:
    """The poses (T+1,7) that steps (T,6) lead through, one after the other, from `first` (7,)."""
    poses = np.empty((len(steps) + 1, 7))
    poses[0] = first
    for i, step in enumerate(steps):
        poses[i + 1] = moved(poses[i], step, frame)
    return poses


def on_path(poses: Float64, place: Float64) -> Float64:
    """Poses (N,7) at the places (N,) of a path (M,7), held at its ends: straight lines, even turns (slerp)."""
    low = np.clip(np.floor(place + 1e-9).astype(int), 0, len(poses) - 1)
    start, end = poses[low], poses[np.minimum(low + 1, len(poses) - 1)]
    step = between(start, end, "base") * np.clip(place - low, 0.0, 1.0)[:, None]
    return moved(start, step, "base")
