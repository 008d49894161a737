"""The last decimetres: whatever visual servoing asks for, the base keeps off what the lidar shows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import LaserScan

from vla_control.core.robot import load_robot_config
from vla_navigation.core.nav.robot_footprint import robot_footprint
from vla_navigation.fetch_ports import BaseWheels, MapSurroundings
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_msg
from vla_ros.tf import StaticTransformBroadcaster, TransformBroadcaster, transform

PARAMETERS = {"use_sim_time": "false"}
ROBOT, MARGIN_M, RAYS = "so101_mobile", 0.01, 181


class Stand:
    """Wheels, and somebody who tells where the robot is and what its lidar sees ahead of it."""

    def __init__(self, spinner) -> None:
        config, self.footprint = load_robot_config(ROBOT), robot_footprint(ROBOT)
        assert config.base is not None
        self.spinner, self.node = spinner, spinner.add(Node("stand"))
        self.radius_m = self.footprint.inscribed_m
        around = MapSurroundings(self.node, "map", "base_link", self.radius_m, 0.5)
        self.wheels = BaseWheels(self.node, config.base, self.footprint, around, MARGIN_M)
        self.ahead_m, self.pose_x_m, self.sees = 3.0, 1.0, True
        self._scans = publisher(self.node, "scan", LaserScan)
        self._tf, self._fixed = TransformBroadcaster(self.node), StaticTransformBroadcaster(self.node)
        self.sent: list[TwistStamped] = []
        subscription(self.node, "cmd_vel_nav", TwistStamped, self.sent.append)

    def drive(self, v_m_s: float, w_rad_s: float, seconds: float) -> float:
        """Ask for a twist for a while; how fast it drives ahead at the end."""
        end_s, count = time.monotonic() + seconds, len(self.sent)
        while time.monotonic() < end_s or len(self.sent) < count + 4:
            stamp = now_ns(self.node)
            self._fixed.send([transform("base_link", "laser", 0, (0.0, 0.0, 0.2), (0.0, 0.0, 0.0, 1.0))])
            place = transform("map", "base_link", stamp, (self.pose_x_m, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
            self._tf.send([place])
            if self.sees:
                angles = np.linspace(-np.pi / 2, np.pi / 2, RAYS)
                walls = np.where(np.abs(angles) < 0.3, self.ahead_m / np.cos(angles), np.inf)
                scan = LaserScan(angle_min=angles[0], angle_increment=angles[1] - angles[0], range_min=0.05,
                                 range_max=12.0, ranges=walls.astype(np.float32).tolist())  # fmt: skip
                scan.header.frame_id, scan.header.stamp = "laser", to_msg(stamp)
                self._scans.publish(scan)
            self.wheels.drive(v_m_s, w_rad_s)
            for _ in range(8):
                self.spinner.executor.spin_once(timeout_sec=0.01)
        return self.sent[-1].twist.linear.x


@pytest.fixture
def stand(spinner) -> Stand:
    return Stand(spinner)


def test_it_drives_towards_nothing_that_stands_there_but_turns_and_leaves(stand: Stand) -> None:
    assert stand.drive(0.1, 0.0, 1.0) == pytest.approx(0.1)
    stand.ahead_m = stand.radius_m + 0.012  # somebody's foot
    assert stand.drive(0.1, 0.0, 1.0) == 0.0
    assert stand.drive(0.0, 0.3, 1.0) == 0.0 and stand.sent[-1].twist.angular.z == pytest.approx(0.3)
    assert stand.drive(-0.1, 0.0, 1.0) == pytest.approx(-0.1)


def test_without_sight_it_stands(stand: Stand) -> None:
    assert stand.drive(0.1, 0.0, 1.0) > 0.0
    stand.sees = False
    assert stand.drive(0.1, 0.2, 1.2) == 0.0 and stand.sent[-1].twist.angular.z == 0.0
    stand.sees, stand.ahead_m = True, np.inf  # covered: nothing in any direction
    assert stand.drive(0.1, 0.2, 1.0) == 0.0 and stand.sent[-1].twist.angular.z == 0.0
