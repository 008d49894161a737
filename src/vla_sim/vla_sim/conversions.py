"""Core types to messages and back, for the simulator's nodes; the only place of this package where the two meet."""

from __future__ import annotations

import array
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from vla_core.types import Float32, Float64, RobotState, UInt8
from vla_ros import tf
from vla_ros.stamps import to_msg
from vla_sim.core.frames import Frame


def clock(stamp_ns: int) -> Clock:
    """Simulated time."""
    return Clock(clock=to_msg(stamp_ns))


class JointStates:
    """Arm joints, then finger joints, by name.

    Args:
        arm: Joint names in the order of RobotState.
        fingers: Names of the finger joints.
        base_frame: Goes into the header.
    """

    def __init__(self, arm: Iterable[str], fingers: Iterable[str], base_frame: str) -> None:
        self._names, self._base = [*arm, *fingers], base_frame

    def __call__(self, stamp_ns: int, arm: RobotState, fingers: Float64) -> JointState:
        """Fill a message; `fingers` holds position [m], velocity [m/s] and force [N] as rows, (3,F)."""
        message = JointState()
        message.header.stamp, message.header.frame_id = to_msg(stamp_ns), self._base
        message.name = self._names
        message.position = [*arm.q_rad.tolist(), *fingers[0].tolist()]
        message.velocity = [*arm.qd_rad_s.tolist(), *fingers[1].tolist()]
        message.effort = [*arm.tau_nm.tolist(), *fingers[2].tolist()]
        return message


def transforms(stamp_ns: int, frames: Iterable[Frame]) -> list[TransformStamped]:
    """Frames to tf."""
    return [tf.transform(f.parent, f.child, stamp_ns, f.position, f.quaternion) for f in frames]


_PIXEL: dict[str, tuple[type, int]] = {"rgb8": (np.uint8, 3), "32FC1": (np.float32, 1)}


class ImageBuffer:
    """One image message that is refilled for every frame: a copy into its buffer costs far less than assigning data.

    Args:
        width, height: [pixel].
        encoding: 'rgb8' or '32FC1'.
        frame_id: Optical frame.

    Attributes:
        message: What was filled last.
    """

    def __init__(self, width: int, height: int, encoding: str, frame_id: str) -> None:
        dtype, channels = _PIXEL[encoding]
        step = width * channels * np.dtype(dtype).itemsize
        self.message = Image(height=height, width=width, encoding=encoding, is_bigendian=0, step=step)
        self.message.header.frame_id = frame_id
        self.message.data = array.array("B", bytes(height * step))
        shape = (height, width, channels) if channels > 1 else (height, width)
        self._pixels: np.ndarray = np.frombuffer(self.message.data, dtype).reshape(shape)

    def fill(self, stamp_ns: int, image: UInt8 | Float32) -> Image:
        """Copy `image` in, uint8 (H,W,3) or float32 (H,W) [m], and return the message, valid until the next call."""
        self.message.header.stamp = to_msg(stamp_ns)
        self._pixels[...] = image
        return self.message


def camera_info(width: int, height: int, intrinsics: Float64, frame_id: str) -> CameraInfo:
    """Calibration of an ideal pinhole camera; `intrinsics` is K (3,3) [pixel]."""
    message = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = frame_id
    message.k = intrinsics.flatten()
    message.r = np.eye(3).flatten()
    message.p = np.hstack([intrinsics, np.zeros((3, 1))]).flatten()
    return message


def text(data: dict[str, Any]) -> String:
    """JSON in a String."""
    return String(data=json.dumps(data))
