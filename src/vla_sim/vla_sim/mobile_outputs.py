"""What a mobile robot's drivers publish beside joint states: scan, points, imu, odom, battery_state; cmd_vel in."""

from __future__ import annotations

import time

from geometry_msgs.msg import TransformStamped, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import BatteryState, Imu, LaserScan, PointCloud2

from vla_control.core.base.controller import BaseTargetError
from vla_core.types import NS
from vla_ros import stamps
from vla_ros.qos import publisher, subscription
from vla_sim import conversions
from vla_sim.core.mobile_world import MobileWorld
from vla_sim.core.simulation import TICK_NS

_QUIET_S = 5.0  # refused commands are told once in this time; all are counted


class MobileOutputs:
    """Publishes the sensors of a world at their own rates, and hands it the commands of its base.

    Args:
        node: Publishes.
        world: Its sensors are asked for anew each time: a reset replaces them.

    Attributes:
        refused: Commands that the base didn't take.
    """

    def __init__(self, node: Node, world: MobileWorld) -> None:
        self.refused, self._said_s = 0, -_QUIET_S
        self._node, self._world = node, world
        self._odometry: object = None
        self._stamp_ns = 0
        self._scan_ticks, self._points_ticks, self._imu_ticks = (
            _ticks(each.config.rate_hz) for each in (world.lidar_2d, world.lidar_3d, world.imu)
        )
        self._battery_ticks = _ticks(world.battery_hz)
        self._cloud = conversions.PointClouds(world.lidar_3d.config.frame)
        self._scan_out = publisher(node, "scan", LaserScan)
        self._points_out = publisher(node, "points", PointCloud2)
        self._imu_out = publisher(node, "imu", Imu)
        self._battery_out = publisher(node, "battery_state", BatteryState)
        self._odom_out = publisher(node, "odom", Odometry)
        subscription(node, "cmd_vel", TwistStamped, self._on_cmd_vel)

    def tick(self, tick: int, stamp_ns: int) -> list[TransformStamped]:
        """Publish what is due; a scan of the 3-D lidar costs milliseconds, so it is made for listeners only.

        Returns:
            odom -> base where it is due, else nothing; for whoever sends /tf, in one message with all that is due.
        """
        world, self._stamp_ns = self._world, stamp_ns
        moved: list[TransformStamped] = []
        if tick % self._imu_ticks == 0:
            gyro, force = world.imu.read(world.data)
            self._imu_out.publish(conversions.imu(stamp_ns, world.imu.config, gyro, force))
        if world.odometry is not self._odometry:
            self._odometry = odometry = world.odometry
            message = conversions.odometry(stamp_ns, odometry, world.odom_frame, world.robot.base_frame)
            self._odom_out.publish(message)
            moved.append(conversions.odometry_transform(message))
        if tick % self._scan_ticks == 0:
            ranges = world.lidar_2d.scan(world.model, world.data)
            self._scan_out.publish(conversions.scan(stamp_ns, world.lidar_2d.config, ranges))
        if tick % self._points_ticks == 0 and self._points_out.get_subscription_count() > 0:
            lidar = world.lidar_3d
            ranges = lidar.scan(world.model, world.data)
            self._points_out.publish(self._cloud(stamp_ns, lidar.points(ranges), lidar.rings(ranges)))
        if tick % self._battery_ticks == 0:
            message = BatteryState(percentage=world.charge, present=True)
            message.header.stamp = stamps.to_msg(stamp_ns)
            self._battery_out.publish(message)
        return moved

    def _on_cmd_vel(self, message: TwistStamped) -> None:
        """As a base's driver does it: a command that is too old is none."""
        age_s = (self._stamp_ns - stamps.to_ns(message.header.stamp)) / NS
        if age_s > self._world.command_timeout_s:
            self._refuse(f"a base command that is {age_s:.2f} s old")
            return
        try:
            self._world.command_base(message.twist.linear.x, message.twist.angular.z)
        except BaseTargetError as error:
            self._refuse(str(error))

    def _refuse(self, why: str) -> None:
        self.refused += 1
        now_s = time.monotonic()
        if now_s - self._said_s >= _QUIET_S:
            self._said_s = now_s
            self._node.get_logger().warning(f"command refused: {why}")


def _ticks(rate_hz: float) -> int:
    return max(1, round(NS / (rate_hz * TICK_NS)))
