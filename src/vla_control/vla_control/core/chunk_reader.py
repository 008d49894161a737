"""Reads action chunks by their contract: is this one fit, which joint path, what grippers and base shall do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_control.core.action_spaces.composite import ActionSpaces
from vla_control.core.action_spaces.gripper import GripperSteps
from vla_control.core.action_spaces.space import Reference
from vla_control.core.ik import ChunkIk, JointPath
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.errors import ChunkError
from vla_core.types import ActionChunk, Float64

_DT_SLACK = 1e-3


class ChunkReader:
    """Knows what stands where in a chunk, and in the absolute rows that it is turned into.

    Attributes:
        spaces: Between the two.
    """

    def __init__(self, robot: RobotModel, contract: Contract, params: ExecutorParameters) -> None:
        """Find the columns.

        Raises:
            ConfigError: the contract doesn't fit the robot.
        """
        self._robot, self._config, self._contract, self._params = robot, robot.config, contract, params
        self.spaces = ActionSpaces(contract, robot.config, params.gripper_mode)
        self._ik = ChunkIk(robot, params)

    def check(self, chunk: ActionChunk) -> None:
        """Compare a chunk with the contract.

        Raises:
            ChunkError: another contract, action space, rate or shape, or numbers that aren't finite or can't be meant.
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
        width, shortest = len(contract.action_names), 1 if self.spaces.accumulates else 2
        if actions.ndim != 2 or actions.shape[1] != width or not shortest <= len(actions) <= contract.horizon:
            expected = f"({shortest}..{contract.horizon}, {width})"
            raise ChunkError(f"actions {actions.shape}", expected, "correct the policy's head")
        bad = ~np.isfinite(actions)
        if bad.any():
            step, column = (int(i) for i in np.argwhere(bad)[0])
            where = f"step {step}, {contract.action_names[column]}"
            got = f"{int(bad.sum())} values that aren't finite, the first at {where}"
            raise ChunkError(got, "finite numbers", "check the policy's normalisation and weights")
        self.spaces.check(actions.astype(np.float64))

    def absolute(self, chunk: ActionChunk, reference: Reference | None) -> ActionChunk:
        """The chunk as absolute rows: (T,B), or (T+1,B) where its steps accumulate.

        Args:
            reference: The robot at the chunk's stamp; None where `spaces.reference` is ''.
        """
        rows = self.spaces.absolute(chunk.actions.astype(np.float64), reference)
        return replace(chunk, actions=rows.astype(np.float32), action_names=self.spaces.algebra.names)

    def by_contract(self, chunk: ActionChunk, reference: Reference | None) -> ActionChunk:
        """The inverse of `absolute`."""
        actions = self.spaces.by_contract(chunk.actions.astype(np.float64), reference)
        return replace(chunk, actions=actions.astype(np.float32), action_names=self._contract.action_names)

    def led(self, chunk: ActionChunk, q: Float64) -> ActionChunk:
        """Absolute rows with the arm where a plan has it, at joint positions (R,J) [rad], R >= T.

        The rest stays as told, beyond the chunk's end as told last, with the base at rest.
        """
        arm = self.spaces.arm
        chunk = replace(chunk, actions=self.spaces.held(chunk.actions.astype(np.float64), len(q)).astype(np.float32))
        if arm is None:
            return chunk
        if arm.absolute_part.space == "tool_pose":
            q = np.array([np.concatenate(self._robot.tool_pose(row)) for row in q])
        rows = self.spaces.with_arm(chunk.actions.astype(np.float64), q)
        return replace(chunk, actions=rows.astype(np.float32))

    def joint_path(self, chunk: ActionChunk, first: int, start_q: Float64, lead: int, known: Float64) -> JointPath:
        """Joint positions of the rows from `first` on.

        Args:
            chunk: As absolute rows.
            first: First row that is wanted.
            start_q: [rad] (J,) where the arm will be `lead` rows later; inverse kinematics begins there.
            lead: So many rows come before the plan is taken over.
            known: [rad] (K,J) the joints of the first K rows, where those are the motion in execution: solved anew,
                a redundant arm would be led to another posture of the same tool.

        Raises:
            ChunkError: a row is out of reach, beyond limits or in collision by more than the leash.
        """
        values = self.spaces.arm_values(chunk.actions[first:].astype(np.float64))
        if self.spaces.arm is None:
            still = np.zeros(len(values))
            return JointPath(np.tile(start_q, (len(values), 1)), still, still)
        count = len(known)
        if count:
            values, start_q, lead = values[count:], known[-1], -1
        if self.spaces.arm.absolute_part.space == "tool_pose":
            path = self._ik.solve(values[:, :3], values[:, 3:], start_q, chunk.dt_s, lead)
        else:
            path = self._ik.guard(values, start_q)
        met = np.zeros(count)
        return JointPath(
            np.concatenate([known, path.q_rad]),
            np.concatenate([met, path.error_m]),
            np.concatenate([met, path.error_rad]),
        )

    def check_path(self, q_rad: Float64) -> None:
        """Raise ChunkError when a finished motion (N,J) [rad] brings shapes too near to each other."""
        self._ik.check(q_rad)

    def tool_positions(self, chunk: ActionChunk) -> Float64:
        """Tool positions [m] (R,3), base frame, of absolute rows; (0,3) where the chunk doesn't move the arm."""
        values, arm = self.spaces.arm_values(chunk.actions.astype(np.float64)), self.spaces.arm
        if arm is None:
            return np.zeros((0, 3))
        if arm.absolute_part.space == "tool_pose":
            return values[:, :3]
        return np.array([self._robot.tool_pose(q)[0] for q in values]).reshape(-1, 3)

    def grippers(self, chunk: ActionChunk, first: int, opening: Float64, force: Float64) -> GripperSteps:
        """Openings and forces (R,G) of the rows from `first` on; `opening`, `force` (G,): what was last told."""
        return self.spaces.gripper_steps(chunk.actions[first:].astype(np.float64), opening, force)

    def twists(self, chunk: ActionChunk, first: int) -> Float64:
        """Velocity of the base (R,3) of the rows from `first` on: vx, vy [m/s], wz [rad/s]."""
        return self.spaces.twists(chunk.actions[first:].astype(np.float64))

    def end(self, chunk: ActionChunk) -> int | None:
        """Row at which the policy ends the task, None if it doesn't."""
        return self.spaces.end(chunk.actions.astype(np.float64))
