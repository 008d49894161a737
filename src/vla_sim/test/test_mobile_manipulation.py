"""Base and arm in one action: a composite chunk drives the robot of the flat while its arm moves."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from flat_driving import open_place, put

from vla_control.core.base.controller import BaseController
from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters, ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.contract import Contract, parse_contract
from vla_core.files import config_path, load_yaml
from vla_core.records import COMMAND, STATE, STATUS
from vla_core.topics import topic
from vla_core.types import NS, ActionChunk, Float64
from vla_sim.core.flat.world import FlatWorld

DT_S, STEPS = 0.05, 30
BASE_PERIOD_S = 1.0 / topic("cmd_vel").rate_hz
SPEED_M_S, TURN_RAD_S = 0.15, 0.3


def _contract() -> Contract:
    """`fetch_so101` with the base's twist in every action."""
    data = copy.deepcopy(load_yaml(config_path("contracts", "fetch_so101")))
    joints, gripper = data["action"]["names"][:-1], data["action"]["names"][-1]
    parts = [
        {"space": "joint_position", "names": joints, "units": ["rad"] * len(joints)},
        {"space": "gripper", "kind": "position", "names": [gripper], "units": ["0 closed .. 1 open"]},
        {"space": "base_twist", "names": ["vx", "wz"], "units": ["m/s", "rad/s"]},
    ]
    data["action"] = {"rate_hz": 1.0 / DT_S, "horizon": STEPS, "parts": parts}
    return parse_contract(data, Path("test.yaml"))


class Line:
    """Executor, servo and base controller before the world of the flat."""

    def __init__(self, contract: Contract) -> None:
        self.world, self.contract = FlatWorld(), contract
        self.world.reset(3)
        put(self.world, *open_place(self.world)[:2], 0.0)
        robot = RobotModel.load(contract.robot)
        base = robot.config.base
        assert base is not None
        self.executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
        self.servo = ServoCore(robot, ServoParameters.from_config())
        self.base = BaseController(base, BASE_PERIOD_S, 0.3)
        self.state, self.command, self.status = (np.zeros(1, d) for d in (STATE, COMMAND, STATUS))
        now = self.world.robot_state()
        self.executor.reset(now.q_rad, now.gripper_width_m, now.stamp_ns)

    def run(self, seconds: float) -> tuple[Float64, Float64]:
        """Speed of the base (T,) [m/s] and of the arm's fastest joint (T,) [rad/s] meanwhile."""
        world, state, step_s = self.world, self.state, float(self.world.model.opt.timestep)
        every, seen = round(BASE_PERIOD_S / step_s), []
        for tick in range(round(seconds / step_s)):
            now = world.robot_state()
            state["tick"] += 1
            state["stamp_ns"] = now.stamp_ns
            joints = len(now.q_rad)
            state["q"][0, :joints], state["qd"][0, :joints] = now.q_rad, now.qd_rad_s
            state["gripper_width"][0, :1] = now.gripper_width_m
            if tick % every == 0:
                self.base.follow(self.executor.base_twist(now.stamp_ns), now.stamp_ns)
                twist = self.base.tick(now.stamp_ns).twist
                world.command_base(float(twist[0]), float(twist[2]))
            self.servo.tick(state, self.executor.plan, False, self.command, self.status)
            world.step(
                self.command["q"][0, :joints], self.command["gripper_width"][0, :1],
                self.command["gripper_force"][0, :1],
            )  # fmt: skip
            seen.append((np.hypot(*world.data.qvel[:2]), np.abs(now.qd_rad_s).max()))
        return np.array(seen)[:, 0], np.array(seen)[:, 1]


def test_one_chunk_moves_base_and_arm_together_and_both_come_to_rest() -> None:
    line = Line(_contract())
    line.run(0.5)
    start, before = line.world.robot_state(), np.array(line.world.base_pose())
    goal = start.q_rad + np.array([0.3, 0.2, -0.2, 0.1, 0.2])
    s = np.clip(np.arange(STEPS) / (STEPS - 6), 0.0, 1.0)[:, None]
    arm = start.q_rad + (10 * s**3 - 15 * s**4 + 6 * s**5) * (goal - start.q_rad)
    rows = np.hstack([arm, np.full((STEPS, 1), 0.5), np.tile([SPEED_M_S, TURN_RAD_S], (STEPS, 1))])
    contract = line.contract
    chunk = ActionChunk(
        stamp_ns=start.stamp_ns, sequence=1, policy="test", contract_hash=contract.hash,
        action_space=contract.action_space, action_names=contract.action_names, dt_s=contract.dt_s,
        actions=rows.astype(np.float32),
    )  # fmt: skip
    assert line.executor.accept(chunk, start.stamp_ns + 10_000_000)
    base_m_s, arm_rad_s = line.run(STEPS * DT_S)
    together = (base_m_s > 0.1) & (arm_rad_s > 0.1)
    assert together.mean() > 0.4, "at the same time, not one after the other"
    line.run(1.5)
    x, y, yaw = np.array(line.world.base_pose()) - before
    seconds = yaw / TURN_RAD_S
    assert 0.8 * STEPS * DT_S < seconds < 1.3 * STEPS * DT_S
    arc_m = SPEED_M_S / TURN_RAD_S * np.array([np.sin(yaw), 1.0 - np.cos(yaw)])
    np.testing.assert_allclose([x, y], arc_m, atol=0.02)
    at_rest = line.world.robot_state()
    np.testing.assert_allclose(at_rest.q_rad, goal, atol=0.03)
    assert np.abs(at_rest.qd_rad_s).max() < 0.02 and np.abs(line.world.data.qvel[:6]).max() < 0.02
    assert line.base.at_rest and line.world.robot_state().stamp_ns - start.stamp_ns < 5 * NS
