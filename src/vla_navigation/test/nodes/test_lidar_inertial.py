"""slam_node as FAST-LIVO2's adapter to REP 105: its topic and frames in, map and map -> odom out."""

from __future__ import annotations

import numpy as np
import pinocchio
from geometry_msgs.msg import Quaternion
from nav_msgs.msg import Odometry
from navigation_data import rooms
from played_robot import PlayedRobot, in_map
from test_slam_node import drive, state

from vla_core import rotations
from vla_core.frames import lifted
from vla_navigation.slam_node import SlamNode
from vla_ros.qos import publisher
from vla_ros.stamps import to_msg
from vla_ros.tf import transform

PARAMETERS = {"pose_source": "lidar_inertial"}
START = (1.2, 1.5, 0.4)
PLAN = rooms(6.0, 4.0, (3.6, 2.3, 6.0, 4.0), (0.0, 3.2, 1.2, 4.0), (2.6, 0.0, 3.0, 0.5))


def test_its_poses_become_rep_105(spinner) -> None:
    """Its IMU hangs turned and aside, and its world is tilted."""
    robot = PlayedRobot(spinner, PLAN, START)
    told = publisher(robot.node, "aft_mapped_to_init", Odometry)
    spinner.add(SlamNode())
    robot._fixed.send([transform("base_link", "imu", 0, (0.1, 0.05, 0.3), (0.0, np.sqrt(0.5), 0.0, np.sqrt(0.5)))])
    tilt = rotations.from_rotvec(np.array([0.3, -0.2, 1.0]))

    def told_too() -> None:
        step()
        if robot._steps % 2 == 0:
            true = lifted(in_map(robot.world.pose, np.array(START)))
            body = true @ robot.frames.tree.lookup("base_link", "imu", robot.now_ns)
            message = Odometry(child_frame_id="aft_mapped")
            message.header.frame_id, message.header.stamp = "camera_init", to_msg(robot.now_ns)
            turned = rotations.to_matrix(tilt) @ body[:3, :3]
            place, q = rotations.to_matrix(tilt) @ body[:3, 3] + 2.0, pinocchio.Quaternion(turned).coeffs()
            p = message.pose.pose.position
            p.x, p.y, p.z = place.tolist()
            message.pose.pose.orientation = Quaternion(x=q[0], y=q[1], z=q[2], w=q[3])
            told.publish(message)

    step, robot.step = robot.step, told_too
    robot.until(robot.localised, "map -> odom")
    drive(robot, 0.3, 0.2, 3.0)
    robot.until(lambda: robot.localised() and robot.maps, "a map")
    np.testing.assert_allclose(robot.believed(), in_map(robot.world.pose, np.array(START)), atol=0.03)
    robot.until(lambda: state(robot, "tracking"), "diagnostics")
    step, robot.step = robot.step, step
    robot.until(lambda: state(robot, "lost"), "no poses any more", 300.0)
