"""Inverse kinematics of a chunk: tool poses to a joint path, each step warm-started by the one before.

Every iteration is the box-constrained least-squares problem (Gauss-Newton; daqp solves it)

    min |W (J dq - e)|^2 + w |dq - d|^2   s.t.  q_min <= q + dq <= q_max,  |dq| <= step,  G dq >= g

with e the error twist in the tool frame and d a pull towards the home posture, which the small w lets act in the
null space only. G and g keep pairs of shapes apart (`collision`); they are soft, so that an arm that is too near
already finds a way out. A pose out of reach ends at its nearest reachable one.
"""

from __future__ import annotations

from dataclasses import dataclass

import daqp
import numpy as np
import pinocchio as pin

from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.errors import ChunkError
from vla_core.types import Float64

_WEIGHT = 1e-4
_STEP_RAD = 0.3
_ITERATIONS = 25
_CONVERGED = 1e-5  # [m] of weighted error
_LIMIT_MARGIN_RAD = 0.01
_JOINTS_MET_RAD = 1e-6
_SETTLED_RAD = 1e-4  # an arm held by a barrier is at its nearest place when it moves by less
_TOUCHING_M = 1e-6
_SOFT = 8  # daqp: a constraint that may be broken at a cost
_UNBOUNDED = 1e30


@dataclass(frozen=True, slots=True)
class JointPath:
    """Result: q (T,J) [rad] and how far each step's tool stays from its pose, (T,) [m] and (T,) [rad]."""

    q_rad: Float64
    error_m: Float64
    error_rad: Float64


class ChunkIk:
    """Solver for one robot; not reentrant.

    Attributes:
        problems: Quadratic problems solved since the beginning.
    """

    def __init__(self, robot: RobotModel, params: ExecutorParameters) -> None:
        config = robot.config
        joints = robot.joint_count
        self._robot, self._params = robot, params
        self._data = robot.model.createData()
        self._low = config.position_min_rad + _LIMIT_MARGIN_RAD
        self._high = config.position_max_rad - _LIMIT_MARGIN_RAD
        self._collision = robot.collision_model()
        pairs = 0 if self._collision is None else self._collision.count
        self.problems = 0
        self._no_rows = np.zeros((0, joints))
        self._sense = np.concatenate([np.zeros(joints), np.full(pairs, _SOFT)]).astype(np.int32)
        self._scale = np.array([1.0] * 3 + [config.ik_rotation_m] * 3)[:, None]

    def solve(
        self, positions_m: Float64, quaternions: Float64, q_start: Float64, dt_s: float, lead: int = -1
    ) -> JointPath:
        """Joint path through tool poses.

        Args:
            positions_m: (T,3), base frame. quaternions: (T,4) xyzw, any length > 0.
            q_start: (J,) where the search begins [rad]. dt_s: Time between steps, for the posture pull [s].
            lead: The search begins at this pose, goes back from it to the first one without a pull, for the arm has
                been there, and from it on to the last one; -1: at the first one, with a pull.

        Raises:
            ChunkError: a pose is out of reach by more than the leash.
        """
        count = len(positions_m)
        path, errors = np.empty((count, len(q_start))), np.empty((count, 6))
        unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
        q = np.clip(q_start, self._low, self._high)
        pull = self._params.ik_posture_rate_1_s * dt_s
        for i in (*range(lead, -1, -1), *range(lead + 1, count)):
            x, y, z, w = unit[i]
            before = path[lead] if i == lead + 1 and i else q
            q, errors[i] = self._step(before, pin.SE3(pin.Quaternion(w, x, y, z), positions_m[i]), pull * (i > lead))
            path[i] = q
        error_m, error_rad = np.linalg.norm(errors[:, :3], axis=1), np.linalg.norm(errors[:, 3:], axis=1)
        beyond = (error_m > self._params.leash_m) | (error_rad > self._params.leash_rad)
        if beyond.any():
            i = int(np.argmax(beyond))
            place = np.round(positions_m[i], 3).tolist()
            got = f"step {i} at {place} m, out of reach by {error_m[i]:.3f} m, {error_rad[i]:.2f} rad"
            expected = f"at most {self._params.leash_m} m and {self._params.leash_rad} rad (the leash)"
            raise ChunkError(got, expected, "check the action's units and frame, or bring the base closer")
        return JointPath(path, error_m, error_rad)

    def check(self, path: Float64) -> None:
        """Raise ChunkError when a finished motion (N,J) [rad] brings shapes too near (`CollisionModel.check`)."""
        if self._collision is not None:
            self._collision.check(path)

    def guard(self, path: Float64, q_start: Float64) -> JointPath:
        """The joint path (T,J) [rad], kept within limits and barriers: each step as near to it as they allow.

        Args:
            q_start: (J,) where the arm comes from [rad].

        Raises:
            ChunkError: a step must be moved by more than the leash.
        """
        guarded = np.clip(path, self._robot.config.position_min_rad, self._robot.config.position_max_rad)
        q, unit = q_start, np.eye(path.shape[1])
        for i, wanted in enumerate(guarded):
            if self._collision is None or self._collision.distances(wanted).min() >= self._collision.config.safe_m:
                q = wanted
                continue
            for _ in range(_ITERATIONS):
                pin.computeJointJacobians(self._robot.model, self._data, q)
                solved = self._change(q, unit, q - wanted)
                if solved is None or np.abs(solved[0]).max() < _JOINTS_MET_RAD:
                    break
                q = q + solved[0]
            guarded[i] = q
        beyond = np.abs(path - guarded).max(axis=1)
        if np.any(beyond > self._params.leash_rad):
            i = int(np.argmax(beyond))
            got = f"step {i} beyond the joint limits, or in collision, by {beyond[i]:.2f} rad"
            expected = f"at most {self._params.leash_rad} rad (the leash)"
            raise ChunkError(got, expected, "check the action's units and order")
        return JointPath(guarded, np.zeros_like(beyond), beyond)

    def _step(self, q: Float64, target: pin.SE3, pull: float) -> tuple[Float64, Float64]:
        """Nearest reachable posture for one pose: q (J,) and the error twist (6,) left over."""
        robot, data = self._robot, self._data
        last, pressed = np.inf, False  # pressed: against a barrier, where the error grows on the way back
        desired = pull * (robot.config.home_rad - q)
        for iteration in range(_ITERATIONS):
            pin.computeJointJacobians(robot.model, data, q)
            pose = pin.updateFramePlacement(robot.model, data, robot.tool_id)
            error = pin.log6(pose.actInv(target)).vector
            weighted = error * self._scale[:, 0]
            size = float(weighted @ weighted) ** 0.5
            met, stuck = size < _CONVERGED, iteration > 1 and size > 0.999 * last and not pressed
            if iteration and (met or stuck):  # the first iteration always runs: it moves the null space
                break
            last = size
            jacobian = self._scale * pin.getFrameJacobian(robot.model, data, robot.tool_id, pin.LOCAL)
            hessian = jacobian.T @ jacobian
            hessian.flat[:: len(q) + 1] += _WEIGHT
            gradient = -(weighted @ jacobian) - _WEIGHT * desired
            solved = self._change(q, hessian, gradient)
            if solved is None:
                break
            change, held = solved
            q = q + change
            pressed = held and bool(np.abs(change).max() > _SETTLED_RAD)
            desired = np.zeros_like(q)
        return q, error

    def _change(self, q: Float64, hessian: Float64, gradient: Float64) -> tuple[Float64, bool] | None:
        """The best dq (J,) within limits and barriers, and whether a barrier holds it; None in numerical trouble.

        Needs `data.J` at q.
        """
        low = np.maximum(self._low - q, -_STEP_RAD)
        high = np.minimum(self._high - q, _STEP_RAD)
        rows = self._no_rows
        if self._collision is not None:
            rows, least = self._collision.rows(self._data)
            if len(rows):
                low, high = np.concatenate([low, least]), np.concatenate([high, np.full(len(least), _UNBOUNDED)])
        change, _, flag, _ = daqp.solve(hessian, gradient, rows, high, low, self._sense[: len(low)])
        self.problems += 1
        if flag < 0:
            return None
        return change, bool(len(rows)) and bool(np.any(rows @ change <= low[len(q) :] + _TOUCHING_M))
