"""Frames of the robot and its cameras against MuJoCo's own kinematics."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vla_sim.core.cameras import Cameras
from vla_sim.core.frames import Frame, RobotFrames
from vla_sim.core.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def matrix(frame: Frame) -> np.ndarray:
    x, y, z, w = frame.quaternion
    rotation, T = np.zeros(9), np.eye(4)
    mujoco.mju_quat2Mat(rotation, np.array([w, x, y, z]))
    T[:3, :3], T[:3, 3] = rotation.reshape(3, 3), frame.position
    return T


def chain(frames: list[Frame], child: str, root: str) -> np.ndarray:
    """T_root_child from the frames alone, as a tf listener does it."""
    by_child = {frame.child: frame for frame in frames}
    assert len(by_child) == len(frames), "a frame has two parents"
    T = np.eye(4)
    while child != root:
        T, child = matrix(by_child[child]) @ T, by_child[child].parent
    return T


def test_tool_follows_the_joints(world: World) -> None:
    frames = RobotFrames(world.model, world.robot, world.scene["cameras"])
    rng = np.random.default_rng(4)
    for _ in range(5):
        world.data.qpos[world.arm_q] = rng.uniform(-1.0, 1.0, 7) + [0, 0, 0, -1.5, 0, 1.5, 0]
        mujoco.mj_forward(world.model, world.data)
        T = chain(frames.links(world.data) + frames.mounts(), "tool", "panda_link0")
        position, rotation = world.tool_pose()
        np.testing.assert_allclose(T[:3, 3], position, atol=1e-9)
        np.testing.assert_allclose(T[:3, :3], rotation, atol=1e-9)


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_optical_frame_projects_like_the_camera(world: World, camera: str) -> None:
    """A point in the optical frame times K lands on the pixel where MuJoCo draws it."""
    world.reset(2)
    frames, cameras = RobotFrames(world.model, world.robot, world.scene["cameras"]), Cameras(world)
    T = chain(frames.links(world.data) + frames.mounts(), f"{camera}_optical_frame", "panda_link0")
    points = np.array([[0.5, 0.05, 0.0], [0.45, -0.1, 0.05], [0.55, 0.0, 0.1]])
    optical = (points - T[:3, 3]) @ T[:3, :3]
    assert (optical[:, 2] > 0).all(), "z points into the picture"
    pixels = optical @ cameras.intrinsics(camera).T
    width, height = cameras.sizes[camera]
    expected = (cameras.project(camera, points) + 1) / 2 * [width, height]
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], expected, atol=1e-6)
    cameras.close()
