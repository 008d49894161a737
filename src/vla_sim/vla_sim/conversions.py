"""Core types to messages and back, for the simulator's nodes; the only place of this package where the two meet."""

from __future__ import annotations

import array
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry as OdometryMsg
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, Imu, JointState, LaserScan, PointCloud2, PointField
from std_msgs.msg import String

from vla_core.types import Float32, Float64, RobotState, UInt8
from vla_ros import tf
from vla_ros.stamps import to_msg, to_ns
from vla_sim.core.flat.imu import ImuConfig
from vla_sim.core.flat.lidar import LidarConfig
from vla_sim.core.flat.odometry import Odometry
from vla_sim.core.frames import Frame

_UNKNOWN = 1e6  # variance of what a sensor says nothing about, as drivers of ros2_controllers write it


def clock(stamp_ns: int) -> Clock:
    """Simulated time."""
    return Clock(clock=to_msg(stamp_ns))


class JointStates:
    """Arm joints, then finger joints and wheels, by name.

    Args:
        arm: Joint names in the order of RobotState.
        others: Names of the finger joints and the wheels.
        base_frame: Goes into the header.
    """

    def __init__(self, arm: Iterable[str], others: Iterable[str], base_frame: str) -> None:
        self._names, self._base = [*arm, *others], base_frame

    def __call__(self, stamp_ns: int, arm: RobotState, others: Float64) -> JointState:
        """Fill a message; `others` holds position [m], velocity [m/s] and force [N] as rows (of what turns [rad],
        [rad/s], [N*m]), (3,F)."""
        message = JointState()
        message.header.stamp, message.header.frame_id = to_msg(stamp_ns), self._base
        message.name = self._names
        message.position = [*arm.q_rad.tolist(), *others[0].tolist()]
        message.velocity = [*arm.qd_rad_s.tolist(), *others[1].tolist()]
        message.effort = [*arm.tau_nm.tolist(), *others[2].tolist()]
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


def scan(stamp_ns: int, config: LidarConfig, ranges: Float32) -> LaserScan:
    """One turn of a planar lidar; `ranges` are float32 (1,beams) [m], all taken at the stamp."""
    step = 2 * np.pi / config.beams
    message = LaserScan(
        angle_min=-np.pi, angle_max=-np.pi + step * (config.beams - 1), angle_increment=step, time_increment=0.0,
        scan_time=1.0 / config.rate_hz, range_min=config.range_m[0], range_max=config.range_m[1],
    )  # fmt: skip
    message.header.stamp, message.header.frame_id = to_msg(stamp_ns), config.frame
    message.ranges = array.array("f", ranges[0].tobytes())
    return message


#: A point as drivers of spinning lidars send it: metres in the sensor's frame, ring (0 the lowest), seconds after the
#: stamp at which its ray was sent.
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("ring", "<u2"), ("time", "<f4")], align=True)
_KINDS = {"<f4": PointField.FLOAT32, "<u2": PointField.UINT16}


class PointClouds:
    """Clouds of one lidar: unordered, without points that met nothing; all rays of a scan are sent at its stamp.

    Args:
        frame: Of the sensor.
    """

    def __init__(self, frame: str) -> None:
        assert POINT.fields is not None
        self._frame = frame
        self._fields = [
            PointField(name=name, offset=int(offset), datatype=_KINDS[kind.str], count=1)
            for name, (kind, offset) in POINT.fields.items()
        ]

    def __call__(self, stamp_ns: int, points: Float32, rings: NDArray[np.uint16]) -> PointCloud2:
        """Fill a message with points float32 (N,3) [m] of rings uint16 (N,)."""
        rows = np.zeros(len(points), POINT)
        rows["x"], rows["y"], rows["z"], rows["ring"] = *points.T, rings
        message = PointCloud2(
            height=1, width=len(rows), fields=self._fields, is_bigendian=False, is_dense=True,
            point_step=POINT.itemsize, row_step=POINT.itemsize * len(rows),
        )  # fmt: skip
        message.header.stamp, message.header.frame_id = to_msg(stamp_ns), self._frame
        message.data = array.array("B", rows.tobytes())
        return message


def imu(stamp_ns: int, config: ImuConfig, gyro_rad_s: Float64, force_m_s2: Float64) -> Imu:
    """Angular velocity (3,) [rad/s] and specific force (3,) [m/s^2]; orientation is marked as unknown (REP-145)."""
    message = Imu()
    message.header.stamp, message.header.frame_id = to_msg(stamp_ns), config.frame
    rate, force = message.angular_velocity, message.linear_acceleration
    rate.x, rate.y, rate.z = gyro_rad_s.tolist()
    force.x, force.y, force.z = force_m_s2.tolist()
    message.orientation_covariance[0] = -1.0
    message.angular_velocity_covariance[[0, 4, 8]] = config.gyro_noise_rad_s**2
    message.linear_acceleration_covariance[[0, 4, 8]] = config.accelerometer_noise_m_s2**2
    return message


def odometry(stamp_ns: int, state: Odometry, odom_frame: str, base_frame: str) -> OdometryMsg:
    """Pose of the base in the odom frame and twist in the base frame; what wheels don't tell has a huge variance."""
    message = OdometryMsg(child_frame_id=base_frame)
    message.header.stamp, message.header.frame_id = to_msg(stamp_ns), odom_frame
    at, turned, twist = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
    at.x, at.y, turned.z, turned.w = state.x, state.y, float(np.sin(state.yaw / 2)), float(np.cos(state.yaw / 2))
    twist.linear.x, twist.angular.z = state.vx, state.wz
    message.pose.covariance = _spread(state.covariance, (0, 1, 5))
    message.twist.covariance = _spread(state.twist_covariance, (0, 5))
    return message


def odometry_transform(message: OdometryMsg) -> TransformStamped:
    """The same pose as T_odom_base."""
    at, turned = message.pose.pose.position, message.pose.pose.orientation
    return tf.transform(
        message.header.frame_id, message.child_frame_id, to_ns(message.header.stamp),
        (at.x, at.y, at.z), (turned.x, turned.y, turned.z, turned.w),
    )  # fmt: skip


def _spread(known: Float64, axes: tuple[int, ...]) -> Float64:
    """Row-major covariance (36,) of x, y, z, roll, pitch, yaw with `known` at `axes`."""
    full = np.diag(np.where(np.isin(np.arange(6), axes), 0.0, _UNKNOWN))
    full[np.ix_(axes, axes)] = known
    return full.ravel()


def text(data: dict[str, Any]) -> String:
    """JSON in a String."""
    return String(data=json.dumps(data))
