"""From joint states as a driver sends them to the contract's state vector, by joint name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract, StateSpec
from vla_core.errors import ContractError, ObservationError
from vla_core.types import Float32, Float64


@dataclass(frozen=True, slots=True)
class JointSample:
    """Joint states in the driver's order.

    Attributes:
        names: (N,) joint names.
        position: float64 (N,) [rad] or [m].
        velocity: float64 (N,) [rad/s] or [m/s], or (0,) when the driver doesn't measure it.
    """

    names: tuple[str, ...]
    position: Float64
    velocity: Float64


@dataclass(frozen=True, slots=True)
class JointReading:
    """Checked joint states in the robot file's order.

    Attributes:
        q_rad: float64 (J,).
        qd_rad_s: float64 (J,), or None when the driver doesn't measure velocity and the contract doesn't ask for it.
        gripper_width_m: float64 (G,) distance between each gripper's finger tips [m].
    """

    q_rad: Float64
    qd_rad_s: Float64 | None
    gripper_width_m: Float64


class Proprioception:
    """Reads the robot of a contract.

    State blocks that a contract may name: joint_position [rad] and joint_velocity [rad/s] (any joints of the arm, in
    any order), gripper_width [m] (one per gripper, the robot file's order), tool_pose (of the first arm: x y z [m],
    quaternion xyzw, base frame, by forward kinematics).

    Args:
        contract: Names the blocks of the state vector.
        robot: Kinematics of the contract's robot.

    Raises:
        ContractError: the contract names an unknown block, an unknown joint, or a wrong number of names.
    """

    def __init__(self, contract: Contract, robot: RobotModel) -> None:
        self._robot = robot
        self._grippers = robot.config.grippers
        fingers = [gripper.joints for gripper in self._grippers]
        self._needed = (*robot.config.joints, *(name for names in fingers for name in names))
        self._arm = len(robot.config.joints)
        self._next_finger = np.cumsum([len(names) for names in fingers])[:-1]
        self._needs_velocity = any(block.key == "joint_velocity" for block in contract.state)
        self._blocks = [self._block(block, contract) for block in contract.state]
        self._order: tuple[tuple[str, ...], NDArray[np.intp]] = ((), np.zeros(0, dtype=np.intp))

    def read(self, sample: JointSample) -> JointReading:
        """Check a sample and put it into the robot file's order.

        Raises:
            ObservationError: a joint of the robot is missing, a name comes twice, numbers and names don't match in
                count, or a number isn't finite; the message names the joints.
        """
        if sample.names != self._order[0]:
            self._order = (sample.names, self._find(sample.names))
        indices = self._order[1]
        q = self._pick(sample.position, indices, sample, "position")
        qd = None
        if self._needs_velocity or sample.velocity.size == len(sample.names):
            velocity = self._pick(sample.velocity, indices[: self._arm], sample, "velocity", self._needs_velocity)
            qd = velocity if np.all(np.isfinite(velocity)) else None
        fingers = np.split(q[self._arm :], self._next_finger)
        width = np.array([g.width_m(at) for g, at in zip(self._grippers, fingers, strict=True)])
        return JointReading(q[: self._arm], qd, width)

    def vector(self, reading: JointReading) -> Float32:
        """State vector of a reading: float32 (S,), the contract's order and units."""
        return np.concatenate([block(reading) for block in self._blocks]).astype(np.float32)

    def _find(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        robot = self._robot.config.name
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            fix = "let one driver publish each joint"
            raise ObservationError(f"joint states that name {', '.join(twice)} twice", "each joint once", fix)
        missing = [name for name in self._needed if name not in names]
        if missing:
            fix = "publish arm and gripper in one message (joint_state_publisher merges them) or mend the names"
            got = f"joint states without {', '.join(missing)}"
            raise ObservationError(got, f"all joints of robot '{robot}' in one message", fix)
        return np.array([names.index(name) for name in self._needed], dtype=np.intp)

    @staticmethod
    def _pick(
        values: Float64, indices: NDArray[np.intp], sample: JointSample, kind: str, finite: bool = True
    ) -> Float64:
        if values.shape != (len(sample.names),):
            got = f"{values.size} numbers of joint {kind} for {len(sample.names)} names"
            raise ObservationError(got, "one number per name", f"let the driver fill {kind}")
        picked = values[indices]
        if finite and not np.all(np.isfinite(picked)):
            bad = [f"{sample.names[i]} = {values[i]}" for i in indices if not np.isfinite(values[i])]
            raise ObservationError(f"joint {kind} {', '.join(bad)}", "finite numbers", "check the robot's encoders")
        return picked

    def _block(self, block: StateSpec, contract: Contract) -> Callable[[JointReading], Float64]:
        fix = f"mend observation.state of contract '{contract.name}'"
        counts = {"gripper_width": len(self._robot.config.grippers), "tool_pose": 7}
        if block.key in counts and len(block.names) != counts[block.key]:
            got = f"{len(block.names)} names for state '{block.key}'"
            raise ContractError(got, f"{counts[block.key]} names", fix)
        if block.key == "gripper_width":
            return lambda reading: reading.gripper_width_m
        if block.key == "tool_pose":
            return lambda reading: np.concatenate(self._robot.tool_pose(reading.q_rad))
        joints = self._robot.config.joints
        unknown = [name for name in block.names if name not in joints]
        if block.key not in {"joint_position", "joint_velocity"}:
            known = "joint_position, joint_velocity, gripper_width, tool_pose"
            raise ContractError(f"state '{block.key}'", f"one of: {known}", fix)
        if unknown:
            raise ContractError(f"joints {unknown} in state '{block.key}'", f"some of {list(joints)}", fix)
        order = np.array([joints.index(name) for name in block.names], dtype=np.intp)
        if block.key == "joint_position":
            return lambda reading: reading.q_rad[order]
        return lambda reading: _velocity(reading)[order]


def _velocity(reading: JointReading) -> Float64:
    if reading.qd_rad_s is None:
        raise ObservationError("a reading without joint velocity", "velocity, which the contract names", "measure it")
    return reading.qd_rad_s
