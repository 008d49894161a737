"""`nav:=nav2 slam:=slam_toolbox`: what those two see of the stack, and it of them, is standard throughout.

The test plays both with the names, types, frames and qualities of service of their own sources (slam_toolbox's
`slam_toolbox_common.cpp`; Nav2's `bt_navigator`, `controller_server`, `costmap_2d`, `odometry_utils`), without a line
of ours between them and the graph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import TransformStamped, Twist
from nav2_msgs.action import ComputePathToPose, NavigateToPose
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.action import ActionClient, ActionServer, CancelResponse
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import Imu, LaserScan, PointCloud2
from tf2_msgs.msg import TFMessage

from vla_bringup.graph import Graph, GraphOptions, simulated_graph
from vla_bringup.session import Session
from vla_bringup.testing import running
from vla_msgs.action import Explore
from vla_ros.stamps import to_ns

GRAPH: Graph = simulated_graph(
    GraphOptions.of_scene(
        "flat", seed=3, split="train", link=f"standard{os.getpid()}", slam="external", nav="nav2", detector=""
    )
)
OURS = {node.name for node in GRAPH.nodes}
STANDARD = ("sensor_msgs/", "nav_msgs/", "geometry_msgs/", "tf2_msgs/", "nav2_msgs/", "rosgraph_msgs/")
DEFAULT = QoSProfile(depth=10)  # rclcpp::SystemDefaultsQoS: reliable, volatile
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)  # of `map`, on both sides
TF, TF_STATIC = QoSProfile(depth=100), QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
#: What they subscribe to: topic → type, quality of service.
HEARD: dict[str, tuple[type, QoSProfile]] = {
    "scan": (LaserScan, qos_profile_sensor_data),
    "points": (PointCloud2, qos_profile_sensor_data),
    "imu": (Imu, qos_profile_sensor_data),
    "odom": (Odometry, DEFAULT),
    "/tf": (TFMessage, TF),
    "/tf_static": (TFMessage, TF_STATIC),
}
LIMIT_S = 120.0  # of every wait: a loaded machine is slow
SPEED_M_S = 0.15


class Others:
    """slam_toolbox, whose odometry is perfect, and Nav2, which drives ahead until its goal is taken back."""

    def __init__(self, session: Session) -> None:
        self.session, node = session, session.node
        self.heard: dict[str, list[Any]] = {name: [] for name in HEARD}
        for name, (kind, profile) in HEARD.items():
            node.create_subscription(kind, name, self.heard[name].append, profile)
        self._map = node.create_publisher(OccupancyGrid, "map", LATCHED)
        self._tf = node.create_publisher(TFMessage, "/tf", TF)
        self._twist = node.create_publisher(Twist, "cmd_vel_nav_unstamped", DEFAULT)  # controller_server, remapped
        node.create_subscription(LaserScan, "scan", self._on_scan, qos_profile_sensor_data)
        self.goals: list[NavigateToPose.Goal] = []
        self.cancelled = 0
        self._driven: Future | None = None
        self.servers = [
            ActionServer(node, NavigateToPose, "navigate_to_pose", self._drive, cancel_callback=self._on_cancel),
            ActionServer(node, ComputePathToPose, "compute_path_to_pose", self._plan),
        ]
        node.create_timer(0.05, self._on_timer)

    def _on_scan(self, scan: LaserScan) -> None:
        """map -> odom with every scan, and now and then the map: some free floor in the middle of the unknown."""
        place = TransformStamped(child_frame_id="odom")
        place.header.stamp, place.header.frame_id = scan.header.stamp, "map"
        place.transform.rotation.w = 1.0
        self._tf.publish(TFMessage(transforms=[place]))
        if len(self.heard["scan"]) % 20 == 1:
            cells = np.full((200, 200), -1, np.int8)
            cells[70:130, 70:130] = 0
            grid = OccupancyGrid(data=cells.ravel().tolist())
            grid.header.stamp, grid.header.frame_id = scan.header.stamp, "map"
            grid.info.resolution, grid.info.width, grid.info.height = 0.05, 200, 200
            grid.info.origin.position.x = grid.info.origin.position.y = -5.0
            grid.info.origin.orientation.w = 1.0
            self._map.publish(grid)

    async def _drive(self, handle: Any) -> NavigateToPose.Result:
        self.goals.append(handle.request)
        self._driven = Future()
        await self._driven
        self._driven = None
        handle.canceled()
        return NavigateToPose.Result()

    def _on_cancel(self, _handle: Any) -> CancelResponse:
        self.cancelled += 1
        driven = self._driven
        if driven is not None:
            self.session.node.executor.create_task(lambda: driven.set_result(None))
        return CancelResponse.ACCEPT

    def _plan(self, handle: Any) -> ComputePathToPose.Result:
        result = ComputePathToPose.Result()
        result.path.header.frame_id = "map"
        result.path.poses = [handle.request.start, handle.request.goal]
        handle.succeed()
        return result

    def _on_timer(self) -> None:
        if self._driven is not None:
            twist = Twist()
            twist.linear.x = SPEED_M_S
            self._twist.publish(twist)

    def wait(self, ready: Any, what: str) -> None:
        self.session.wait_until(ready, what, LIMIT_S)

    def transforms(self) -> dict[str, str]:
        """Child → parent, of what the graph says."""
        messages = [message for name in ("/tf", "/tf_static") for message in list(self.heard[name])]
        return {t.child_frame_id: t.header.frame_id for m in messages for t in m.transforms}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Others]:
    with running(GRAPH, tmp_path_factory.mktemp("standard")) as (_, session):
        made = Others(session)
        yield made
        for server in made.servers:
            server.destroy()


def published_by_us(node: Node) -> dict[str, str]:
    """Topic → type."""
    names = OURS & set(node.get_node_names())
    return {t: kinds[0] for one in names for t, kinds in node.get_publisher_names_and_types_by_node(one, "/")}


def test_the_graph_leaves_map_and_drives_to_them(others: Others) -> None:
    assert not {"slam_node", "navigator_node"} & OURS and {"explorer_node", "fetch_node", "base_node"} <= OURS
    others.wait(lambda: set(others.session.node.get_node_names()) >= OURS, "every node")
    others.wait(lambda: "/cmd_vel" in published_by_us(others.session.node), "the base's commands")
    ours = published_by_us(others.session.node)
    assert not {"/map", "/plan", "/global_costmap/costmap", "/local_costmap/costmap"} & set(ours)
    others.wait(lambda: "base_link" in others.transforms(), "the robot's transforms")
    mine = [t for m in list(others.heard["/tf"]) for t in m.transforms if t.child_frame_id == "odom"]
    assert all(t.header.frame_id == "map" and t.transform.rotation.w == 1.0 for t in mine), "ours, played here"


@pytest.mark.parametrize("name", HEARD)
def test_what_they_subscribe_to_is_standard_and_reaches_them(others: Others, name: str) -> None:
    others.wait(lambda: len(others.heard[name]) >= 1, f"{name} under their quality of service")
    node = others.session.node
    full = name if name.startswith("/") else f"/{name}"
    ends = [end for end in node.get_publishers_info_by_topic(full) if end.node_name in OURS]
    assert ends and all(end.topic_type.startswith(STANDARD) for end in ends)


def test_scans_hang_together_with_odom_as_rep_105_says(others: Others) -> None:
    others.wait(lambda: bool(others.heard["scan"] and others.heard["odom"]), "scan and odometry")
    scan, odom = others.heard["scan"][-1], others.heard["odom"][-1]
    assert odom.header.frame_id == "odom" and odom.child_frame_id == "base_link"

    def chain() -> list[str]:
        parents, found = others.transforms(), [scan.header.frame_id]
        while found[-1] in parents and len(found) < 10:
            found.append(parents[found[-1]])
        return found

    others.wait(lambda: chain()[-3:] == ["base_link", "odom", "map"], f"a way from {scan.header.frame_id} to map")
    stamps = [to_ns(t.header.stamp) for m in list(others.heard["/tf"]) for t in m.transforms
              if t.child_frame_id == "base_link"]  # fmt: skip
    assert min(stamps) <= to_ns(scan.header.stamp) <= max(stamps) + 100_000_000, "it can be placed at its time"
    assert scan.angle_increment * (len(scan.ranges) - 1) == pytest.approx(scan.angle_max - scan.angle_min, abs=1e-3)


def test_a_search_drives_by_their_actions_and_their_twists_and_takes_its_goal_back(others: Others) -> None:
    session, begun = others.session, others.heard["odom"]
    client = ActionClient(session.node, Explore, "explore")
    others.wait(client.server_is_ready, "the explorer")
    sent: list[Future] = []

    def ask() -> None:
        sent.append(client.send_goal_async(Explore.Goal()))

    session.node.executor.create_task(ask)
    others.wait(lambda: bool(sent) and sent[0].done(), "an answer to the goal")
    handle = sent[0].result()
    assert handle is not None and handle.accepted
    others.wait(lambda: bool(others.goals), "navigate_to_pose")
    goal = others.goals[0]
    assert goal.pose.header.frame_id == "map" and goal.behavior_tree == ""
    q = goal.pose.pose.orientation
    assert np.hypot(q.z, q.w) == pytest.approx(1.0, abs=1e-6)
    x0 = begun[-1].pose.pose.position.x
    others.wait(lambda: others.heard["odom"][-1].pose.pose.position.x > x0 + 0.1, "way by cmd_vel_nav_unstamped")
    ended: list[Future] = []

    def stop() -> None:
        handle.cancel_goal_async()
        ended.append(handle.get_result_async())

    session.node.executor.create_task(stop)
    others.wait(lambda: bool(ended) and ended[0].done(), "the end of the search")
    assert ended[0].result().status == GoalStatus.STATUS_CANCELED
    assert others.cancelled >= 1
    others.wait(lambda: others.heard["odom"][-1].twist.twist.linear.x == 0.0, "the base at rest")
