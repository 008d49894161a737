"""The reference arm in front of a springy wall, under its real servo and executor, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters, ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.contract import Contract
from vla_core.records import COMMAND, STATE, STATUS
from vla_core.types import ActionChunk, Float64

WALL_N_M = 20_000.0
_WALL_N_S_M, _WALL_KG = 50.0, 0.5
_SUBSTEPS = 2
_TICK_NS = 1_000_000
# the position loop of MuJoCo Menagerie's Panda
_KP = np.array([4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0])
_KV = 0.1 * _KP


@dataclass(frozen=True, slots=True)
class Contact:
    """Force of one run on the wall [N], one sample per millisecond since the run began."""

    force_n: Float64

    @property
    def peak_n(self) -> float:
        return float(self.force_n.max())

    @property
    def steady_n(self) -> float:
        """Mean of the last half second."""
        return float(self.force_n[-500:].mean())


class Wall:
    """An arm whose hand is `gap_m` in front of a plate on a spring of WALL_N_M.

    Args:
        robot: Panda; its `interface` decides whether it takes torques, or positions that a stiff loop follows.
        contract: Of the chunks.
        params: Of the servo.
        gap_m: Distance of the plate from the hand [m], along +x.
        measures_torque: A position arm says what torque it gives.
    """

    def __init__(
        self, robot: RobotModel, contract: Contract, params: ServoParameters, gap_m: float, measures_torque: bool
    ) -> None:
        self._robot, self._contract, self._measures_torque = robot, contract, measures_torque
        self._joints = slice(0, robot.joint_count)
        home, self._quaternion = robot.tool_pose(robot.config.home_rad)
        self.tool_m: Float64 = home
        self._model = _model(robot, home, gap_m)
        self._data = mujoco.MjData(self._model)
        self._data.qpos[self._joints] = robot.config.home_rad
        mujoco.mj_forward(self._model, self._data)
        self._plate = int(self._model.joint("plate").qposadr[0])
        self._executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
        self._executor.reset(robot.config.home_rad, np.zeros(1), _TICK_NS)
        self._servo = ServoCore(robot, params)
        self._state, self._command, self.status = (np.zeros(1, d) for d in (STATE, COMMAND, STATUS))
        self._torque: Float64 = self._data.qfrc_bias[self._joints].copy()

    def press(self, policy: Callable[[float, float, Float64], Float64], seconds: float, delay_s: float) -> Contact:
        """Run.

        Args:
            policy: (time [s], force on the wall [N], times (T,) [s] of the chunk's steps) → how far the tool is to be
                from home then, along x (T,) [m].
            seconds: How long.
            delay_s: Age of the observation that a chunk answers when it arrives.
        """
        forces, waiting, sequence = [], [], 0
        rate = round(self._contract.dt_s * 1e9 / _TICK_NS)
        for tick in range(1, round(seconds * 1e9 / _TICK_NS)):
            now_ns = tick * _TICK_NS
            if tick % rate == 1:
                at = now_ns * 1e-9
                steps_s = at + self._contract.dt_s * np.arange(self._contract.horizon)
                x = policy(at, forces[-1] if forces else 0.0, steps_s)
                sequence += 1
                waiting.append((now_ns + round(delay_s * 1e9), self._chunk(x, now_ns, sequence)))
            while waiting and waiting[0][0] <= now_ns:
                self._executor.accept(waiting.pop(0)[1], now_ns)
            self._tick(tick, now_ns)
            forces.append(WALL_N_M * max(0.0, float(self._data.qpos[self._plate])))
        return Contact(np.array(forces))

    def _tick(self, tick: int, now_ns: int) -> None:
        data, joints, state = self._data, self._joints, self._state
        state["tick"], state["stamp_ns"] = tick, now_ns
        state["q"][0, joints], state["qd"][0, joints] = data.qpos[joints], data.qvel[joints]
        state["tau"][0, joints] = self._torque if self._measures_torque else 0.0
        self._servo.tick(state, self._executor.plan, False, self._command, self.status)
        by_position, limit = self._robot.config.interface == "position", self._robot.config.torque_nm
        total = np.zeros(self._robot.joint_count)
        for _ in range(_SUBSTEPS):
            torque = self._command["tau"][0, joints]
            if by_position:
                error = self._command["q"][0, joints] - data.qpos[joints]
                torque = _KP * error - _KV * data.qvel[joints] + data.qfrc_bias[joints]
            data.ctrl[joints] = np.clip(torque, -limit, limit)
            total += data.ctrl[joints]
            mujoco.mj_step(self._model, data)
        self._torque = total / _SUBSTEPS

    def _chunk(self, x: Float64, stamp_ns: int, sequence: int) -> ActionChunk:
        c = self._contract
        actions = np.zeros((len(x), len(c.action_names)), np.float32)
        actions[:, :3], actions[:, 3:7] = self.tool_m, self._quaternion
        actions[:, 0] += x
        return ActionChunk(
            stamp_ns, sequence, "bench", c.hash, c.action_space, c.action_names, c.dt_s, actions, instruction=""
        )


def _model(robot: RobotModel, tool_m: Float64, gap_m: float) -> mujoco.MjModel:
    """The robot and the plate, which is so high that the arm meets it with its hand: there it is strongest."""
    spec = mujoco.MjSpec.from_file(str(robot.config.model_path))
    spec.option.timestep = _TICK_NS * 1e-9 / _SUBSTEPS
    reach_m = float(spec.geom("hand_collision").size[0])
    plate = spec.worldbody.add_body(
        name="plate", pos=[tool_m[0] + reach_m + gap_m + 0.02, 0.0, tool_m[2]], gravcomp=1.0
    )
    plate.add_joint(
        name="plate", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0], stiffness=WALL_N_M, damping=_WALL_N_S_M
    )
    plate.add_geom(
        name="plate", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.02, 0.3, 0.3], mass=_WALL_KG, friction=[0.4, 0.0, 0.0],
        solref=[0.002, 1.0],
    )  # fmt: skip
    return spec.compile()
