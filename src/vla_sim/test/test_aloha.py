"""The bimanual suite: its words, its world, its judge, and its experts under the real control laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_control.core.robot import RobotModel
from vla_core.contract import load_contract
from vla_core.errors import ConfigError, ContractError, ObservationError, UnknownNameError, UnknownObjectError
from vla_core.types import Observation
from vla_sim.core.aloha import tasks
from vla_sim.core.aloha.expert import clean_chunk, observe
from vla_sim.core.aloha.judge import succeeded
from vla_sim.core.aloha.kinematics import TwoArms
from vla_sim.core.aloha.scene import HALF_SIZE
from vla_sim.core.aloha.world import AlohaWorld
from vla_sim.core.expert_policy import ExpertPolicy
from vla_sim.core.link import CameraLink
from vla_sim.core.records import Start
from vla_sim.core.rig import Player, Rig, run_episode
from vla_sim.core.tasks import SPLITS

SEEDS = st.integers(0, 2**31)
OPEN, FORCE = np.array([0.069, 0.069]), np.array([20.0, 20.0])


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(load_contract("aloha"), "aloha", render=False)


@pytest.fixture(scope="module")
def world() -> AlohaWorld:
    return AlohaWorld()


@pytest.fixture(scope="module")
def robot() -> RobotModel:
    return RobotModel.load("aloha")


# -- words --------------------------------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from(SPLITS))
def test_every_drawn_instruction_is_parsed_to_the_same_task(seed: int, split: str) -> None:
    drawn = tasks.sample_task(np.random.default_rng(seed), split)
    read = tasks.parse_instruction(drawn.instruction)
    assert (read.family, read.objects) == (drawn.family, drawn.objects)


@given(SEEDS)
def test_what_is_held_out_stays_out_of_training(seed: int) -> None:
    task = tasks.sample_task(np.random.default_rng(seed), "train")
    (item,) = task.objects
    assert (item.colour, item.shape) not in tasks.HELD_OUT_PAIRS
    held_out = tasks.PHRASES[task.family][-tasks.HELD_OUT_PHRASES :]
    assert task.instruction not in {phrase.format(a=item.name) for phrase in held_out}
    other = tasks.sample_task(np.random.default_rng(seed), "heldout_pair")
    assert (other.objects[0].colour, other.objects[0].shape) in tasks.HELD_OUT_PAIRS


@pytest.mark.parametrize("text", ["pick up the red cube", "lift the red bar", "put the red cube in the blue bowl", ""])
def test_what_the_suite_cannot_build_is_refused_with_what_it_knows(text: str) -> None:
    with pytest.raises(UnknownObjectError, match="hand the red cube to the left arm"):
        tasks.parse_instruction(text)


def test_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="lift_together, transfer_cube"):
        tasks.sample_task(np.random.default_rng(0), "train", "juggle")


# -- world --------------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_world_and_a_snapshot_restores_it(world: AlohaWorld) -> None:
    world.reset(5)
    first = world.snapshot()
    world.step(world.robot_state().q_rad + 0.1, OPEN, FORCE)
    assert not np.array_equal(first, world.snapshot())
    world.restore(first)
    np.testing.assert_array_equal(first, world.snapshot())
    world.reset(6)
    assert not np.array_equal(first, world.snapshot())
    world.reset(5)
    np.testing.assert_array_equal(first, world.snapshot())


@given(SEEDS)
def test_the_task_s_thing_rests_on_the_table_within_reach_and_the_other_is_away(world: AlohaWorld, seed: int) -> None:
    world.reset(seed)
    place = world.scene["places"][world.thing]
    position, _ = world.thing_pose()
    assert place["x_m"][0] <= position[0] <= place["x_m"][1] and place["y_m"][0] <= position[1] <= place["y_m"][1]
    assert position[2] == pytest.approx(HALF_SIZE[world.thing][2], abs=1e-3)
    assert list(world.slots) == list(world.task.objects)
    (other,) = set(HALF_SIZE) - {world.thing}
    assert np.linalg.norm(world.data.body(other).xpos) > 3.0
    assert not succeeded(world)


def test_drives_hold_the_arms_where_they_are_sent_but_for_their_sag(world: AlohaWorld, robot: RobotModel) -> None:
    """What the expert adds against gravity is what the drives really give way."""
    world.reset(1, family="transfer_cube")
    arms, stiffness = TwoArms(robot), world.drive_stiffness_nm_rad
    wanted = robot.config.home_rad + 0.2
    for lead, tolerance in ((arms.sag(wanted, stiffness), 3e-4), (np.zeros(12), 2e-2)):
        for _ in range(2500):
            world.step(wanted + lead, OPEN, FORCE)
        error = np.abs(world.robot_state().q_rad - wanted).max()
        assert error < tolerance
    assert error > 1e-3, "the drives don't sag at all"


def test_measured_torque_of_drives_at_rest_is_gravity(world: AlohaWorld) -> None:
    world.reset(2)
    q = world.robot_state().q_rad
    for _ in range(2500):
        world.step(q, OPEN, FORCE)
    np.testing.assert_allclose(world.robot_state().tau_nm, world.data.qfrc_bias[world.arm_v], atol=5e-3)


@pytest.mark.parametrize("arm", [0, 1])
def test_each_gripper_obeys_its_own_command(world: AlohaWorld, arm: int) -> None:
    world.reset(3)
    q, width = world.robot_state().q_rad, OPEN.copy()
    width[arm] = 0.02
    for _ in range(1500):
        world.step(q, width, FORCE)
    np.testing.assert_allclose(world.robot_state().gripper_width_m, width, atol=1e-3)


@given(seed=SEEDS)
def test_inverse_kinematics_undo_the_forward_kinematics_of_both_arms(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = robot.config.home_rad + rng.uniform(-0.4, 0.4, 12)
    poses = [(pose.translation.copy(), pose.rotation.copy()) for pose in (robot.tool_se3(q, arm) for arm in (0, 1))]
    found, left = TwoArms(robot).solve(poses, robot.config.home_rad, 40)
    assert left.max() < 1e-3
    for arm, (position, _) in enumerate(poses):
        np.testing.assert_allclose(robot.tool_pose(found, arm)[0], position, atol=1e-3)


# -- judge ----------------------------------------------------------------------------------------------------------


def _put(world: AlohaWorld, position: np.ndarray, quaternion_wxyz: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)) -> None:
    address = world.model.joint(world.thing).qposadr[0]
    world.data.qpos[address : address + 7] = [*position, *quaternion_wxyz]
    mujoco.mj_forward(world.model, world.data)


@pytest.mark.parametrize("seed", range(2))
def test_a_cube_in_the_air_is_no_success_unless_the_left_hand_alone_holds_it(world: AlohaWorld, seed: int) -> None:
    world.reset(seed, family="transfer_cube")
    _put(world, np.array([0.0, 0.0, 0.3]))
    assert not succeeded(world), "it only falls"
    for arm, expected in ((1, False), (0, True)):
        world.reset(seed, family="transfer_cube")
        world.data.qpos[world.finger_q[2 * arm : 2 * arm + 2]] = 0.0198  # a hair into the cube: contact
        mujoco.mj_forward(world.model, world.data)
        tool, rotation = world.tool_pose(arm)
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, rotation.flatten())
        _put(world, tool, tuple(quaternion))
        assert succeeded(world) is expected


def test_a_bar_held_by_one_hand_or_askew_is_no_success(rig: Rig) -> None:
    """The expert's own motion, but one hand stays open: the bar hangs from the other."""
    world = rig.world
    rig.reset(10, family="lift_together")
    for _ in range(20):
        chunk = clean_chunk(world, 100, 0.02)
        chunk[:, 13] = 1.0
        rig.execute(chunk, world.time_ns)
        rig.advance(0.4)
        assert not succeeded(world)


# -- experts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", tasks.FAMILIES)
def test_the_expert_solves_every_family_and_no_chunk_is_refused(rig: Rig, family: str) -> None:
    episode = run_episode(rig, Player(lambda *_: (clean_chunk(rig.world, 100, 0.02), 0.0)), 78, "train", family)
    assert episode.success
    assert not episode.rejections
    assert episode.motion.max_jerk_rad_s3 <= rig.robot.config.jerk_rad_s3.max()
    assert episode.motion.starved_s == 0.0


def test_a_chunk_does_not_touch_the_world_and_starts_where_the_arms_are(rig: Rig) -> None:
    rig.reset(4, family="transfer_cube")
    before = rig.world.snapshot()
    chunk = clean_chunk(rig.world, 100, 0.02)
    np.testing.assert_array_equal(before, rig.world.snapshot())
    names = rig.contract.action_names
    columns = [names.index(joint) for joint in rig.robot.config.joints]
    assert np.abs(chunk[0, columns] - rig.world.robot_state().q_rad).max() < 0.06
    assert np.abs(np.diff(chunk[:, columns], axis=0)).max() < 0.02 * rig.robot.config.velocity_rad_s.min()


def _play_until(rig: Rig, done: Callable[[], bool], limit_s: float) -> bool:
    for _ in range(round(limit_s / 0.4)):
        if done():
            return True
        rig.execute(clean_chunk(rig.world, 100, 0.02), rig.world.time_ns)
        rig.advance(0.4)
    return done()


def test_a_cube_that_falls_out_of_the_hand_is_fetched_again(rig: Rig) -> None:
    """The rule reads the present state only, so it begins anew wherever things have got to."""
    world = rig.world
    rig.reset(12, family="transfer_cube")
    assert _play_until(rig, lambda: world.thing_pose()[0][2] > 0.15, 10.0)
    assert observe(world).hands[1].holds
    _put(world, np.array([0.06, -0.15, 0.0205]))
    assert not observe(world).hands[1].holds
    assert _play_until(rig, lambda: succeeded(world), 20.0)


def test_tabletop_tools_refuse_another_world(rig: Rig) -> None:
    with pytest.raises(ConfigError, match="scene 'aloha'; expected a scene of world 'tabletop'"):
        _ = rig.table


# -- expert in the place of a policy ----------------------------------------------------------------------------------


@pytest.fixture
def cameras() -> Iterator[tuple[str, CameraLink]]:
    link = f"test_expert_{np.random.default_rng().integers(1 << 40):x}"
    cameras = CameraLink(link)
    cameras.describe(1, Start(9, "", "train", "lift_together"))
    yield link, cameras
    cameras.close()


def _observation(rig: Rig, stamp_ns: int) -> Observation:
    seen = rig.observation()
    fields = {name: getattr(seen, name) for name in seen.__slots__} | {"stamp_ns": stamp_ns}
    return Observation(**fields)


def test_the_expert_answers_from_the_world_as_it_was_at_the_observation(
    rig: Rig, cameras: tuple[str, CameraLink]
) -> None:
    link, camera_link = cameras
    rig.reset(9, family="lift_together")
    policy = ExpertPolicy("aloha", link, rig.contract)
    try:
        warm = policy.predict(_observation(rig, 0), 0)
        camera_link.hand(1_000_000_000, rig.world.snapshot())
        now = policy.predict(_observation(rig, 1_000_000_000), 0)
        np.testing.assert_array_equal(now.actions, clean_chunk(rig.world, 100, 0.02))
        assert not np.array_equal(now.actions, warm.actions) and now.success_estimate == 0.0
        with pytest.raises(ObservationError, match=r"snapshot -0\.050 s from the observation"):
            policy.predict(_observation(rig, 1_050_000_000), 0)
    finally:
        policy.close()


def test_the_expert_refuses_a_contract_that_it_does_not_act_by() -> None:
    with pytest.raises(ContractError, match="'aloha' for scene 'aloha'"):
        ExpertPolicy("aloha", "nowhere", load_contract("tabletop_panda"))
