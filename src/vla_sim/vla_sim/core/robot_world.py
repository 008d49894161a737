"""What every simulated world is: a robot in one compiled model that takes commands, moves and can be copied.

A reset is a pure function of its arguments: any process that makes the same reset and restores a snapshot draws the
same picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import mujoco
import numpy as np

from vla_control.core.robot import RobotConfig, load_robot_config
from vla_core.errors import ConfigError
from vla_core.types import NS, Float64, RobotState
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.tasks import Item, Task

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_CLOSED_M = 0.01  # a gripper asked for less presses on: a servo with a force limit


class RobotWorld(ABC):
    """Commands in, physics out, 1 kHz.

    Args:
        scene: Name of `config/scenes/<scene>.yaml`.

    Attributes:
        scene: Parsed scene file.
        robot: Parsed robot file of the scene.
        task: What the last reset asks for.
        slots: Item → body name of every thing in the world.
        arm_q, arm_v, finger_q: Where the joints of the arms and of the fingers lie in MuJoCo's qpos and qvel.
        command: Field of COMMAND that the robot follows: 'tau' or 'q'.
        is_robot: bool (geoms,), which geoms are the robot.
        torque_limit_nm: What the motors give at most (J,).
        gripper_force_limit_n: And the grippers (G,).
        time_offset_ns: ROS time of the last reset; its owner keeps it.
    """

    task: Task
    slots: dict[Item, str]

    def __init__(self, scene: str) -> None:
        self.scene = load_scene(scene)
        self.robot: RobotConfig = load_robot_config(self.scene["robot"])
        self.time_offset_ns = 0
        self.take(self.build())

    def take(self, model: mujoco.MjModel) -> None:
        """Go on in another model with the same robot; `data` is fresh."""
        self.model, self.data = model, mujoco.MjData(model)
        grippers = self.robot.grippers
        joints = [model.joint(n) for n in self.robot.joints]
        fingers = [model.joint(n) for gripper in grippers for n in gripper.joints]
        self.arm_q = np.array([j.qposadr[0] for j in joints])
        self.arm_v = np.array([j.dofadr[0] for j in joints])
        self.finger_q = np.array([j.qposadr[0] for j in fingers])
        self._first_finger = np.cumsum([0, *(len(gripper.joints) for gripper in grippers[:-1])])
        self._motors = np.array([model.actuator(n).id for n in self.robot.joints])
        self._grippers = np.array([model.actuator(gripper.actuator).id for gripper in grippers])
        by_position = self.robot.interface == "position"
        self.command = "q" if by_position else "tau"
        limits = model.actuator_forcerange if by_position else model.actuator_ctrlrange
        self.torque_limit_nm: Float64 = limits[self._motors, 1].copy()
        self.gripper_force_limit_n: Float64 = model.actuator_forcerange[self._grippers, 1].copy()
        self._tools = [model.site(arm.tool_frame).id for arm in self.robot.arms]
        base = model.body(self.robot.base_frame).id if self.robot.base_frame != "world" else 0
        self.is_robot = np.array([_descends(model, int(body), base) for body in model.geom_bodyid])
        self._max_contact_n = 0.0

    # -- what a world adds -----------------------------------------------------------------------------------------

    @abstractmethod
    def build(self) -> mujoco.MjModel:
        """Compile `scene` with `robot` in it."""

    @abstractmethod
    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        """Refill the world.

        Args:
            seed: Decides everything that is random.
            instruction: Build the scene for this task instead of drawing one.
            split: Which things and phrases may be drawn.
            family: Draw a task of this family.

        Returns:
            The instruction.

        Raises:
            UnknownObjectError: the instruction is not a task of the world.
        """

    def sensors(self) -> dict[str, Float64]:
        """What is measured beside cameras and proprioception, by state key of the contract."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What else is true, JSON-ready; see vla_sim.core.truth."""
        return {}

    def inject(self, fault: str) -> str:
        """Let something go wrong; what was done, in words.

        Raises:
            ConfigError: the world has no such fault.
            FaultError: it can't be done now.
        """
        raise ConfigError(f"fault '{fault}'", "a world that has faults", "choose scene flat")

    # -- run -------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Back to the model's initial state; nothing has happened yet."""
        mujoco.mj_resetData(self.model, self.data)
        limit_n = self.gripper_force_limit_n
        self.model.actuator_forcerange[self._grippers] = np.stack([-limit_n, limit_n], 1)  # the last command's is gone
        self._max_contact_n = 0.0

    def start_robot(self, rng: np.random.Generator, spread_rad: float) -> None:
        """Put the arms near their home posture with open grippers, and settle what follows from positions."""
        home = self.robot.home_rad
        q = home + rng.uniform(-spread_rad, spread_rad, home.shape)
        self.data.qpos[self.arm_q] = q
        fingers = np.array([len(gripper.joints) for gripper in self.robot.grippers])
        self.data.qpos[self.finger_q] = np.repeat(self.robot.gripper_width_max_m / fingers, fingers)
        self.data.ctrl[self._grippers] = self.robot.gripper_width_max_m / 2
        if self.command == "q":
            self.data.ctrl[self._motors] = q
        mujoco.mj_forward(self.model, self.data)

    @property
    def time_ns(self) -> int:
        """Simulated time [ns]; never jumps back, also not over a reset when the owner moves `time_offset_ns`."""
        return self.time_offset_ns + round(float(self.data.time) * NS)

    def step(self, command: Float64, gripper_width_m: Float64, gripper_force_n: Float64) -> None:
        """Advance by one step of the scene's timestep.

        Args:
            command: Joint torques [N*m] or positions [rad] (J,), see `command`.
            gripper_width_m, gripper_force_n: Of each gripper [m], [N] (G,).
        """
        self.data.ctrl[self._motors] = command
        self.data.ctrl[self._grippers] = gripper_width_m / 2 - 0.01 * (gripper_width_m < _CLOSED_M)
        self.model.actuator_forcerange[self._grippers, 0] = -gripper_force_n
        self.model.actuator_forcerange[self._grippers, 1] = gripper_force_n
        mujoco.mj_step(self.model, self.data)
        if self.data.ncon:
            self._max_contact_n = max(self._max_contact_n, self._robot_contact_n())

    def robot_state(self) -> RobotState:
        """Proprioception now."""
        data = self.data
        return RobotState(
            self.time_ns,
            data.qpos[self.arm_q].copy(),
            data.qvel[self.arm_v].copy(),
            (data.actuator_force if self.command == "q" else data.ctrl)[self._motors].copy(),
            np.add.reduceat(data.qpos[self.finger_q], self._first_finger),
        )

    def commanded_rad(self) -> Float64:
        """What position drives have been told last (J,) [rad]."""
        return np.array(self.data.ctrl[self._motors])

    @property
    def drive_stiffness_nm_rad(self) -> Float64:
        """Stiffness of the position drives (J,)."""
        gains: Float64 = self.model.actuator_gainprm[self._motors, 0].copy()
        return gains

    def snapshot(self) -> Float64:
        """Everything that a picture depends on after the same reset."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return state

    def restore(self, snapshot: Float64) -> None:
        """Take over a snapshot of a world with the same last reset."""
        mujoco.mj_setState(self.model, self.data, snapshot, _STATE)
        mujoco.mj_forward(self.model, self.data)

    # -- ground truth, for judges, experts and training labels only ------------------------------------------------

    def tool_pose(self, arm: int = 0) -> tuple[Float64, Float64]:
        """Tool position (3,) [m] and rotation matrix (3,3) of an arm, base frame."""
        tool = self._tools[arm]
        return self.data.site_xpos[tool].copy(), self.data.site_xmat[tool].reshape(3, 3).copy()

    def contact_force_n(self) -> float:
        """Largest normal force of one contact between robot and surroundings since the reset [N]; grasping counts."""
        return self._max_contact_n

    def _robot_contact_n(self) -> float:
        pairs = self.is_robot[self.data.contact.geom]
        force, largest = np.zeros(6), 0.0
        for i in np.flatnonzero(pairs[:, 0] != pairs[:, 1]):
            mujoco.mj_contactForce(self.model, self.data, int(i), force)
            largest = max(largest, float(force[0]))
        return largest


def _descends(model: mujoco.MjModel, body: int, ancestor: int) -> bool:
    while body > 0 and body != ancestor:
        body = int(model.body_parentid[body])
    return body == ancestor
