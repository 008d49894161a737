"""What the nodes need of the flat: a mirror that shows the same, frames, gripper widths, a refusal in a sentence."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from flat_driving import FORCE, SHUT, run
from test_frames import chain, matrix

from vla_control.core.base.controller import BaseTargetError
from vla_control.core.robot import load_robot_config
from vla_core.contract import load_contract
from vla_core.errors import UnknownObjectError
from vla_sim.core.flat.jaw import Jaw
from vla_sim.core.flat.world import FlatWorld
from vla_sim.core.frames import RobotFrames
from vla_sim.core.mirror import Mirror
from vla_sim.core.records import MAX_STATE, SNAPSHOT, Start
from vla_sim.core.suites import suite_of


@pytest.fixture(scope="module")
def world() -> FlatWorld:
    return FlatWorld()


def record(world: FlatWorld, generation: int, seed: int, split: str) -> np.ndarray:
    """What sim_node hands to the camera process."""
    made, state = np.zeros(1, SNAPSHOT), world.snapshot()
    assert len(state) <= MAX_STATE
    made["generation"], made["seed"], made["split"], made["n"] = generation, seed, split.encode(), len(state)
    made["state"][0, : len(state)] = state
    return made


def places(world: FlatWorld) -> np.ndarray:
    """Where every body is now; a step leaves positions of before it in `data`."""
    mujoco.mj_kinematics(world.model, world.data)
    return world.data.xpos.copy()


def test_a_mirror_follows_into_another_flat_and_shows_what_has_moved(world: FlatWorld) -> None:
    mirror = Mirror(FlatWorld())
    for generation, (seed, split) in enumerate(((4, "train"), (6, "heldout_flat")), 1):
        world.reset(seed, split=split)
        assert mirror.take(record(world, generation, seed, split))
        np.testing.assert_allclose(places(mirror.world), places(world), atol=1e-9)
        thing = world.model.joint("thing1")
        world.data.qvel[thing.dofadr[0] + 2] = 1.5  # thrown up: whatever sleeps in the mirror has to wake
        run(world, 0.1, 0.3, 0.6)
        world.set_door(0, shut=True)
        assert not mirror.take(record(world, generation, seed, split))
        np.testing.assert_allclose(places(mirror.world), places(world), atol=1e-9)
    assert mirror.world.plan == world.plan


def test_frames_of_sensors_and_cameras_hang_below_the_base_as_the_scene_mounts_them(world: FlatWorld) -> None:
    world.reset(4)
    run(world, 0.3, 0.3, 0.6)
    mujoco.mj_forward(world.model, world.data)
    frames = RobotFrames(world.model, world.robot, world.scene["cameras"], world.sensor_sites())
    by_child = {frame.child: frame for frame in frames.mounts()}
    assert set(by_child) == {"tool", "laser", "lidar", "imu", "front_optical_frame", "wrist_optical_frame"}
    heights = {name: by_child[name].position[2] for name in ("laser", "lidar", "imu")}
    assert heights == pytest.approx({"laser": 0.145, "lidar": 1.0, "imu": 0.085})
    assert all(by_child[name].parent == "base_link" for name in heights)
    np.testing.assert_allclose([by_child[name].quaternion for name in heights], [[0, 0, 0, 1]] * 3, atol=1e-12)
    front = matrix(by_child["front_optical_frame"])
    assert by_child["front_optical_frame"].parent == "base_link"
    forward, right, up = front[:3, 2], front[:3, 0], -front[:3, 1]
    assert forward[0] > 0.8 and forward[2] < -0.3, "z looks ahead and down"
    np.testing.assert_allclose(right, [0.0, -1.0, 0.0], atol=1e-9)
    assert up[2] > 0.8
    T = chain(frames.links(world.data) + frames.mounts(), "tool", "base_link")
    position, rotation = world.tool_pose()
    np.testing.assert_allclose(T[:3, 3], position, atol=1e-9)
    np.testing.assert_allclose(T[:3, :3], rotation, atol=1e-9)


def test_the_robot_file_knows_how_far_the_jaw_is_open(world: FlatWorld) -> None:
    """Joint states have its angle, as the servo of a physical one tells; the contract asks for the width."""
    gripper, jaw = load_robot_config("so101_mobile").grippers[0], Jaw(world.model, "gripper")
    for angle in np.linspace(*world.model.joint("gripper").range, 200):
        assert gripper.width_m(np.array([angle])) == pytest.approx(jaw.width(angle), abs=5e-4)
    panda = load_robot_config("panda").grippers[0]
    assert panda.width_m(np.array([0.02, 0.03])) == pytest.approx(0.05), "fingers that slide"


def test_a_base_command_that_is_no_number_is_refused_and_changes_nothing(world: FlatWorld) -> None:
    world.reset(4)
    for bad in ((np.nan, 0.0), (0.0, np.inf)):
        with pytest.raises(BaseTargetError, match="expected finite numbers"):
            world.command_base(*bad)
    world.step(world.robot.home_rad, SHUT, FORCE)
    assert np.isfinite(world.data.qvel).all()


def test_the_suite_builds_errands_and_refuses_what_is_none() -> None:
    suite = suite_of("flat")
    errand = suite.parse("fetch the mug next to the sink")
    assert (errand.family, errand.objects[0].shape) == ("bring_near", "mug")
    with pytest.raises(UnknownObjectError, match="bring me the red mug"):
        suite.parse("open the drawer")
    assert Start(1, suite.parse("把红色的杯子拿给我").instruction, "train", "").instruction


def test_contract_and_robot_name_the_same_joints(world: FlatWorld) -> None:
    contract = load_contract(world.scene["contract"])
    assert contract.robot == world.robot.name and contract.action_names == (*world.robot.joints, "gripper")
    assert contract.horizon * contract.dt_s == pytest.approx(1.0)
    assert set(contract.view_names) == {camera["name"] for camera in world.scene["cameras"]}
