"""Distances of the arm to itself and to what stands around it, from capsules, compiled.

The capsules are the collision geometry of the robot's model file: a capsule as it is, anything else by the capsule
about its bounding box, or by several side by side where it is flat and one would stick out far. Left out are the parts
that the gripper moves, because they are made to touch. Pairs of joints up to `_NEIGHBOURS` apart can't meet, or are
bounded by their joint limits. The surroundings are boxes along the base frame's axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pinocchio as pin

from vla_control.core.robot import RobotModel
from vla_core.types import Float64

_NEIGHBOURS = 2
_HALVINGS = 20
_FLAT_M, _STICKS_OUT_M = 0.05, 0.02  # what one capsule sticks out of a flat shape at most, and each of several


@dataclass(frozen=True, slots=True)
class Covers:
    """Capsules of a robot.

    Attributes:
        names: Of the geometries that the N capsules cover.
        joint: int64 (N,) joint of `Chain` that carries each; 0: the base.
        ends: (N,2,3) [m] ends of the axis, that joint's frame. radius: (N,) [m].
        pairs: int64 (P,2) capsules whose distance counts.
    """

    names: tuple[str, ...]
    joint: np.ndarray
    ends: Float64
    radius: Float64
    pairs: np.ndarray

    @classmethod
    def of(cls, robot: RobotModel) -> Covers:
        """Capsules of a robot's model file."""
        rows = []
        for shape in robot.shapes(fingers=False):
            place = shape.placement
            for middle, half, radius in _capsules(shape.geometry):
                ends = place.act(middle + half), place.act(middle - half)
                rows.append((str(shape.name), int(shape.parentJoint), *ends, radius))
        joints = [row[1] for row in rows]
        pairs = [
            (a, b)
            for a in range(len(rows))
            for b in range(a + 1, len(rows))
            if _apart(robot.model, joints[a], joints[b]) > _NEIGHBOURS
        ]
        return cls(
            names=tuple(row[0] for row in rows),
            joint=np.array(joints, np.int64),
            ends=np.array([[row[2], row[3]] for row in rows], np.float64).reshape(-1, 2, 3),
            radius=np.array([row[4] for row in rows], np.float64),
            pairs=np.array(pairs, np.int64).reshape(-1, 2),
        )


def _capsules(geometry: Any) -> list[tuple[Float64, Float64, float]]:
    """Capsules that cover a shape: middle (3,) and half of the axis (3,) [m] in its own frame, radius [m]."""
    if isinstance(geometry, pin.hppfcl.Capsule):
        return [(np.zeros(3), np.array([0.0, 0.0, geometry.halfLength]), float(geometry.radius))]
    geometry.computeLocalAABB()
    box = geometry.aabb_local
    half = np.maximum(np.abs(np.array(box.min_)), np.abs(np.array(box.max_)))
    short, wide, longest = (int(axis) for axis in np.argsort(half, kind="stable"))
    count = _side_by_side(float(half[wide]), float(half[short]))
    radius = float(np.hypot(half[wide] / count, half[short]))
    made = []
    for k in range(count):
        middle, axis = np.zeros(3), np.zeros(3)
        middle[wide] = half[wide] * ((2 * k + 1) / count - 1)
        inner = max(abs(float(middle[wide])) - half[wide] / count, 0.0)
        disc = isinstance(geometry, pin.hppfcl.Cylinder) and short == 2
        axis[longest] = np.sqrt(half[longest] ** 2 - inner**2) if disc else half[longest]
        made.append((middle, axis, radius))
    return made


def _side_by_side(wide_m: float, short_m: float) -> int:
    """How many capsules a cross-section of these half widths takes."""
    if np.hypot(wide_m, short_m) - short_m <= _FLAT_M:
        return 1
    count = 2
    while np.hypot(wide_m / count, short_m) - short_m > _STICKS_OUT_M:
        count += 1
    return count


def _apart(model: Any, a: int, b: int) -> int:
    """Number of joints between two links."""
    above_a, above_b = _above(model, a), _above(model, b)
    return len(above_a ^ above_b)


def _above(model: Any, joint: int) -> set[int]:
    found = set()
    while joint > 0:
        found.add(joint)
        joint = int(model.parents[joint])
    return found


@numba.njit(cache=True)
def segment_distance(p1: Float64, q1: Float64, p2: Float64, q2: Float64) -> float:
    """Distance [m] between two segments (Ericson, "Real-Time Collision Detection", 2005, 5.1.9)."""
    d1x, d1y, d1z = q1[0] - p1[0], q1[1] - p1[1], q1[2] - p1[2]
    d2x, d2y, d2z = q2[0] - p2[0], q2[1] - p2[1], q2[2] - p2[2]
    rx, ry, rz = p1[0] - p2[0], p1[1] - p2[1], p1[2] - p2[2]
    a, e = d1x * d1x + d1y * d1y + d1z * d1z, d2x * d2x + d2y * d2y + d2z * d2z
    f, c = d2x * rx + d2y * ry + d2z * rz, d1x * rx + d1y * ry + d1z * rz
    b = d1x * d2x + d1y * d2y + d1z * d2z
    tiny = 1e-15
    s = t = 0.0
    if a > tiny and e > tiny:
        denominator = a * e - b * b
        s = min(1.0, max(0.0, (b * f - c * e) / denominator)) if denominator > tiny else 0.0
        t = (b * s + f) / e
        if t < 0.0:
            t, s = 0.0, min(1.0, max(0.0, -c / a))
        elif t > 1.0:
            t, s = 1.0, min(1.0, max(0.0, (b - c) / a))
    elif a > tiny:
        s = min(1.0, max(0.0, -c / a))
    elif e > tiny:
        t = min(1.0, max(0.0, f / e))
    x, y, z = rx + s * d1x - t * d2x, ry + s * d1y - t * d2y, rz + s * d1z - t * d2z
    return float(np.sqrt(x * x + y * y + z * z))


@numba.njit(cache=True)
def box_distance(p: Float64, q: Float64, low: Float64, high: Float64) -> float:
    """Distance [m] of segment p-q (3,) to the box low..high (3,); 0 when they meet.

    The squared distance is convex along the segment, so its smallest value is found by halving on its slope.
    """
    left, right = 0.0, 1.0
    for k in range(_HALVINGS + 2):
        t = 0.0 if k == 0 else (1.0 if k == 1 else 0.5 * (left + right))
        slope = square = 0.0
        for r in range(3):
            d = q[r] - p[r]
            x = p[r] + t * d
            gap = x - high[r] if x > high[r] else (x - low[r] if x < low[r] else 0.0)
            slope += gap * d
            square += gap * gap
        if square == 0.0 or (k == 0 and slope >= 0.0) or (k == 1 and slope <= 0.0):
            break
        if k > 1:
            if slope > 0.0:
                right = t
            else:
                left = t
    return float(np.sqrt(square))
