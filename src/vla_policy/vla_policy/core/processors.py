"""Between the contract's units and what a model is fed: one place, with inverses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core import rotations
from vla_core.action_parts import ActionPart
from vla_core.contract import Contract
from vla_core.errors import PolicyError
from vla_core.types import Float32

POSITION_SCALE_M = 0.1


@dataclass(frozen=True, slots=True)
class ToolPoseRelative:
    """Absolute tool poses to motion relative to the tool at the observation, and back.

    Outside (A=8): position [m] and quaternion xyzw in the base frame, gripper 0 closed .. 1 open.
    Inside (D=7): position minus the observed tool position [0.1 m], rotation vector of R_target R_tool^T [rad, base
    frame], gripper -1 closed .. 1 open.

    Attributes:
        tool: Where the observed tool pose lies in the state vector.
    """

    tool: slice
    width: int = 7

    def forward(self, actions: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """(...,T,8) absolute actions and (...,S) state to (...,T,7)."""
        pose = np.asarray(state[..., self.tool], np.float64)[..., None, :]
        actions = np.asarray(actions, np.float64)
        position = (actions[..., :3] - pose[..., :3]) / POSITION_SCALE_M
        rotation = rotations.to_rotvec(rotations.multiply(actions[..., 3:7], rotations.conjugate(pose[..., 3:7])))
        gripper = 2.0 * actions[..., 7:8] - 1.0
        return np.concatenate([position, rotation, gripper], -1).astype(np.float32)

    def inverse(self, relative: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """(...,T,7) back to (...,T,8) absolute actions; the gripper is clipped to 0..1, quaternions have unit norm."""
        pose = np.asarray(state[..., self.tool], np.float64)[..., None, :]
        relative = np.asarray(relative, np.float64)
        position = relative[..., :3] * POSITION_SCALE_M + pose[..., :3]
        rotation = rotations.multiply(rotations.from_rotvec(relative[..., 3:6]), pose[..., 3:7])
        rotation /= np.linalg.norm(rotation, axis=-1, keepdims=True)
        gripper = np.clip(0.5 * (relative[..., 6:7] + 1.0), 0.0, 1.0)
        return np.concatenate([position, rotation, gripper], -1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class StateFeatures:
    """State vector to what the model reads: the quaternion becomes two columns of its rotation matrix.

    The first three features are the tool position [m], so that a model can relate places to the tool.
    """

    tool: slice
    state_size: int

    @property
    def width(self) -> int:
        return self.state_size + 2

    def place(self, column: int) -> int:
        """Which feature a column of the state vector, not of the tool pose, becomes."""
        return 9 + (column if column < self.tool.start else column - (self.tool.stop - self.tool.start))

    def forward(self, state: NDArray[np.floating[Any]]) -> Float32:
        """(...,S) to (...,S+2): tool position, rotation columns 0 and 1, then the rest of the state."""
        pose = state[..., self.tool]
        matrix = rotations.to_matrix(np.asarray(pose[..., 3:7], np.float64))
        columns = np.concatenate([matrix[..., 0], matrix[..., 1]], -1)
        rest = np.delete(state, np.arange(self.state_size)[self.tool], axis=-1)
        return np.concatenate([pose[..., :3], columns, rest], -1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ToolSteps:
    """Steps of the tool (`tool_delta` relative to the previous step) and a gripper effort, scaled; no state involved.

    Outside (A=7): displacement [m], rotation vector [rad], gripper effort -1..1. Inside (D=7): displacement [cm], the
    rest as it is.
    """

    width: int = 7

    def forward(self, actions: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """(...,T,7) to (...,T,7)."""
        inside: Float32 = np.asarray(actions, np.float32) * _STEP_SCALE
        return inside

    def inverse(self, relative: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """Inverse of `forward`; the gripper is clipped to -1..1."""
        out: Float32 = np.asarray(relative, np.float32) / _STEP_SCALE
        out[..., 6] = np.clip(out[..., 6], -1.0, 1.0)
        return out


@dataclass(frozen=True, slots=True)
class PlainState:
    """A state vector that begins with the tool position [m] and is fed as it is."""

    width: int

    def place(self, column: int) -> int:
        """See StateFeatures."""
        return column

    def forward(self, state: NDArray[np.floating[Any]]) -> Float32:
        """(...,S) to the same."""
        return np.asarray(state, np.float32)


@dataclass(frozen=True, slots=True)
class JointsRelative:
    """Joint positions to motion relative to the joints at the observation, and back.

    Outside (A=J+1): joint positions [rad], gripper 0 closed .. 1 open. Inside (D=J+1): joint positions minus the
    observed ones [rad], gripper -1 closed .. 1 open.

    Attributes:
        joints: Where the observed joint positions lie in the state vector.
    """

    joints: slice

    @property
    def width(self) -> int:
        return int(self.joints.stop) - int(self.joints.start) + 1

    def forward(self, actions: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """(...,T,J+1) absolute actions and (...,S) state to (...,T,J+1)."""
        inside = np.array(actions, np.float32)
        inside[..., :-1] -= state[..., None, self.joints]
        inside[..., -1] = 2.0 * inside[..., -1] - 1.0
        return inside

    def inverse(self, relative: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """Inverse of `forward`; the gripper is clipped to 0..1."""
        out = np.array(relative, np.float32)
        out[..., :-1] += state[..., None, self.joints]
        out[..., -1] = np.clip(0.5 * (out[..., -1] + 1.0), 0.0, 1.0)
        return out


_STEP_SCALE = np.array([100.0, 100.0, 100.0, 1.0, 1.0, 1.0, 1.0], np.float32)
ActionTransform = ToolPoseRelative | ToolSteps | JointsRelative


def action_transform(contract: Contract) -> ActionTransform:
    """The transform for a contract's action space.

    Raises:
        PolicyError: no transform for it.
    """
    match contract.action_parts:
        case _ if contract.action_space == "tool_pose":
            return ToolPoseRelative(contract.state_slice("tool_pose"))
        case [ActionPart(space="tool_delta", relative_to="previous_step"), ActionPart(space="gripper", kind="effort")]:
            return ToolSteps()
        case [ActionPart(space="joint_position"), ActionPart(space="gripper", kind="position")]:
            return JointsRelative(contract.state_slice("joint_position"))
    expected = "tool_pose, joint_position with a gripper, or tool_delta of single steps with a gripper effort"
    raise PolicyError(f"action space '{contract.action_space}'", expected, "use a contract with such actions")


def state_features(contract: Contract) -> StateFeatures | PlainState:
    """The state features for a contract whose state holds a `tool_pose` block, or begins with a `tool_position`.

    Raises:
        ContractError: neither.
    """
    if contract.state and contract.state[0].key == "tool_position":
        return PlainState(len(contract.state_names))
    return StateFeatures(contract.state_slice("tool_pose"), len(contract.state_names))
