"""Messages to core types and back; the only place of this package where both are known.

Pixels are never copied on the way in: core arrays are views of the message's buffer. On the way out an `array.array`
of the right type code is handed over, because rosidl's setters check any other sequence element by element
(an ndarray of VGA size costs 40 ms, this 40 microseconds).
"""

from __future__ import annotations

from array import array
from typing import Any, TypeVar

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, JointState

from vla_core.errors import ObservationError
from vla_core.types import Float32, Float64, Observation, UInt8
from vla_msgs.msg import Observation as ObservationMsg
from vla_perception.core.camera import CameraModel
from vla_perception.core.proprioception import JointSample
from vla_perception.core.resize import RawImage
from vla_ros import stamps

M = TypeVar("M", bound=Any)


def raw_image(message: Image) -> RawImage:
    """Frame whose pixels are a view of the message."""
    return RawImage(message.width, message.height, message.step, message.encoding, np.asarray(message.data, np.uint8))


def image_msg(rgb: UInt8, stamp_ns: int, frame: str) -> Image:
    """Image message of an RGB picture.

    Args:
        rgb: uint8 (H,W,3).
        stamp_ns: Capture time [ns, ROS clock].
        frame: Optical frame of the camera.
    """
    height, width, _ = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", step=width * 3, data=array("B", rgb.tobytes()))
    return _stamped(message, stamp_ns, frame)


def refill_image(message: Image, rgb: UInt8, stamp_ns: int) -> None:
    """Overwrite the pixels of a message from `image_msg` in place: no allocation, for a publisher in a loop.

    Args:
        message: Message whose picture has the same size.
        rgb: uint8 (H,W,3).
        stamp_ns: Capture time [ns, ROS clock].
    """
    np.asarray(message.data)[:] = rgb.reshape(-1)
    message.header.stamp = stamps.to_msg(stamp_ns)


def depth_msg(depth_m: Float32, stamp_ns: int, frame: str) -> Image:
    """Depth message, encoding 32FC1.

    Args:
        depth_m: float32 (H,W) [m] along the optical axis; NaN or inf where nothing was measured (REP-118).
        stamp_ns: Capture time [ns, ROS clock].
        frame: Optical frame of the camera.
    """
    height, width = depth_m.shape
    data = array("B", depth_m.astype("<f4").tobytes())
    return _stamped(Image(height=height, width=width, encoding="32FC1", step=width * 4, data=data), stamp_ns, frame)


def depth_image(message: Image) -> Float32:
    """Depth [m], float32 (H,W), a view of the message where its rows are not padded.

    Raises:
        ObservationError: not a little-endian 32FC1 image of consistent size.
    """
    good = message.encoding == "32FC1" and not message.is_bigendian and message.step % 4 == 0
    if not good or len(message.data) != message.height * message.step or message.step < message.width * 4:
        got = f"{message.encoding} {message.width}x{message.height}, step {message.step}, {len(message.data)} bytes"
        raise ObservationError(got, "little-endian 32FC1 with height*step bytes", "mend the depth driver")
    values: Float32 = np.frombuffer(message.data, "<f4").reshape(message.height, message.step // 4)
    return values[:, : message.width]


def camera_info_msg(model: CameraModel, stamp_ns: int) -> CameraInfo:
    """CameraInfo of an unrectified monocular camera: R is the identity, P is [K|0]."""
    k = np.asarray(model.camera_matrix, dtype=np.float64)
    message = CameraInfo(
        height=model.height,
        width=model.width,
        distortion_model=model.distortion_model,
        d=array("d", model.distortion.tolist()),
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([k, np.zeros((3, 1))]).reshape(-1),
    )
    return _stamped(message, stamp_ns, model.frame)


def camera_model(message: CameraInfo) -> CameraModel:
    """Calibration of a CameraInfo message.

    Raises:
        ObservationError: the camera isn't calibrated (K[0] is 0).
    """
    k: Float64 = np.array(message.k, dtype=np.float64).reshape(3, 3)
    if not np.all(np.isfinite(k)) or k[0, 0] <= 0:
        got = f"camera info of '{message.header.frame_id}' with fx = {k[0, 0]}"
        raise ObservationError(got, "a calibrated camera", "calibrate it and load the result in its driver")
    distortion: Float64 = np.array(message.d, dtype=np.float64)
    frame, size = message.header.frame_id, (message.width, message.height)
    return CameraModel(frame, *size, k, message.distortion_model, distortion)


def joint_sample(message: JointState) -> JointSample:
    """Joint states in the driver's order, numbers are views of the message."""
    return JointSample(
        tuple(message.name), np.asarray(message.position, np.float64), np.asarray(message.velocity, np.float64)
    )


def joint_state_msg(
    names: tuple[str, ...], position: Float64, velocity: Float64, effort: Float64, stamp_ns: int
) -> JointState:
    """JointState message.

    Args:
        names: (N,) joint names.
        position: float64 (N,) [rad] or [m].
        velocity: float64 (N,) or (0,) when not measured.
        effort: float64 (N,) or (0,) when not measured.
        stamp_ns: Measurement time [ns, ROS clock].
    """
    numbers = [array("d", np.asarray(v, np.float64).tobytes()) for v in (position, velocity, effort)]
    message = JointState(name=list(names), position=numbers[0], velocity=numbers[1], effort=numbers[2])
    return _stamped(message, stamp_ns, "")


def observation_msg(observation: Observation, base_frame: str) -> ObservationMsg:
    """Observation message; `base_frame` is the robot's base, in which the tool pose of the state is expressed."""
    _, height, width, _ = observation.rgb.shape
    message = ObservationMsg(
        instruction=observation.instruction,
        contract_hash=observation.contract_hash,
        view_names=list(observation.view_names),
        view_valid=[bool(valid) for valid in observation.view_valid],
        height=height,
        width=width,
        rgb=array("B", observation.rgb.tobytes()),
        state_names=list(observation.state_names),
        state=array("f", observation.state.astype(np.float32).tobytes()),
    )
    return _stamped(message, observation.stamp_ns, base_frame)


def observation(message: ObservationMsg) -> Observation:
    """Observation whose pixels and state are views of the message.

    Raises:
        ObservationError: sizes contradict each other, or the state isn't finite.
    """
    count, height, width = len(message.view_names), message.height, message.width
    state = np.asarray(message.state, np.float32)
    if len(message.rgb) != count * height * width * 3 or len(message.view_valid) != count:
        got = f"{len(message.rgb)} bytes and {len(message.view_valid)} flags for {count} views of {width}x{height}"
        raise ObservationError(got, "V*H*W*3 bytes and V flags", "mend the publisher of the observation")
    if state.size != len(message.state_names) or not np.all(np.isfinite(state)):
        got = f"state {state.tolist()} for {len(message.state_names)} names"
        raise ObservationError(got, "one finite number per name", "mend the publisher of the observation")
    return Observation(
        stamp_ns=stamps.to_ns(message.header.stamp),
        instruction=message.instruction,
        contract_hash=message.contract_hash,
        view_names=tuple(message.view_names),
        view_valid=np.array(message.view_valid, dtype=np.bool_),
        rgb=np.asarray(message.rgb, np.uint8).reshape(count, height, width, 3),
        state_names=tuple(message.state_names),
        state=state,
    )


def _stamped(message: M, stamp_ns: int, frame: str) -> M:
    message.header.stamp = stamps.to_msg(stamp_ns)
    message.header.frame_id = frame
    return message
