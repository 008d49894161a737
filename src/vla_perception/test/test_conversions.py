"""Messages to core types and back: round trips, no copies on the way in, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, JointState

from vla_core.errors import ObservationError
from vla_core.types import Observation
from vla_msgs.msg import Observation as ObservationMsg
from vla_perception import conversions
from vla_perception.core.camera import CameraModel
from vla_ros import stamps

STAMP_NS = 12_345_678_901


def picture(height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def observation() -> Observation:
    return Observation(
        stamp_ns=STAMP_NS,
        instruction="räume auf",
        contract_hash="0123456789abcdef",
        view_names=("front", "wrist"),
        view_valid=np.array([True, False]),
        rgb=np.stack([picture(), picture()[::-1]]),
        state_names=("a", "b", "c"),
        state=np.array([0.5, -1.0, 3.25], np.float32),
    )


def test_image_round_trip_without_a_copy() -> None:
    message = conversions.image_msg(picture(), STAMP_NS, "front_optical")
    assert (message.header.frame_id, stamps.to_ns(message.header.stamp)) == ("front_optical", STAMP_NS)
    frame = conversions.raw_image(message)
    assert np.array_equal(frame.data.reshape(6, 8, 3), picture())
    assert np.shares_memory(frame.data, np.asarray(message.data))


def test_refill_overwrites_in_place() -> None:
    message = conversions.image_msg(picture(), 0, "front")
    data = message.data
    conversions.refill_image(message, 255 - picture(), STAMP_NS)
    assert message.data is data
    assert np.array_equal(conversions.raw_image(message).data.reshape(6, 8, 3), 255 - picture())
    assert stamps.to_ns(message.header.stamp) == STAMP_NS


def test_depth_round_trip_keeps_what_was_not_measured() -> None:
    depth = np.array([[0.5, np.inf], [np.nan, 2.0], [1.0, 0.25]], np.float32)
    back = conversions.depth_image(conversions.depth_msg(depth, STAMP_NS, "front"))
    assert np.array_equal(back, depth, equal_nan=True)


@pytest.mark.parametrize(
    "change", [{"encoding": "16UC1"}, {"is_bigendian": 1}, {"step": 9}, {"height": 4}, {"width": 3}]
)
def test_broken_depth_is_refused(change: dict[str, object]) -> None:
    message = conversions.depth_msg(np.zeros((3, 2), np.float32), 0, "front")
    for key, value in change.items():
        setattr(message, key, value)
    with pytest.raises(ObservationError):
        conversions.depth_image(message)


def test_camera_info_round_trip() -> None:
    k = np.array([[300.0, 0, 64.5], [0, 301.0, 63.5], [0, 0, 1]])
    model = CameraModel("front_optical", 128, 96, k, "plumb_bob", np.array([0.1, -0.2, 0.0, 0.0, 0.0]))
    message = conversions.camera_info_msg(model, STAMP_NS)
    assert message.p.reshape(3, 4)[:, :3] == pytest.approx(k)
    back = conversions.camera_model(message)
    assert (back.frame, back.width, back.height, back.distortion_model) == ("front_optical", 128, 96, "plumb_bob")
    assert np.array_equal(back.camera_matrix, k)
    assert np.array_equal(back.distortion, model.distortion)
    with pytest.raises(ObservationError, match="calibrated"):
        conversions.camera_model(CameraInfo())


def test_joint_states_round_trip() -> None:
    names = ("b", "a")
    message = conversions.joint_state_msg(names, np.array([1.0, 2.0]), np.zeros(0), np.zeros(2), STAMP_NS)
    sample = conversions.joint_sample(message)
    assert (sample.names, sample.position.tolist(), sample.velocity.size) == (names, [1.0, 2.0], 0)
    assert np.shares_memory(sample.position, np.asarray(message.position))
    assert conversions.joint_sample(JointState()).names == ()


def test_observation_round_trip() -> None:
    message = conversions.observation_msg(observation(), "panda_link0")
    assert message.header.frame_id == "panda_link0"
    back, original = conversions.observation(message), observation()
    for name in ("stamp_ns", "instruction", "contract_hash", "view_names", "state_names"):
        assert getattr(back, name) == getattr(original, name)
    for name in ("view_valid", "rgb", "state"):
        assert np.array_equal(getattr(back, name), getattr(original, name))
        assert getattr(back, name).dtype == getattr(original, name).dtype
    assert np.shares_memory(back.rgb, np.asarray(message.rgb))


def test_contradicting_observations_are_refused() -> None:
    def broken(**changes: object) -> ObservationMsg:
        message = conversions.observation_msg(observation(), "base")
        for key, value in changes.items():
            setattr(message, key, value)
        return message

    cases = ({"height": 7}, {"view_names": ["front"]}, {"state": [1.0, float("nan"), 0.0]}, {"state": [1.0]})
    for changes in cases:
        with pytest.raises(ObservationError):
            conversions.observation(broken(**changes))


def test_field_checks_accept_what_we_hand_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: with ROS_PYTHON_CHECK_FIELDS=1 rosidl looks at every element of anything but an array.array."""
    data = conversions.image_msg(picture(), 0, "front").data
    checked = Image(check_fields=True)
    checked.data = data
    assert checked.data is data
