"""Coordinate frames as a tree with a history (REP 105): where one frame was in another at a time.

Nothing is made up: a frame that nobody knows, frames that don't hang together and times that nobody has told yet are
errors. Between two stamps positions are interpolated linearly and rotations along the shortest arc.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np

from vla_core import rotations
from vla_core.errors import TransformError
from vla_core.types import NS, Float64

_KEPT_NS = 10 * NS
_BACK_NS = NS  # a stamp so far before the last one: the clock was set back
_DEEPEST = 100  # frames from the root; more: a loop


@dataclass(frozen=True, slots=True)
class Stamped:
    """`T_parent_child` at a time: position float64 (3,) [m], quaternion xyzw float64 (4,) of unit length."""

    stamp_ns: int
    position: Float64
    quaternion: Float64


class FrameTree:
    """Transforms of the last ten seconds, and those that are fixed."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._fixed: dict[str, Stamped] = {}
        self._moving: dict[str, list[Stamped]] = {}

    def set(self, parent: str, child: str, transform: Stamped, fixed: bool = False) -> None:
        """Take one transform. One with another parent replaces all before it; so does one whose time went back.

        Raises:
            TransformError: numbers that aren't finite, or a quaternion that isn't of unit length.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        length = math.hypot(*transform.quaternion.tolist())  # a tenth of numpy's time for so few numbers
        finite = all(map(math.isfinite, transform.position.tolist()))
        if not finite or not abs(length - 1.0) <= 1e-3 or parent == child:
            got = f"{parent} -> {child}: {transform.position}, quaternion {transform.quaternion}"
            raise TransformError(got, "two frames, finite numbers, a unit quaternion", "mend the node that sends it")
        if self._parent.get(child) != parent:
            self._fixed.pop(child, None)
            self._moving.pop(child, None)
        self._parent[child] = parent
        if fixed:
            self._fixed[child] = transform
            return
        history = self._moving.setdefault(child, [])
        if history and transform.stamp_ns < history[-1].stamp_ns - _BACK_NS:
            history.clear()
        insort(history, transform, key=_stamp)
        del history[: bisect_left(history, history[-1].stamp_ns - _KEPT_NS, key=_stamp)]

    def newest_ns(self, target: str, source: str) -> int | None:
        """The latest time [ns] for which `lookup` has an answer; None: all of the chain is fixed.

        Raises:
            TransformError: the frames don't hang together.
        """
        chain = [frame for side in self._chains(target, source) for frame in side if frame not in self._fixed]
        return min((self._moving[frame][-1].stamp_ns for frame in chain), default=None)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Float64:
        """`T_target_source` (4,4) at a time: maps coordinates in `source` into `target`.

        Raises:
            TransformError: a frame isn't known, the two don't hang together, or one wasn't told for that time.
        """
        up, down = self._chains(target, source)
        T_root_target, T_root_source = np.eye(4), np.eye(4)
        for frame in up:
            T_root_target = self._at(frame, stamp_ns) @ T_root_target
        for frame in down:
            T_root_source = self._at(frame, stamp_ns) @ T_root_source
        rotation = T_root_target[:3, :3].T
        inverse = np.eye(4)
        inverse[:3, :3], inverse[:3, 3] = rotation, -rotation @ T_root_target[:3, 3]
        out: Float64 = inverse @ T_root_source
        return out

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Frames between each of the two and their nearest common ancestor, which is in neither list."""
        sides = [self._ancestors(frame.lstrip("/")) for frame in (target, source)]
        common = next((frame for frame in sides[0] if frame in sides[1]), None)
        if common is None:
            got = f"'{target}' and '{source}' without a connection"
            raise TransformError(got, f"a chain on /tf from '{target}' to '{source}'", "start the node that sends it")
        first, second = (side[: side.index(common)] for side in sides)
        return first, second

    def _ancestors(self, frame: str) -> list[str]:
        if frame not in self._parent and frame not in self._parent.values():
            known = ", ".join(sorted({*self._parent, *self._parent.values()})) or "none"
            raise TransformError(f"no frame '{frame}' on /tf", f"one of: {known}", "start the node that sends it")
        chain = [frame]
        while chain[-1] in self._parent:
            chain.append(self._parent[chain[-1]])
            if len(chain) > _DEEPEST:
                raise TransformError(f"frames in a loop: {chain[-3:]}", "a tree", "mend the node that sends it")
        return chain

    def _at(self, child: str, stamp_ns: int) -> Float64:
        """`T_parent_child` (4,4) at a time."""
        if child in self._fixed:
            return _matrix(self._fixed[child].position, self._fixed[child].quaternion)
        history = self._moving[child]
        first, last = history[0].stamp_ns, history[-1].stamp_ns
        if not first <= stamp_ns <= last:
            off_s = (stamp_ns - last if stamp_ns > last else first - stamp_ns) / NS
            got = f"'{self._parent[child]}' -> '{child}' {off_s:.3f} s too {'old' if stamp_ns > last else 'young'}"
            raise TransformError(got, f"one for {stamp_ns / NS:.3f} s", "check its sender, and the clocks")
        k = bisect_left(history, stamp_ns, key=_stamp)
        after = history[k]
        if after.stamp_ns == stamp_ns:
            return _matrix(after.position, after.quaternion)
        before = history[k - 1]
        share = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        turn = rotations.to_rotvec(rotations.multiply(rotations.conjugate(before.quaternion), after.quaternion))
        quaternion = rotations.multiply(before.quaternion, rotations.from_rotvec(share * turn))
        position = before.position + share * (after.position - before.position)
        return _matrix(position, np.asarray(quaternion, np.float64))


def planar(T: Float64) -> Float64:
    """x, y, yaw (3,) of a transform (4,4); roll, pitch and z are left out."""
    return np.array([T[0, 3], T[1, 3], np.arctan2(T[1, 0], T[0, 0])])


def lifted(pose: Float64) -> Float64:
    """(4,4) of x, y, yaw (3,): the inverse of `planar`."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.array([[cos, -sin, 0.0, pose[0]], [sin, cos, 0.0, pose[1]], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def _stamp(transform: Stamped) -> int:
    return transform.stamp_ns


def _matrix(position: Float64, quaternion: Float64) -> Float64:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotations.to_matrix(quaternion), position
    return out
