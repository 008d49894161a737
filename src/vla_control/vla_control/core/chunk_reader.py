"""Reads action chunks by their contract: is this one fit, which joint path, which gripper opening."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_control.core.ik import ChunkIk, JointPath
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.errors import ChunkError, ConfigError
from vla_core.types import ActionChunk, Float64

_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
_OPEN_ABOVE, _CLOSED_BELOW = 0.6, 0.4
_UNIT_SLACK, _DT_SLACK = 0.1, 1e-3


class ChunkReader:
    """Knows where in a chunk what stands; action columns are found by name."""

    def __init__(self, robot: RobotModel, contract: Contract, params: ExecutorParameters) -> None:
        """Find the columns.

        Raises:
            ConfigError: the contract lacks an action.
        """
        self._config, self._contract, self._params = robot.config, contract, params
        grippers = tuple(gripper.name for gripper in robot.config.grippers)
        motion = _POSE if contract.action_space == "tool_pose" else robot.config.joints
        wanted = (*motion, *grippers)
        missing = [name for name in wanted if name not in contract.action_names]
        if missing:
            raise ConfigError(f"contract '{contract.name}' without actions {missing}", f"{list(wanted)}", "add them")
        self._columns = [contract.action_names.index(name) for name in motion]
        self._grippers = [contract.action_names.index(name) for name in grippers]
        self._ik = ChunkIk(robot, params)

    def check(self, chunk: ActionChunk) -> None:
        """Compare a chunk with the contract.

        Raises:
            ChunkError: another contract, action space, rate or shape, or numbers that aren't finite.
        """
        contract, actions = self._contract, chunk.actions
        if chunk.contract_hash != contract.hash:
            fix = "run policy and executor with the same contract, or retrain"
            raise ChunkError(f"contract {chunk.contract_hash or 'none'}", f"{contract.hash} ({contract.name})", fix)
        if chunk.action_space != contract.action_space or chunk.action_names != contract.action_names:
            got = f"action space '{chunk.action_space}' with {list(chunk.action_names)}"
            expected = f"'{contract.action_space}' with {list(contract.action_names)}"
            raise ChunkError(got, expected, "send actions in the contract's order")
        if not abs(chunk.dt_s - contract.dt_s) <= _DT_SLACK * contract.dt_s:
            expected = f"{contract.dt_s} (the contract's rate)"
            raise ChunkError(f"dt_s = {chunk.dt_s}", expected, "correct the policy's rate")
        width = len(contract.action_names)
        if actions.ndim != 2 or actions.shape[1] != width or not 2 <= len(actions) <= contract.horizon:
            expected = f"(2..{contract.horizon}, {width})"
            raise ChunkError(f"actions {actions.shape}", expected, "correct the policy's head")
        bad = ~np.isfinite(actions)
        if bad.any():
            step, column = (int(i) for i in np.argwhere(bad)[0])
            where = f"step {step}, {contract.action_names[column]}"
            got = f"{int(bad.sum())} values that aren't finite, the first at {where}"
            raise ChunkError(got, "finite numbers", "check the policy's normalisation and weights")

    def joint_path(self, chunk: ActionChunk, first: int, start_q: Float64) -> JointPath:
        """Joint positions of the steps from `first` on.

        Args:
            start_q: [rad] (J,) where the arm will be then; inverse kinematics begins there.

        Raises:
            ChunkError: a quaternion isn't of unit length, or a step is out of reach by more than the leash.
        """
        values = chunk.actions[first:, self._columns].astype(np.float64)
        if chunk.action_space == "tool_pose":
            length = np.linalg.norm(values[:, 3:], axis=1)
            if np.any(np.abs(length - 1.0) > _UNIT_SLACK):
                got = f"a quaternion of length {length[np.argmax(np.abs(length - 1.0))]:.2f}"
                raise ChunkError(got, f"unit length within {_UNIT_SLACK}", "normalise it in the policy")
            return self._ik.solve(values[:, :3], values[:, 3:], start_q, chunk.dt_s)
        inside = np.clip(values, self._config.position_min_rad, self._config.position_max_rad)
        beyond = np.abs(values - inside).max(axis=1)
        if np.any(beyond > self._params.leash_rad):
            got = f"step {first + int(np.argmax(beyond))} beyond the joint limits by {beyond.max():.2f} rad"
            expected = f"at most {self._params.leash_rad} rad (the leash)"
            raise ChunkError(got, expected, "check the action's units and order")
        return JointPath(inside, np.zeros_like(beyond), beyond)

    def openings(self, chunk: ActionChunk, first: int, is_open: NDArray[np.bool_]) -> Float64:
        """Openings (T,G) of the grippers, 0 closed .. 1 open, of the steps from `first` on (beyond: clipped).

        Args:
            is_open: Whether each gripper is open now (G,): in binary mode hesitant values keep it so.
        """
        opening = np.clip(chunk.actions[first:, self._grippers].astype(np.float64), 0.0, 1.0)
        if self._params.gripper_mode == "binary":
            for i, value in enumerate(opening):
                is_open = (value > _OPEN_ABOVE) | (is_open & (value >= _CLOSED_BELOW))
                opening[i] = is_open
        return opening
