"""Messages hold exactly what the core gave."""

from __future__ import annotations

import json

import numpy as np

from vla_core.types import RobotState
from vla_ros.stamps import to_ns
from vla_sim import conversions
from vla_sim.core.frames import Frame

STAMP = 12_345_678_901


def test_images_keep_every_pixel_and_stay_valid_for_one_frame() -> None:
    rng = np.random.default_rng(0)
    rgb = conversions.ImageBuffer(7, 5, "rgb8", "front_optical_frame")
    for _ in range(2):
        image = rng.integers(0, 256, (5, 7, 3), np.uint8)
        message = rgb.fill(STAMP, image)
        assert (message.width, message.height, message.step, message.encoding) == (7, 5, 21, "rgb8")
        assert message.header.frame_id == "front_optical_frame" and to_ns(message.header.stamp) == STAMP
        np.testing.assert_array_equal(np.frombuffer(message.data, np.uint8).reshape(5, 7, 3), image)
    depth = rng.random((5, 7), np.float32)
    message = conversions.ImageBuffer(7, 5, "32FC1", "f").fill(STAMP, depth)
    assert message.step == 28 and message.encoding == "32FC1"
    np.testing.assert_array_equal(np.frombuffer(message.data, np.float32).reshape(5, 7), depth)


def test_joint_states_by_name() -> None:
    state = RobotState(0, np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0]), 0.05)
    fingers = np.array([[0.02, 0.03], [0.1, 0.2], [7.0, 8.0]])
    message = conversions.JointStates(["a", "b"], ["l", "r"], "base")(STAMP, state, fingers)
    assert message.name == ["a", "b", "l", "r"] and message.header.frame_id == "base"
    assert message.position.tolist() == [1.0, 2.0, 0.02, 0.03]
    assert message.velocity.tolist() == [3.0, 4.0, 0.1, 0.2]
    assert message.effort.tolist() == [5.0, 6.0, 7.0, 8.0]
    assert to_ns(message.header.stamp) == STAMP


def test_transforms_and_camera_info() -> None:
    frame = Frame("base", "tool", np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.5, 0.5, 0.5]))
    (message,) = conversions.transforms(STAMP, [frame])
    assert (message.header.frame_id, message.child_frame_id) == ("base", "tool")
    assert message.transform.translation.y == 2.0 and message.transform.rotation.y == -0.5
    intrinsics = np.array([[100.0, 0, 64], [0, 110.0, 60], [0, 0, 1]])
    info = conversions.camera_info(128, 120, intrinsics, "f")
    np.testing.assert_array_equal(np.array(info.k).reshape(3, 3), intrinsics)
    np.testing.assert_array_equal(np.array(info.p).reshape(3, 4)[:, :3], intrinsics)


def test_text_is_json() -> None:
    assert json.loads(conversions.text({"success": True}).data) == {"success": True}
