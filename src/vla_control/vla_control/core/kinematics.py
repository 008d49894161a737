"""Forward kinematics of one arm or several, compiled, for what must be known many times per tick.

Pinocchio computes the same; its calls cost more in Python than the arithmetic does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pinocchio as pin

from vla_control.core.robot import RobotModel
from vla_core.types import Float64

_PROBE = 0.5  # [rad] or [m]


@dataclass(frozen=True, slots=True)
class Chain:
    """Joints 1..J of a model; 0 is the base.

    Attributes:
        parent: int64 (J,) joint that each joint is attached to.
        rotation, position: (J,3,3), (J,3) [m] placement in the parent at zero.
        axis: (J,3) unit vector about or along which the joint moves, its own frame.
        slides: bool (J,) prismatic instead of revolute.
        tool_joint: int64 (A,) joint that carries each arm's tool. tool: (A,3) [m] of the tools in these joints' frames.
        reach: (A,J) [m] no smaller than the distance of each tool from each joint's origin, wherever the arm is; 0 for
            joints that don't move the tool.
    """

    parent: np.ndarray
    rotation: Float64
    position: Float64
    axis: Float64
    slides: np.ndarray
    tool_joint: np.ndarray
    tool: Float64
    reach: Float64

    @classmethod
    def of(cls, robot: RobotModel) -> Chain:
        """Chain of a robot, with all its arms, whose joints have one degree of freedom each."""
        model: Any = robot.model
        data, count = model.createData(), robot.joint_count
        pin.forwardKinematics(model, data, np.full(count, _PROBE))
        rotation, position = np.zeros((count, 3, 3)), np.zeros((count, 3))
        axis, slides = np.zeros((count, 3)), np.zeros(count, np.bool_)
        for i in range(count):
            place = model.jointPlacements[i + 1]
            moved = place.actInv(data.liMi[i + 1])
            turn = pin.log3(moved.rotation)
            slides[i] = np.linalg.norm(turn) < 1e-9
            rotation[i], position[i] = place.rotation, place.translation
            axis[i] = (moved.translation if slides[i] else turn) / _PROBE
        parent = np.array(list(model.parents)[1:], dtype=np.int64)
        frames = [model.frames[tool] for tool in robot.tool_ids]
        tool = np.array([frame.placement.translation for frame in frames])
        tool_joint = np.array([frame.parentJoint for frame in frames], dtype=np.int64)
        reach = np.zeros((len(frames), count))
        stroke = np.maximum(np.abs(robot.config.position_min_rad), np.abs(robot.config.position_max_rad))
        for row, place, carrier in zip(reach, tool, tool_joint, strict=True):
            length, joint = float(np.linalg.norm(place)), int(carrier)
            while joint > 0:
                i = joint - 1
                length += float(stroke[i]) if slides[i] else 0.0
                row[i] = length
                length += float(np.linalg.norm(position[i]))
                joint = int(parent[i])
        return cls(parent, rotation, position, axis, slides, tool_joint, tool, reach)


@numba.njit(cache=True)
def forward(
    parent: np.ndarray, rotation: Float64, position: Float64, axis: Float64, slides: np.ndarray, q: Float64,
    turn: Float64, place: Float64,
) -> None:  # fmt: skip
    """Fill turn (J+1,3,3) and place (J+1,3) [m] with the joints' frames in the base frame at q (J,)."""
    turn[0] = np.eye(3)
    place[0] = 0.0
    local = np.empty((3, 3))
    for i in range(q.shape[0]):
        p, x = parent[i], axis[i]
        for r in range(3):
            place[i + 1, r] = place[p, r]
            for c in range(3):
                place[i + 1, r] += turn[p, r, c] * position[i, c]
        for r in range(3):
            for c in range(3):
                s = 0.0
                for k in range(3):
                    s += turn[p, r, k] * rotation[i, k, c]
                turn[i + 1, r, c] = s
        if slides[i]:
            for r in range(3):
                for c in range(3):
                    place[i + 1, r] += turn[i + 1, r, c] * x[c] * q[i]
            continue
        sine, cosine = np.sin(q[i]), np.cos(q[i])
        one = 1.0 - cosine
        local[0, 0], local[1, 1], local[2, 2] = (
            cosine + one * x[0] * x[0], cosine + one * x[1] * x[1], cosine + one * x[2] * x[2],
        )  # fmt: skip
        local[0, 1], local[1, 0] = one * x[0] * x[1] - sine * x[2], one * x[0] * x[1] + sine * x[2]
        local[0, 2], local[2, 0] = one * x[0] * x[2] + sine * x[1], one * x[0] * x[2] - sine * x[1]
        local[1, 2], local[2, 1] = one * x[1] * x[2] - sine * x[0], one * x[1] * x[2] + sine * x[0]
        for r in range(3):
            a, b, c0 = turn[i + 1, r, 0], turn[i + 1, r, 1], turn[i + 1, r, 2]
            for c in range(3):
                turn[i + 1, r, c] = a * local[0, c] + b * local[1, c] + c0 * local[2, c]


@numba.njit(cache=True)
def point(turn: Float64, place: Float64, joint: int, local: Float64, out: Float64) -> None:
    """Fill out (3,) [m] with a point of a joint's frame, in the base frame."""
    for r in range(3):
        out[r] = place[joint, r]
        for c in range(3):
            out[r] += turn[joint, r, c] * local[c]


@numba.njit(cache=True)
def speed_of(
    parent: np.ndarray, axis: Float64, slides: np.ndarray, turn: Float64, place: Float64, joint: int, at: Float64,
    qd: Float64,
) -> float:  # fmt: skip
    """Speed [m/s] of a point at (3,) [m] that moves with `joint`, from the frames that `forward` filled."""
    vx = vy = vz = 0.0
    k = joint
    while k > 0:
        i = k - 1
        x = turn[k, 0, 0] * axis[i, 0] + turn[k, 0, 1] * axis[i, 1] + turn[k, 0, 2] * axis[i, 2]
        y = turn[k, 1, 0] * axis[i, 0] + turn[k, 1, 1] * axis[i, 1] + turn[k, 1, 2] * axis[i, 2]
        z = turn[k, 2, 0] * axis[i, 0] + turn[k, 2, 1] * axis[i, 1] + turn[k, 2, 2] * axis[i, 2]
        if slides[i]:
            vx, vy, vz = vx + x * qd[i], vy + y * qd[i], vz + z * qd[i]
        else:
            dx, dy, dz = at[0] - place[k, 0], at[1] - place[k, 1], at[2] - place[k, 2]
            vx += (y * dz - z * dy) * qd[i]
            vy += (z * dx - x * dz) * qd[i]
            vz += (x * dy - y * dx) * qd[i]
        k = parent[i]
    return float(np.sqrt(vx * vx + vy * vy + vz * vz))
