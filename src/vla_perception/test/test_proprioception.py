"""Joint states by name: any order, nothing guessed, every fault named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perception_samples import sample

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract, StateSpec, load_contract
from vla_core.errors import ContractError, ObservationError
from vla_perception.core.proprioception import JointSample, Proprioception


@given(st.permutations(range(9)), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_state_does_not_depend_on_the_order_of_names(
    contract: Contract, robot: RobotModel, order: list[int], seed: int
) -> None:
    q = np.random.default_rng(seed).uniform(robot.config.position_min_rad, robot.config.position_max_rad)
    sense = Proprioception(contract, robot)
    state = sense.vector(sense.read(sample(robot, q, 0.06, np.array(order))))
    assert state.dtype == np.float32
    assert state[contract.state_slice("joint_position")] == pytest.approx(q, abs=1e-6)
    assert state[contract.state_slice("gripper_width")] == pytest.approx([0.06])
    assert state[contract.state_slice("tool_pose")] == pytest.approx(np.concatenate(robot.tool_pose(q)), abs=1e-6)


def test_other_joints_are_ignored_even_when_they_are_not_finite(contract: Contract, robot: RobotModel) -> None:
    sense, plain = Proprioception(contract, robot), sample(robot, robot.config.home_rad)
    more = JointSample((*plain.names, "wheel"), np.append(plain.position, np.nan), np.append(plain.velocity, np.nan))
    assert np.array_equal(sense.vector(sense.read(more)), sense.vector(sense.read(plain)))


def test_order_of_names_may_change_between_messages(contract: Contract, robot: RobotModel) -> None:
    sense, home = Proprioception(contract, robot), robot.config.home_rad
    forward = sense.read(sample(robot, home))
    backward = sense.read(sample(robot, home, order=np.arange(9)[::-1]))
    assert np.array_equal(forward.q_rad, backward.q_rad)


def test_faults_are_named(contract: Contract, robot: RobotModel) -> None:
    sense, good = Proprioception(contract, robot), sample(robot, robot.config.home_rad)
    nan = good.position.copy()
    nan[[1, 8]] = np.nan, np.inf
    bad = {
        "panda_joint2 = nan, panda_finger_joint2 = inf": replace(good, position=nan),
        "without panda_joint3": replace(good, names=tuple(n.replace("joint3", "joint9") for n in good.names)),
        "name panda_joint1 twice": replace(good, names=(*good.names[:8], "panda_joint1")),
        "8 numbers of joint position for 9 names": replace(good, position=good.position[:8]),
        "without panda_joint1": JointSample((), np.zeros(0), np.zeros(0)),
    }
    for words, each in bad.items():
        with pytest.raises(ObservationError) as caught:
            sense.read(each)
        assert words in str(caught.value)
    assert sense.read(good).gripper_width_m == pytest.approx([0.05])


def test_velocity_is_needed_only_when_the_contract_names_it(contract: Contract, robot: RobotModel) -> None:
    without = replace(sample(robot, robot.config.home_rad), velocity=np.zeros(0))
    assert Proprioception(contract, robot).read(without).qd_rad_s is None
    moving = StateSpec("joint_velocity", ("panda_joint2", "panda_joint1"), "rad/s")
    sense = Proprioception(replace(contract, state=(moving,)), robot)
    with pytest.raises(ObservationError, match="velocity"):
        sense.read(without)
    speeds = replace(without, velocity=np.arange(9.0))
    assert sense.vector(sense.read(speeds)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (StateSpec("heat", ("x",), "K"), "joint_position, joint_velocity, gripper_width, tool_pose"),
        (StateSpec("joint_position", ("elbow",), "rad"), "elbow"),
        (StateSpec("tool_pose", ("x", "y", "z"), "m"), "7 names"),
        (StateSpec("gripper_width", ("a", "b"), "m"), "1 names"),
    ],
)
def test_contract_that_the_robot_cannot_fulfil_is_refused(
    contract: Contract, robot: RobotModel, block: StateSpec, words: str
) -> None:
    with pytest.raises(ContractError) as caught:
        Proprioception(replace(contract, state=(block,)), robot)
    assert words in str(caught.value)


def test_two_grippers_are_read_apart_whatever_the_order_of_names() -> None:
    robot, contract = RobotModel.load("aloha"), load_contract("aloha")
    fingers = [name for gripper in robot.config.grippers for name in gripper.joints]
    names, position = (*fingers[::-1], *robot.config.joints), np.array([0.02, 0.01, 0.004, 0.003])
    position = np.concatenate([position, robot.config.home_rad])
    sense = Proprioception(contract, robot)
    state = sense.vector(sense.read(JointSample(names, position, np.zeros(16))))
    assert state[contract.state_slice("gripper_width")] == pytest.approx([0.007, 0.03])
    assert state[contract.state_slice("joint_position")] == pytest.approx(robot.config.home_rad, abs=1e-6)
