"""explorer_node with slam_node and navigator_node: a robot that the test plays searches a flat that it doesn't know."""

from __future__ import annotations

from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from nav_msgs.msg import OccupancyGrid as GridMsg
from navigation_data import rooms
from played_robot import PlayedRobot
from rclpy.action import ActionClient
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from vla_control.base_node import BaseNode
from vla_msgs.action import Explore
from vla_msgs.srv import FindObject
from vla_navigation.explorer_node import ExplorerNode
from vla_navigation.navigator_node import NavigatorNode
from vla_navigation.slam_node import SlamNode
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import to_msg
from vla_ros.tf import transform

PARAMETERS = {"server_timeout_s": "20.0"}
#: Two small rooms and a door between them.
PLAN = rooms(4.6, 2.6, (2.3, 0.0, 2.4, 0.7), (2.3, 1.7, 2.4, 2.6))


class Bench:
    """The played robot with a camera at its front, the nodes, and a client of the explorer."""

    def __init__(self, spinner, drives: bool = True) -> None:
        self.robot = PlayedRobot(spinner, PLAN, (0.9, 1.2, 0.0))
        self.node = self.robot.node
        self.looks = publisher(self.node, "objects", Detection3DArray)
        self.client = ActionClient(self.node, Explore, "explore")
        self.heard: list[Explore.Feedback] = []
        self.markers: list[MarkerArray] = []
        self.seen: list[GridMsg] = []
        subscription(self.node, "explorer_node/markers", MarkerArray, self.markers.append)
        subscription(self.node, "explorer_node/seen", GridMsg, self.seen.append)
        self.furniture: list[Detection3D] = []  # in the map of objects
        self.found: list[str] | None = None  # ids that find_object answers with; None: it isn't there
        for one in (SlamNode, *((NavigatorNode, BaseNode) if drives else ()), ExplorerNode):
            spinner.add(one())
        self.explorer = spinner.nodes[-1]
        quaternion = (-0.5, 0.5, -0.5, 0.5)  # z ahead, x right, y down
        self.robot._fixed.send([transform("base_link", "front_optical_frame", 0, (0.1, 0.0, 0.9), quaternion)])
        spinner.until(self.client.server_is_ready, "the action server")
        self.robot.step = self._stepped(self.robot.step)
        self.robot.until(lambda: self.robot.localised() and self.explorer._explorer is not None, "map and pose")

    def _stepped(self, step):
        """Look at a picture every fifth of a second."""

        def more() -> None:
            step()
            if self.robot._steps % 4 == 0:
                message = Detection3DArray(detections=self.furniture)
                message.header.stamp = to_msg(self.robot.now_ns)
                self.looks.publish(message)

        return more

    def serve_find_object(self) -> None:
        def answer(_request: Any, response: FindObject.Response) -> FindObject.Response:
            response.success, response.message = bool(self.found), "the red mug"
            response.objects.detections = [Detection3D(id=one) for one in self.found or ()]
            return response

        self.node.create_service(FindObject, "find_object", answer)

    def send(self, target: str = "", timeout_s: float = 0.0) -> Any:
        goal = Explore.Goal(target=target, timeout_s=timeout_s)
        return self.robot.wait(
            self.client.send_goal_async(goal, feedback_callback=lambda m: self.heard.append(m.feedback))
        )

    def result(self, handle: Any, limit_s: float = 60.0) -> Any:
        future = handle.get_result_async()
        self.robot.until(future.done, "a result", limit_s)
        return future.result()


def test_an_unknown_flat_is_searched_to_its_end(spinner) -> None:
    bench = Bench(spinner)
    ended = bench.result(bench.send(), 240.0)
    assert ended.status == GoalStatus.STATUS_SUCCEEDED, ended.result
    assert ended.result.success and ended.result.error_code == ""
    assert ended.result.seen_m2 > 0.8 * (2.2 * 2.5 + 2.1 * 2.5)
    assert bench.robot.world.touched == 0
    goals = [m.goal for m in bench.heard if m.goal.header.frame_id]
    assert goals and {goal.header.frame_id for goal in goals} == {"map"}
    assert max(m.frontiers for m in bench.heard) > 0
    kinds = {marker.ns for message in bench.markers for marker in message.markers if marker.action == Marker.ADD}
    assert kinds == {"frontiers", "view"}
    assert set(np.frombuffer(bench.seen[-1].data, np.int8).tolist()) <= {-1, 0, 50}


def test_a_new_candidate_ends_the_search_and_the_drive(spinner) -> None:
    bench = Bench(spinner)
    bench.serve_find_object()
    bench.found = ["3"]
    handle = bench.send("the red mug")
    future = handle.get_result_async()
    bench.robot.run(4.0)
    assert not future.done(), "object 3 was known when the search began"
    bench.found = ["3", "8"]
    bench.robot.until(future.done, "a result")
    assert future.result().result.success and future.result().result.message == "the red mug"
    bench.robot.until(lambda: np.abs(bench.robot.world.twist).max() < 1e-3, "rest", 4.0)


def test_furniture_that_is_known_hints_at_the_target(spinner) -> None:
    bench = Bench(spinner)
    bench.serve_find_object()
    table = Detection3D(id="1", results=[ObjectHypothesisWithPose()])
    table.results[0].hypothesis.class_id, table.results[0].hypothesis.score = "dining table", 0.9
    table.bbox.center.position.x, table.bbox.size.x = 2.0, 0.8
    bench.furniture = [table]
    bench.robot.run(0.5)
    handle = bench.send("the red mug")
    explorer = bench.explorer._explorer

    def worth() -> float:
        weights, frame = explorer._prior.weights(explorer.layer.frame), explorer.layer.frame
        return float(weights[frame.cell(2.0, 0.0)] / weights[frame.cell(-0.5, 0.0)])

    bench.robot.until(lambda: worth() > 2.0, "worth around the table")
    handle.cancel_goal_async()
    bench.result(handle)
    bench.send("")
    assert worth() == 1.0, "another search, other hints"


def test_cancelled_it_stops(spinner) -> None:
    bench = Bench(spinner)
    handle = bench.send()
    bench.robot.until(lambda: np.abs(bench.robot.world.twist).max() > 0.1, "motion")
    assert bench.robot.wait(handle.cancel_goal_async()).goals_canceling
    ended = bench.result(handle)
    assert ended.status == GoalStatus.STATUS_CANCELED and ended.result.error_code == "cancelled"
    bench.robot.until(lambda: np.abs(bench.robot.world.twist).max() < 1e-3, "rest", 4.0)


def test_a_search_runs_out_of_time(spinner) -> None:
    bench = Bench(spinner)
    ended = bench.result(bench.send(timeout_s=2.0))
    assert ended.status == GoalStatus.STATUS_ABORTED and ended.result.error_code == "timeout"


def test_a_target_without_a_map_of_objects_is_said_to_be_one(spinner) -> None:
    bench = Bench(spinner)
    ended = bench.result(bench.send("the red mug"))
    assert ended.result.error_code == "blocked" and "start semantic_map_node" in ended.result.message


def test_a_lost_robot_is_said_to_be_lost(spinner) -> None:
    bench = Bench(spinner)
    handle = bench.send()
    bench.robot.run(2.0)
    bench.robot.speaks["tf"] = False
    ended = bench.result(handle)
    assert ended.result.error_code == "lost" and "SLAM" in ended.result.message


def test_without_a_navigator_it_is_blocked(spinner) -> None:
    bench = Bench(spinner, drives=False)
    bench.explorer._navigator._server_s = 0.2
    ended = bench.result(bench.send(), 240.0)
    assert ended.result.error_code == "blocked" and "start navigator_node or Nav2" in ended.result.message
