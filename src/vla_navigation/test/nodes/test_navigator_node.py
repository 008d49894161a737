"""navigator_node with slam_node and base_node: a robot that the test plays drives through standard interfaces alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import TwistStamped
from nav2_msgs.action import ComputePathToPose, NavigateToPose
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Path
from navigation_data import PARAMS, rooms
from played_robot import PlayedRobot, in_map
from rclpy.action import ActionClient
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from vla_control.base_node import BaseNode
from vla_core.types import NS, Float64
from vla_navigation import floor_conversions as conversions
from vla_navigation.core.nav.codes import Code
from vla_navigation.navigator_node import NavigatorNode
from vla_navigation.slam_node import SlamNode
from vla_ros.qos import subscription
from vla_ros.stamps import to_ns

START = np.array([1.0, 0.8, 0.3])
#: Two rooms with a door; the second one is an L.
PLAN = rooms(6.0, 4.0, (2.6, 0.0, 2.7, 1.4), (2.6, 2.3, 2.7, 4.0), (4.4, 2.6, 6.0, 4.0), (0.0, 3.3, 0.9, 4.0))


class Bench:
    """The played robot, the nodes, and a client of the navigator."""

    def __init__(self, spinner, with_base: bool = True) -> None:
        self.robot = PlayedRobot(spinner, PLAN, tuple(START), "cmd_vel" if with_base else "cmd_vel_nav")
        self.spinner = spinner
        self.slam = spinner.add(SlamNode())
        self.nav = spinner.add(NavigatorNode())
        if with_base:
            spinner.add(BaseNode())
        node = self.robot.node
        self.drive = ActionClient(node, NavigateToPose, "navigate_to_pose")
        self.plan = ActionClient(node, ComputePathToPose, "compute_path_to_pose")
        self.heard: list[NavigateToPose.Feedback] = []
        self.paths: list[Path] = []
        self.told: list[TwistStamped] = []
        subscription(node, "plan", Path, self.paths.append)
        subscription(node, "cmd_vel_nav", TwistStamped, self.told.append)
        spinner.until(lambda: self.drive.server_is_ready() and self.plan.server_is_ready(), "the action servers")
        self.robot.until(lambda: self.robot.maps and self.robot.localised(), "map and pose")

    def send(self, x: float, y: float, yaw: float = 0.0, frame: str = "map", **more: Any) -> Any:
        """A goal at a true place; in the map it lies elsewhere, as the map began with the robot."""
        pose = in_map(np.array([x, y, yaw]), START) if frame == "map" else np.array([x, y, yaw])
        goal = NavigateToPose.Goal(pose=conversions.stamped_pose(pose, 0, frame), **more)
        return self.robot.wait(
            self.drive.send_goal_async(goal, feedback_callback=lambda m: self.heard.append(m.feedback)), "acceptance"
        )

    def result(self, handle: Any, limit_s: float = 60.0) -> Any:
        future = handle.get_result_async()
        self.robot.until(future.done, "a result", limit_s)
        return future.result()

    def moving(self) -> bool:
        return float(self.robot.world.twist[0]) > 0.1

    def rests(self) -> bool:
        return float(np.abs(self.robot.world.twist).max()) < 1e-3

    def path(self, start: Float64 | None, goal: Float64, planner: str = "") -> Any:
        request = ComputePathToPose.Goal(goal=conversions.stamped_pose(goal, 0, "map"), planner_id=planner)
        if start is not None:
            request.use_start, request.start = True, conversions.stamped_pose(start, 0, "map")
        handle = self.robot.wait(self.plan.send_goal_async(request))
        return self.robot.wait(handle.get_result_async())


@pytest.fixture
def bench(spinner) -> Bench:
    return Bench(spinner)


def test_a_goal_in_the_other_room_is_reached_and_nothing_is_touched(bench: Bench) -> None:
    view: list[GridMsg] = []
    whole: list[GridMsg] = []
    subscription(bench.robot.node, "local_costmap/costmap", GridMsg, view.append)
    subscription(bench.robot.node, "global_costmap/costmap", GridMsg, whole.append)
    ended = bench.result(bench.send(3.8, 1.0, -1.0), 120.0)
    assert ended.status == GoalStatus.STATUS_SUCCEEDED and ended.result.error_code == 0, ended.result.error_msg
    away = np.hypot(*(bench.robot.world.pose[:2] - [3.8, 1.0]))
    assert away <= PARAMS.goal_tolerance_m + 0.05 and bench.robot.world.touched == 0
    first, last = bench.heard[0], bench.heard[-1]
    assert first.current_pose.header.frame_id == "map" and 0.0 <= last.distance_remaining < 0.3
    assert to_ns(last.navigation_time) > 5 * NS and last.number_of_recoveries == 0
    assert max(message.distance_remaining for message in bench.heard) > 2.5, "through the door"
    assert len(bench.paths[0].poses) > 10 and bench.paths[0].header.frame_id == "map"
    bench.robot.run(1.0)
    assert bench.rests() and not bench.paths[-1].poses
    count = len(bench.told)
    bench.robot.run(1.0)
    assert len(bench.told) == count, "a navigator without a goal leaves the base to others"
    sizes = [(grid.info.width, grid.info.height) for grid in (view[-1], whole[-1])]
    assert sizes[0] == (121, 121) and sizes[1] > sizes[0] and 100 in whole[-1].data, "and the whole map"
    cells = np.frombuffer(view[-1].data, np.int8)
    assert {0, 99, 100} <= set(cells.tolist()) and cells.min() >= -1


def test_cancelled_it_stops_and_says_so(bench: Bench) -> None:
    handle = bench.send(3.8, 1.0)
    bench.robot.until(bench.moving, "motion")
    asked = bench.robot.wait(handle.cancel_goal_async())
    assert asked.goals_canceling
    ended = bench.result(handle)
    assert ended.status == GoalStatus.STATUS_CANCELED and ended.result.error_code == 0
    bench.robot.until(bench.rests, "rest", 3.0)
    assert bench.told[-1].twist == TwistStamped().twist


def test_a_new_goal_replaces_the_one_before(bench: Bench) -> None:
    first = bench.send(3.8, 1.0)
    bench.robot.until(bench.moving, "motion")
    second = bench.send(1.5, 2.0)
    ended = bench.result(first)
    assert ended.status == GoalStatus.STATUS_ABORTED and ended.result.error_msg == "replaced by a new goal"
    assert bench.result(second, 90.0).status == GoalStatus.STATUS_SUCCEEDED
    assert np.hypot(*(bench.robot.world.pose[:2] - [1.5, 2.0])) < 0.25 and bench.robot.world.touched == 0


def test_goals_that_can_t_be_reached_get_nav2_s_codes(bench: Bench) -> None:
    outside = bench.result(bench.send(30.0, 30.0))
    assert (outside.status, outside.result.error_code) == (GoalStatus.STATUS_ABORTED, Code.PLAN_GOAL_OUTSIDE_MAP)
    nowhere = bench.result(bench.send(0.0, 0.0, frame="kitchen"))
    assert nowhere.result.error_code == Code.PLAN_TF_ERROR and "kitchen" in nowhere.result.error_msg
    assert not bench.send(1.5, 2.0, behavior_tree="navigate.xml").accepted
    ahead = bench.result(bench.send(0.3, 0.1, frame="base_link"))
    assert ahead.status == GoalStatus.STATUS_SUCCEEDED
    bench.robot.until(bench.rests, "rest", 3.0)

    good = bench.path(None, in_map(np.array([1.5, 2.5, 0.0]), START))
    assert good.status == GoalStatus.STATUS_SUCCEEDED and len(good.result.path.poses) > 5
    assert np.hypot(*(conversions.flat(good.result.path.poses[0].pose) - bench.robot.believed())[:2]) < 0.1
    here = np.zeros(3)
    assert bench.path(here, np.array([40.0, 0.0, 0.0])).result.error_code == Code.PLAN_GOAL_OUTSIDE_MAP
    assert bench.path(np.array([40.0, 0.0, 0.0]), here).result.error_code == Code.PLAN_START_OUTSIDE_MAP
    assert bench.path(here, here, "Smac").result.error_code == Code.PLAN_INVALID_PLANNER


@pytest.mark.parametrize(
    ("missing", "what"), [("scan", "scan"), ("tf", "pose"), ("odom", "velocity"), ("slam", "pose")]
)
def test_without_sight_it_stops_and_says_what_is_missing(bench: Bench, missing: str, what: str) -> None:
    """A lidar, odometry, its TF, or a SLAM that ends in the middle of a drive."""
    handle = bench.send(3.8, 1.0)
    bench.robot.until(bench.moving, "motion")
    if missing == "slam":
        bench.spinner.executor.remove_node(bench.slam)
    else:
        bench.robot.speaks[missing] = False
    bench.robot.until(bench.rests, "rest", 4.0)
    ended = bench.result(handle, 20.0)
    assert (ended.status, ended.result.error_code) == (GoalStatus.STATUS_ABORTED, Code.CONTROL_TF_ERROR)
    got, _, rest = ended.result.error_msg.partition("; expected ")
    assert what in got and "fix: " in rest
    assert bench.rests() and bench.robot.world.touched == 0


def clutter(pose: Float64) -> Float64:
    """Small boxes (B,4) all around a pose, none of them near."""
    middles = pose[:2] + np.random.default_rng(3).uniform(-4.0, 4.0, (80, 2))
    middles = middles[np.hypot(*(middles - pose[:2]).T) > 1.2]
    return np.concatenate([middles - 0.08, middles + 0.08], axis=1)


def test_a_kidnapped_robot_stands_still_while_it_is_lost(bench: Bench) -> None:
    handle = bench.send(3.8, 1.0)
    bench.robot.until(bench.moving, "motion")
    bench.robot.world.boxes = clutter(bench.robot.world.pose)  # carried to where nothing looks like the map
    bench.robot.until(lambda: "lost" in bench.robot.said().get("slam_node", ""), "slam says lost")
    bench.robot.until(bench.rests, "rest", 4.0)
    bench.robot.until(lambda: "pose" in bench.robot.said()["navigator_node"], "navigator says why")
    ended = bench.result(handle, 20.0)
    assert ended.result.error_code == Code.CONTROL_TF_ERROR and bench.robot.world.touched == 0


def test_a_safety_stop_ends_the_goal_and_holds_off_others(bench: Bench) -> None:
    handle = bench.send(3.8, 1.0)
    bench.robot.until(bench.moving, "motion")
    bench.robot.stopped = True
    ended = bench.result(handle)
    assert ended.status == GoalStatus.STATUS_ABORTED and "safety stop (operator)" in ended.result.error_msg
    bench.robot.until(bench.rests, "rest", 3.0)
    assert "safety stop" in bench.result(bench.send(1.5, 2.0)).result.error_msg
    bench.robot.stopped = False
    bench.robot.run(0.5)
    again = bench.send(1.5, 1.0)
    bench.robot.until(lambda: not bench.rests(), "motion again")
    bench.robot.wait(again.cancel_goal_async())


def test_deactivated_in_motion_it_tells_the_base_to_stand(bench: Bench) -> None:
    handle = bench.send(3.8, 1.0)
    bench.robot.until(bench.moving, "motion")
    bench.nav.trigger_deactivate()
    ended = bench.result(handle)
    assert ended.status == GoalStatus.STATUS_ABORTED and "deactivated" in ended.result.error_msg
    bench.robot.until(bench.rests, "rest", 3.0)
    assert bench.told[-1].twist == TwistStamped().twist
    assert not bench.send(1.5, 2.0).accepted


def test_topics_have_the_quality_of_the_table(spinner) -> None:
    robot = PlayedRobot(spinner, PLAN, tuple(START))
    spinner.add(NavigatorNode())

    def ends(name: str) -> list:
        return [e for e in robot.node.get_publishers_info_by_topic(name) if e.node_name == "navigator_node"]

    for name, latched, reliable in (
        ("/cmd_vel_nav", False, False), ("/plan", False, True), ("/local_costmap/costmap", True, True),
        ("/global_costmap/costmap", True, True),
    ):  # fmt: skip
        spinner.until(lambda name=name: ends(name), name)
        (end,) = ends(name)
        assert (end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL) is latched
        assert (end.qos_profile.reliability == ReliabilityPolicy.RELIABLE) is reliable


def test_without_a_map_a_goal_is_refused_with_a_sentence(spinner) -> None:
    robot = PlayedRobot(spinner, PLAN, tuple(START))
    spinner.add(NavigatorNode())
    client = ActionClient(robot.node, NavigateToPose, "navigate_to_pose")
    spinner.until(client.server_is_ready, "the action server")
    goal = NavigateToPose.Goal(pose=conversions.stamped_pose(np.zeros(3), 0, "map"))
    handle = robot.wait(client.send_goal_async(goal))
    ended = robot.wait(handle.get_result_async())
    assert ended.result.error_code == Code.PLAN_UNKNOWN and "fix: start SLAM" in ended.result.error_msg
