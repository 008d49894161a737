"""slam_node against a played robot: what it publishes and how, and what it says when something is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from navigation_data import rooms
from played_robot import STEP_S, PlayedRobot, in_map
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from std_srvs.srv import Trigger

from vla_core import se2
from vla_core.types import NS
from vla_navigation import floor_conversions as conversions
from vla_navigation.core.occupancy_grid import FREE_BELOW, OCCUPIED_FROM, OccupancyGrid
from vla_navigation.slam_node import SlamNode
from vla_ros.qos import publisher
from vla_ros.stamps import to_msg, to_ns

START = (1.2, 1.5, 0.4)
#: An L with a niche: no part of it looks like another.
PLAN = rooms(6.0, 4.0, (3.6, 2.3, 6.0, 4.0), (0.0, 3.2, 1.2, 4.0), (2.6, 0.0, 3.0, 0.5))


@pytest.fixture
def robot(spinner) -> PlayedRobot:
    return PlayedRobot(spinner, PLAN, START)


def drive(robot: PlayedRobot, speed: float, turn: float, seconds: float) -> None:
    """Move the base by hand."""
    command = TwistStamped()
    command.twist.linear.x, command.twist.angular.z = speed, turn
    for _ in range(round(seconds / STEP_S)):
        command.header.stamp = to_msg(robot.now_ns)
        robot.command = command
        robot.step()
    robot.command = None


def state(robot: PlayedRobot, words: str) -> bool:
    """Whether slam_node's diagnostics say that."""
    return "slam_node" in robot.states and words in robot.states["slam_node"].message


def call(spinner, robot: PlayedRobot, name: str) -> Trigger.Response:
    client = robot.node.create_client(Trigger, f"slam_node/{name}")
    spinner.until(client.service_is_ready, name)
    future = client.call_async(Trigger.Request())
    spinner.until(future.done, f"an answer of {name}")
    return future.result()


def test_map_and_transform_follow_the_robot(spinner, robot: PlayedRobot) -> None:
    spinner.add(SlamNode())
    robot.until(robot.localised, "map -> odom")
    drive(robot, 0.4, 0.2, 4.0)
    robot.until(lambda: state(robot, "tracking"), "diagnostics")
    truth = in_map(robot.world.pose, np.array(START))
    assert np.hypot(*(robot.believed() - truth)[:2]) < 0.05
    assert abs(float(se2.wrap(robot.believed()[2] - truth[2]))) < 0.03
    assert np.hypot(*(robot.odometry - truth)[:2]) > 0.03, "odometry alone would have done"
    assert robot.map_odom_ns[-1] > robot.now_ns, "consumers can use it until the next one"
    grid = conversions.occupancy_grid(robot.maps[-1])
    assert grid_of_truth(grid, np.array(START)) > 0.95


def grid_of_truth(grid: OccupancyGrid, start: np.ndarray) -> float:
    """Share of the map's occupied cells that lie within 10 cm of a wall, with free cells that do not."""
    walls = PLAN.boxes

    def near(points: np.ndarray) -> np.ndarray:
        true = se2.transform(start, points)
        gaps = [np.hypot(np.maximum(np.maximum(b[0] - true[:, 0], true[:, 0] - b[2]), 0.0),
                         np.maximum(np.maximum(b[1] - true[:, 1], true[:, 1] - b[3]), 0.0)) for b in walls]  # fmt: skip
        return np.min(gaps, axis=0) < 0.1

    occupied = near(grid.to_world(np.argwhere(grid.cells >= OCCUPIED_FROM)))
    free = near(grid.to_world(np.argwhere((grid.cells >= 0) & (grid.cells < FREE_BELOW))))
    assert len(occupied) > 100 and len(free) > 1000 and free.mean() < 0.2
    return float(occupied.mean())


def test_the_map_is_latched_and_comes_when_it_has_changed(spinner, robot: PlayedRobot) -> None:
    spinner.add(SlamNode())
    robot.until(lambda: robot.maps, "a map")
    (end,) = robot.node.get_publishers_info_by_topic("/map")
    assert end.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    robot.run(3.0)
    count = len(robot.maps)
    robot.run(3.0)
    assert len(robot.maps) == count, "the robot stands: nothing new"
    drive(robot, 0.4, 0.0, 3.0)
    robot.run(1.0)
    stamps = [to_ns(grid.header.stamp) for grid in robot.maps[count - 1 :]]
    assert len(stamps) > 1 and min(np.diff(stamps)) >= 0.8 * NS, "at a bounded rate"


@pytest.mark.parametrize(
    ("missing", "words"),
    [("scan", "no scan yet"), ("odom", "no odometry yet"), ("laser", "no frame 'laser'")],
)
def test_without_one_of_its_inputs_it_gives_no_pose(spinner, robot: PlayedRobot, missing: str, words: str) -> None:
    robot.speaks[missing] = False
    spinner.add(SlamNode())
    robot.until(lambda: state(robot, words), words)
    assert not robot.map_odom_ns and not robot.maps
    robot.speaks[missing] = True
    robot.mount_laser()
    robot.until(robot.localised, "map -> odom")


@pytest.mark.parametrize("missing", ["scan", "odom"])
def test_an_input_that_ends_ends_the_transform(spinner, robot: PlayedRobot, missing: str) -> None:
    spinner.add(SlamNode())
    robot.until(robot.localised, "map -> odom")
    robot.speaks[missing] = False
    words = "the last scan is" if missing == "scan" else "the last odometry is"
    robot.until(lambda: state(robot, words), words)
    assert robot.states["slam_node"].level == DiagnosticStatus.ERROR
    assert not robot.localised(), "no made-up pose"


def test_odometry_of_another_frame_is_refused(spinner, robot: PlayedRobot) -> None:
    node = spinner.add(SlamNode())
    plain = robot.odometry_msg

    def wrong():
        message = plain()
        message.child_frame_id = "base_footprint"
        return message

    robot.odometry_msg = wrong
    robot.run(1.0)
    assert node._status()[0].values["refused_odom"] > 0 and not robot.map_odom_ns


def test_a_kidnapped_robot_is_lost_and_found_by_an_initial_pose(spinner, robot: PlayedRobot) -> None:
    spinner.add(SlamNode())
    robot.until(robot.localised, "map -> odom")
    drive(robot, 0.4, 0.2, 4.0)
    robot.world.pose = np.array([5.2, 1.2, 2.5])
    robot.until(lambda: not robot.localised(), "no transform")
    robot.until(robot.localised, "being found again by itself")
    robot.run(1.0)
    assert np.hypot(*(robot.believed() - in_map(robot.world.pose, np.array(START)))[:2]) < 0.1

    robot.world.pose = np.array([1.8, 2.9, -1.0])
    told = PoseWithCovarianceStamped()
    told.header.frame_id = "map"
    told.pose.pose = conversions.pose_msg(in_map(robot.world.pose, np.array(START)) + [0.2, -0.2, 0.15])
    told.pose.covariance[0] = told.pose.covariance[7] = 0.09
    told.pose.covariance[35] = 0.03
    person = publisher(robot.node, "initialpose", PoseWithCovarianceStamped)
    spinner.until(lambda: person.get_subscription_count() == 1, "a listener")
    person.publish(told)
    robot.run(1.5)
    robot.until(robot.localised, "being found")
    robot.run(1.0)
    assert np.hypot(*(robot.believed() - in_map(robot.world.pose, np.array(START)))[:2]) < 0.1


def test_a_saved_map_is_loaded_and_the_robot_found_in_it(spinner, robot: PlayedRobot, tmp_path: Path) -> None:
    node = spinner.add(SlamNode())
    refused = call(spinner, robot, "save_map")
    assert not refused.success and "no map_path" in refused.message
    robot.until(robot.localised, "map -> odom")
    drive(robot, 0.4, 0.2, 4.0)
    missing = node.set_parameters([Parameter("map_path", value=str(tmp_path / "flat"))])
    assert missing[0].successful
    failed = call(spinner, robot, "load_map")
    assert not failed.success and "flat.npz" in failed.message
    assert call(spinner, robot, "save_map").success
    assert {path.name for path in tmp_path.iterdir()} == {"flat.yaml", "flat.pgm", "flat.npz"}
    robot.world.pose = np.array([4.5, 1.2, 2.0])
    assert call(spinner, robot, "load_map").success
    robot.map_odom_ns.clear()
    robot.until(robot.localised, "being found in the map")
    robot.run(1.0)
    assert np.hypot(*(robot.believed() - in_map(robot.world.pose, np.array(START)))[:2]) < 0.1


def test_a_clock_that_goes_back_begins_a_new_map(spinner, robot: PlayedRobot) -> None:
    spinner.add(SlamNode())
    robot.until(robot.localised, "map -> odom")
    drive(robot, 0.4, 0.0, 2.0)
    robot.world.now_ns = 2 * NS
    robot.odometry = np.zeros(3)
    robot.map_odom_ns.clear()
    robot.run(1.0)
    assert robot.map_odom_ns and robot.map_odom_ns[-1] < 5 * NS
    assert np.abs(robot.believed()).max() < 0.05, "the map begins at the robot"
