"""The robot, a contract and a MuJoCo rig that closes the loop around ServoCore at 1 kHz."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters, ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.contract import Contract, load_contract
from vla_core.records import COMMAND, LIMITS, PLAN, STATE, STATUS
from vla_core.types import ActionChunk, Float64

sys.path.append(str(Path(__file__).parent))  # for the helper modules that lie here

MS = 1_000_000


@pytest.fixture(scope="session")
def robot() -> RobotModel:
    return RobotModel.load("panda")


@pytest.fixture(scope="session")
def contract() -> Contract:
    return load_contract("tabletop_panda")


@pytest.fixture
def executor(robot: RobotModel, contract: Contract) -> ChunkExecutor:
    executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
    executor.reset(robot.config.home_rad, np.array([0.08]), 0)
    return executor


@pytest.fixture(scope="session")
def make_chunk(robot: RobotModel, contract: Contract) -> Callable[..., ActionChunk]:
    """Chunk of tool positions (T,3), orientation of the home posture, gripper opening scalar or (T,)."""
    _, quaternion = robot.tool_pose(robot.config.home_rad)

    def make(positions: Float64, stamp_ns: int, sequence: int = 1, opening: Float64 | float = 1.0) -> ActionChunk:
        actions = np.zeros((len(positions), 8), np.float32)
        actions[:, :3], actions[:, 3:7], actions[:, 7] = positions, quaternion, opening
        c = contract
        return ActionChunk(stamp_ns, sequence, "test", c.hash, c.action_space, c.action_names, c.dt_s, actions)

    return make


@dataclass
class Rig:
    """One arm in MuJoCo under ServoCore; `log` holds copies of STATUS, one per tick."""

    model: mujoco.MjModel
    data: mujoco.MjData
    servo: ServoCore
    plan: np.ndarray = field(default_factory=lambda: np.zeros(1, PLAN))
    state: np.ndarray = field(default_factory=lambda: np.zeros(1, STATE))
    command: np.ndarray = field(default_factory=lambda: np.zeros(1, COMMAND))
    log: list[np.ndarray] = field(default_factory=list)
    stop: bool = False
    corrupt: bool = False
    blind: bool = False  # no states, and the servo is told so
    deaf: bool = False  # no states, and the servo isn't called: its last command stands
    skew_ns: int = 0  # the robot's clock runs ahead by this
    speed: list[float] = field(default_factory=list)  # largest true joint speed [rad/s], one per tick
    push_n: Float64 = field(default_factory=lambda: np.zeros(3))

    @property
    def now_ns(self) -> int:
        return len(self.log) * MS

    def run(self, ticks: int) -> None:
        """Advance by `ticks` milliseconds."""
        j = self.servo.robot.joint_count
        hand = self.model.site(self.servo.robot.config.tool_frame).bodyid[0]
        for _ in range(ticks):
            status = np.zeros(1, STATUS)
            if self.deaf:
                status = self.log[-1].copy()
            elif self.blind:
                age_s = (self.now_ns + self.skew_ns - int(self.state["stamp_ns"][0])) * 1e-9
                self.servo.tick_without_state(age_s, self.plan, self.stop, self.command, status)
            else:
                self.state["tick"], self.state["stamp_ns"] = len(self.log), self.now_ns + self.skew_ns
                self.state["q"][0, :j], self.state["qd"][0, :j] = self.data.qpos[:j], self.data.qvel[:j]
                self.state["gripper_width"] = 2 * self.data.qpos[j]
                if self.corrupt:
                    self.state["q"][0, 2] = np.nan
                self.servo.tick(self.state, self.plan, self.stop, self.command, status)
            self.speed.append(float(np.abs(self.data.qvel[:j]).max()))
            self.data.ctrl[:j] = self.command["tau"][0, :j]
            self.data.xfrc_applied[hand, :3] = self.push_n
            mujoco.mj_step(self.model, self.data)
            self.log.append(status)

    def follow(self, executor: ChunkExecutor) -> None:
        """Let the servo read the executor's present plan."""
        self.plan[:] = executor.plan

    def column(self, name: str, start: int = 0) -> np.ndarray:
        """One field of STATUS over the ticks since `start`."""
        return np.array([s[name][0] for s in self.log[start:]])

    def acted(self, name: str) -> int:
        """In how many ticks a limit acted."""
        return int(self.log[-1]["limit_counts"][0, LIMITS.index(name)])


@pytest.fixture
def make_rig(robot: RobotModel) -> Callable[..., Rig]:
    """Rig in the home posture; `wall_x_m` puts a stiff wall with its face there."""

    def make(wall_x_m: float | None = None, **changes: float) -> Rig:
        spec = mujoco.MjSpec.from_file(str(robot.config.model_path))
        spec.option.timestep = 0.001
        if wall_x_m is not None:
            wall = spec.worldbody.add_geom(name="wall", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.02, 0.4, 0.4])
            wall.pos, wall.solref = [wall_x_m + 0.02, 0.0, 0.4], [0.004, 1.0]
            wall.friction = [0.0, 0.0, 0.0]
        model = spec.compile()
        data = mujoco.MjData(model)
        data.qpos[:7] = robot.config.home_rad
        data.qpos[7:9] = 0.02
        mujoco.mj_forward(model, data)
        return Rig(model, data, ServoCore(robot, replace(ServoParameters.from_config(), **changes)))

    return make
