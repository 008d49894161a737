"""The places that the arms must not get to: out of the workspace, into themselves, into what stands around them.

Looked at is not where the target is but where it would come to rest if it were braked now. As soon as that is too
close, the target must brake, and then rests there, as far from the obstacle as the clearance asks for. A target that
is too close already, because it began there, may move away but not closer.
"""

from __future__ import annotations

import numba
import numpy as np

from vla_control.core.blend import ACCELERATION_SHARE
from vla_control.core.covers import Covers, box_distance, segment_distance
from vla_control.core.kinematics import Chain, forward, point
from vla_control.core.knots import JERK_SHARE
from vla_control.core.robot import RobotModel
from vla_control.core.stop_point import stop_point
from vla_core.records import LIMITS
from vla_core.types import Float64

_WORKSPACE = 1 << LIMITS.index("workspace")
_SELF = 1 << LIMITS.index("self_collision")
_SCENE = 1 << LIMITS.index("scene_collision")
_CLOSER_M = 1e-6  # less than this is no approach


class Guard:
    """Judges a motion once per tick; allocates nothing.

    Args:
        robot: Its configuration holds workspace, clearances and obstacles; its model file the shapes.
    """

    def __init__(self, robot: RobotModel) -> None:
        config, count = robot.config, robot.joint_count
        chain, covers = Chain.of(robot), Covers.of(robot)
        self._chain = (chain.parent, chain.rotation, chain.position, chain.axis, chain.slides)
        self._covers = (covers.joint, covers.ends, covers.radius, covers.pairs)
        boxes = [(box.min_m, box.max_m) for box in config.obstacles]
        self._boxes: Float64 = np.array(boxes, np.float64).reshape(-1, 2, 3)
        self._frames = np.zeros((2, count + 1, 3, 3)), np.zeros((2, count + 1, 3))
        self._fixed = (
            config.acceleration_rad_s2 * ACCELERATION_SHARE, config.jerk_rad_s3 * JERK_SHARE, np.zeros(count),
            *self._chain, chain.tool_joint, chain.tool, *self._covers,
            np.array([config.workspace_min_m, config.workspace_max_m]), self._boxes,
            np.array([config.self_clearance_m, config.scene_clearance_m]),
            *self._frames, np.zeros((2, len(covers.radius), 2, 3)), np.zeros((2, *chain.tool.shape)),
        )  # fmt: skip

    def check(self, q: Float64, qd: Float64, qdd: Float64) -> int:
        """Bits of the limits, in the order of LIMITS, that ask the motion q, qd, qdd (J,) to brake now; 0: none."""
        return int(too_close(q, qd, qdd, *self._fixed))

    def distances(self, q: Float64) -> tuple[float, float]:
        """Smallest distances [m] at q (J,) to itself and to the obstacles; negative: they overlap."""
        turn, place = self._frames[0][0], self._frames[1][0]
        forward(*self._chain, np.ascontiguousarray(q, np.float64), turn, place)
        joint, ends, radius, pairs = self._covers
        world = np.array([[turn[j] @ end + place[j] for end in two] for j, two in zip(joint, ends, strict=True)])
        own = [segment_distance(*world[a], *world[b]) - radius[a] - radius[b] for a, b in pairs]
        scene = [
            box_distance(*world[k], *box) - radius[k] for k in range(len(radius)) if joint[k] > 0 for box in self._boxes
        ]
        return min(own, default=np.inf), min(scene, default=np.inf)


@numba.njit(cache=True)
def too_close(
    q: Float64, qd: Float64, qdd: Float64, acceleration: Float64, jerk: Float64, rest: Float64,
    parent: np.ndarray, rotation: Float64, position: Float64, axis: Float64, slides: np.ndarray,
    tool_joint: np.ndarray, tool: Float64,
    joint: np.ndarray, ends: Float64, radius: Float64, pairs: np.ndarray,
    room: Float64, boxes: Float64, clearance: Float64,
    turn: Float64, place: Float64, world: Float64, at: Float64,
) -> int:  # fmt: skip
    """Bits of what the resting place `rest` (J,) is too close to, and closer than q is; fills `rest`.

    Args:
        q, qd, qdd: Motion (J,). acceleration, jerk: What a brake may use (J,).
        parent .. slides: Of `Chain`. tool_joint, tool: Of `Chain`. joint .. pairs: Of `Covers`.
        room: (2,3) workspace of the tools [m]. boxes: (B,2,3) [m]. clearance: (2,) to itself and to boxes [m].
        turn, place, world, at: Room to work in.
    """
    stop_point(q, qd, qdd, acceleration, jerk, rest)
    bits, looked = 0, 1  # of the two places, only where it rests is looked at as long as that is far from everything
    k = 0
    while k < looked:
        forward(parent, rotation, position, axis, slides, rest if k == 0 else q, turn[k], place[k])
        for tip in range(tool_joint.shape[0]):
            point(turn[k], place[k], tool_joint[tip], tool[tip], at[k, tip])
        for c in range(joint.shape[0]):
            point(turn[k], place[k], joint[c], ends[c, 0], world[k, c, 0])
            point(turn[k], place[k], joint[c], ends[c, 1], world[k, c, 1])
        if k == 0 and _is_near(at[0], world[0], joint, radius, pairs, room, boxes, clearance):
            looked = 2
        k += 1
    if looked == 1:
        return 0
    for tip in range(tool_joint.shape[0]):
        for r in range(3):
            then, now = at[0, tip, r], at[1, tip, r]
            if (then < room[0, r] and then < now - _CLOSER_M) or (then > room[1, r] and then > now + _CLOSER_M):
                bits |= _WORKSPACE
    for p in range(pairs.shape[0]):
        then = _own(world[0], radius, pairs[p])
        if then < clearance[0] and then < _own(world[1], radius, pairs[p]) - _CLOSER_M:
            bits |= _SELF
    for c in range(joint.shape[0]):
        for b in range(boxes.shape[0] if joint[c] > 0 else 0):  # the base stands where it stands
            then = _scene(world[0], radius, c, boxes[b])
            if then < clearance[1] and then < _scene(world[1], radius, c, boxes[b]) - _CLOSER_M:
                bits |= _SCENE
    return bits


@numba.njit(cache=True)
def _own(world: Float64, radius: Float64, pair: np.ndarray) -> float:
    a, b = pair[0], pair[1]
    return segment_distance(world[a, 0], world[a, 1], world[b, 0], world[b, 1]) - float(radius[a] + radius[b])


@numba.njit(cache=True)
def _scene(world: Float64, radius: Float64, c: int, box: Float64) -> float:
    return box_distance(world[c, 0], world[c, 1], box[0], box[1]) - float(radius[c])


@numba.njit(cache=True)
def _is_near(
    at: Float64, world: Float64, joint: np.ndarray, radius: Float64, pairs: np.ndarray, room: Float64, boxes: Float64,
    clearance: Float64,
) -> bool:  # fmt: skip
    """Whether one place is out of the workspace or closer than a clearance."""
    for tip in range(at.shape[0]):
        for r in range(3):
            if at[tip, r] < room[0, r] or at[tip, r] > room[1, r]:
                return True
    for p in range(pairs.shape[0]):
        if _own(world, radius, pairs[p]) < clearance[0]:
            return True
    for c in range(joint.shape[0]):
        for b in range(boxes.shape[0] if joint[c] > 0 else 0):
            gap = 0.0  # largest along an axis: no more than the distance, and quickly known
            for r in range(3):
                low, high = min(world[c, 0, r], world[c, 1, r]), max(world[c, 0, r], world[c, 1, r])
                gap = max(gap, low - boxes[b, 1, r], boxes[b, 0, r] - high)
            if gap - radius[c] < clearance[1] and _scene(world, radius, c, boxes[b]) < clearance[1]:
                return True
    return False
