"""What lies on the floor, as messages and as core types: scans, poses in the plane, odometry, grids and paths."""

from __future__ import annotations

from array import array

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from geometry_msgs.msg import PoseWithCovarianceStamped as InitialPose
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from sensor_msgs.msg import LaserScan as ScanMsg
from sensor_msgs.msg import PointCloud2, PointField

from vla_core import rotations
from vla_core.errors import ScanError, TransformError
from vla_core.frames import planar
from vla_core.types import NS, Float64
from vla_navigation.core.nav.overhead_layer import PlacedPoints
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.core.slam.scan import LaserScan
from vla_ros import stamps

_LEVEL = 0.99  # cosine: a lidar that is tilted by more than 8 degrees cuts another plane
_UNIT = 1e-2


def scan_end_ns(message: ScanMsg) -> int:
    """When the last ray was measured [ns, ROS clock]."""
    rays = max(1, len(message.ranges))
    return stamps.to_ns(message.header.stamp) + round((rays - 1) * float(message.time_increment) * NS)


def laser_scan(message: ScanMsg, T_base_laser: Float64) -> LaserScan:
    """The scan as the SLAM takes it.

    Args:
        T_base_laser: (4,4), laser -> base.

    Raises:
        ScanError: a lidar that isn't level, or a message that contradicts itself.
    """
    angles, mount = _angles(message, T_base_laser), planar(T_base_laser)
    return LaserScan(
        stamps.to_ns(message.header.stamp), angles, np.asarray(message.ranges, np.float32), float(message.range_min),
        float(message.range_max), mount, float(message.time_increment),
    )  # fmt: skip


def placed_scan(message: ScanMsg, T_map_laser: Float64, stamp_ns: int) -> PlacedScan:
    """The scan as the navigator takes it, placed where the lidar was at `stamp_ns` in the map (4,4).

    Raises:
        ScanError: as `laser_scan`.
    """
    return PlacedScan(
        stamp_ns, planar(T_map_laser), _angles(message, T_map_laser), np.asarray(message.ranges, np.float64),
        float(message.range_min), float(message.range_max),
    )  # fmt: skip


def placed_points(message: PointCloud2, T_map_lidar: Float64, stamp_ns: int) -> PlacedPoints:
    """Points in space; any layout of fields that has x, y and z as float32.

    Args:
        T_map_lidar: (4,4) pose of the message's frame in the map at `stamp_ns`.

    Raises:
        ScanError: no such fields, or fewer bytes than points.
    """
    offsets = {field.name: field.offset for field in message.fields if field.datatype == PointField.FLOAT32}
    count, step = message.width * message.height, message.point_step
    if not {"x", "y", "z"} <= set(offsets) or message.is_bigendian or len(message.data) < count * step:
        got = f"points with fields {[field.name for field in message.fields]} in {len(message.data)} bytes"
        raise ScanError(got, "little-endian float32 x, y, z of every point", "set up the lidar's driver")
    layout = np.dtype(
        {"names": ["x", "y", "z"], "formats": ["<f4"] * 3, "offsets": [offsets[k] for k in "xyz"], "itemsize": step}
    )
    read = np.frombuffer(message.data, layout, count)
    own = np.stack([read["x"], read["y"], read["z"]], 1).astype(np.float64)
    return PlacedPoints(stamp_ns, T_map_lidar[:3, 3].copy(), own @ T_map_lidar[:3, :3].T + T_map_lidar[:3, 3])


def _angles(message: ScanMsg, T: Float64) -> Float64:
    """Angles (N,) of the rays about the laser's x as seen from above; one that hangs upside down turns the other way.

    Raises:
        ScanError: a tilted lidar, or steps of 0 between its rays.
    """
    if abs(T[2, 2]) < _LEVEL:
        got = f"a lidar '{message.header.frame_id}' tilted by {np.degrees(np.arccos(abs(T[2, 2]))):.0f} degrees"
        raise ScanError(got, "a level one", "mend its mount, or the transform")
    count, step = len(message.ranges), float(message.angle_increment)
    if count > 1 and not (np.isfinite(step) and step != 0.0):
        raise ScanError(f"angle_increment {step} of {count} rays", "a step", "check the laser driver")
    angles = float(message.angle_min) + step * np.arange(count)
    return angles if T[2, 2] > 0.0 else -angles


def odometry_pose(message: Odometry, odom_frame: str, base_frame: str) -> Float64:
    """x, y, yaw (3,) of the base.

    Raises:
        ScanError: other frames than those, or a quaternion that is none.
    """
    got = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
    if got != (odom_frame, base_frame):
        fix = "set odom_frame and base_frame of the node, or mend the driver"
        raise ScanError(f"odometry of '{got[1]}' in '{got[0]}'", f"'{base_frame}' in '{odom_frame}'", fix)
    try:
        return flat(message.pose.pose)
    except TransformError as error:
        raise ScanError(error.got, error.expected, "check the odometry") from error


def odometry_twist(message: Odometry) -> Float64:
    """vx, vy [m/s], wz [rad/s] (3,) along the base's own axes."""
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    return np.array([linear.x, linear.y, angular.z])


def flat(pose: Pose) -> Float64:
    """x, y, yaw (3,) of a pose.

    Raises:
        TransformError: numbers that aren't finite, or a quaternion that isn't of unit length.
    """
    T = matrix(pose)
    return planar(T)


def matrix(pose: Pose) -> Float64:
    """(4,4) of a pose.

    Raises:
        TransformError: as `flat`.
    """
    p, q = pose.position, pose.orientation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    norm = float(np.linalg.norm(quaternion))
    if not np.isfinite([p.x, p.y, p.z, norm]).all() or abs(norm - 1.0) > _UNIT:
        got = f"a pose at ({p.x}, {p.y}, {p.z}) with quaternion {quaternion.tolist()}"
        raise TransformError(got, "finite numbers and a unit quaternion", "mend who sends it")
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotations.to_matrix(quaternion / norm), (p.x, p.y, p.z)
    return out


def pose_msg(pose: Float64) -> Pose:
    """Pose of x, y, yaw (3,)."""
    half = 0.5 * float(pose[2])
    return Pose(
        position=Point(x=float(pose[0]), y=float(pose[1])),
        orientation=Quaternion(z=float(np.sin(half)), w=float(np.cos(half))),
    )


def stamped_pose(pose: Float64, stamp_ns: int, frame: str) -> PoseStamped:
    """PoseStamped of x, y, yaw (3,)."""
    message = PoseStamped(pose=pose_msg(pose))
    message.header.frame_id, message.header.stamp = frame, stamps.to_msg(stamp_ns)
    return message


def initial_pose(message: InitialPose) -> tuple[Float64, float, float]:
    """Pose (3,), and two standard deviations of it: of its place [m] and its yaw [rad].

    Raises:
        TransformError: as `flat`.
    """
    covariance = np.array(message.pose.covariance).reshape(6, 6)
    place_m = 2.0 * float(np.sqrt(max(0.0, covariance[0, 0], covariance[1, 1])))
    return flat(message.pose.pose), place_m, 2.0 * float(np.sqrt(max(0.0, covariance[5, 5])))


def path_msg(path: Float64, stamp_ns: int, frame: str) -> Path:
    """Path of poses (N,3)."""
    message = Path(poses=[stamped_pose(pose, stamp_ns, frame) for pose in path])
    message.header.frame_id, message.header.stamp = frame, stamps.to_msg(stamp_ns)
    return message


def grid_msg(
    cells: NDArray[np.int8], resolution_m: float, origin: Float64, stamp_ns: int, frame: str
) -> GridMsg:  # fmt: skip
    """OccupancyGrid of cells int8 (H,W), -1..100, whose outer corner lies at `origin` (3,)."""
    message = GridMsg(data=array("b", np.ascontiguousarray(cells, np.int8).tobytes()))
    message.header.frame_id, message.header.stamp = frame, stamps.to_msg(stamp_ns)
    info = message.info
    info.map_load_time, info.resolution = stamps.to_msg(stamp_ns), float(resolution_m)
    info.height, info.width = cells.shape
    info.origin = pose_msg(origin)
    return message


def occupancy_grid(message: GridMsg) -> OccupancyGrid:
    """The map of a message.

    Raises:
        MapError: another number of cells than its size says, or a resolution that is none.
        TransformError: a broken origin.
    """
    info = message.info
    cells = np.frombuffer(message.data, np.int8)
    sized = len(cells) == info.height * info.width
    shape = (info.height, info.width) if sized else (-1,)
    resolution_m = round(float(info.resolution), 6)  # float32 on the wire
    return OccupancyGrid(resolution_m, flat(info.origin), cells.reshape(shape).copy())
