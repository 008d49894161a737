"""The live console: its numbers, its robot, and the page in a real browser with the graph played by the test."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from chromium import Browser, find_chromium
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Path
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from vla_bringup.console.floor_listener import FloorListener
from vla_bringup.console.floor_view import map_picture
from vla_bringup.console.job import console_job
from vla_bringup.console.page import Actions, Page, beside
from vla_bringup.console.panel import Panel
from vla_bringup.console.robot_view import RobotView
from vla_bringup.core.floor_picture import SeenThing
from vla_bringup.graph import GraphOptions
from vla_core.errors import ConfigError
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import SafetyState
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_ros.qos import publisher
from vla_ros.testing import Spinner, private_ros
from vla_ros.tf import TransformBroadcaster, transform
from vla_sim.core.world import World


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_panel_says_what_is_known_and_nothing_else() -> None:
    panel = Panel()
    panel.trouble = "no map yet"
    assert panel.mission().endswith("no map yet")
    panel.trouble = ""
    assert panel.mission() == "idle" and "–" in panel.numbers() and "servo" not in panel.numbers()
    panel.inference_ms.extend([10.0, 20.0, 30.0])
    panel.servo, panel.limit_counts, panel.limits_acting = (
        "track",
        {"joint_torque": 4, "singularity": 0},
        ("joint_torque",),
    )
    panel.instruction, panel.stage, panel.stopped, panel.note = "press the button", "acting", "operator", "stop: done"
    assert "| inference p50 / p95 | 20 / 29 ms |" in panel.numbers()
    assert "joint_torque 4" in panel.numbers() and "singularity" not in panel.numbers()
    assert panel.mission().startswith("**STOPPED**: operator") and "**acting**: press the button" in panel.mission()


def test_robot_view_stands_where_the_simulated_robot_stands() -> None:
    world, view = World(), RobotView("panda")
    state = world.robot_state()
    joints = dict(zip(world.robot.joints, state.q_rad, strict=True))
    poses = view.poses(joints | {"panda_finger_joint1": 0.04, "panda_finger_joint2": 0.04})
    for link in ("panda_link3", "panda_hand", "panda_leftfinger"):
        np.testing.assert_allclose(poses[link][0], world.data.body(link).xpos, atol=1e-6)
        np.testing.assert_allclose(np.abs(poses[link][1] @ world.data.body(link).xquat), 1.0, atol=1e-6)
    assert {mesh.link for mesh in view.meshes} == set(poses)
    hand = np.concatenate([mesh.vertices for mesh in view.meshes if mesh.link == "panda_hand"])
    assert 0.15 < np.ptp(hand[:, 1]) < 0.25, "the hand is 20 cm wide: vertices are in metres and in the link's frame"
    assert all(mesh.faces.max() < len(mesh.vertices) for mesh in view.meshes)


def test_images_of_different_heights_fit_in_one_row() -> None:
    row = beside([np.full((2, 3, 3), 7, np.uint8), np.full((4, 5, 3), 9, np.uint8)])
    assert row.shape == (4, 8, 3) and row[3, 0, 0] == 0 and row[3, 3, 0] == 9


def test_a_robot_that_drives_is_drawn_with_its_base_and_told_to_fetch() -> None:
    view = RobotView("so101_mobile")
    base = np.concatenate([mesh.vertices for mesh in view.meshes if mesh.link == "base_link"])
    assert 0.3 < np.ptp(base[:, 0]) < 0.4 and base[:, 2].max() > 0.8, "chassis and mast are shapes, not meshes"
    assert {"left_wheel_link", "gripper_link"} <= set(view.links)
    flat, table = (console_job(GraphOptions.of_scene(scene)).command for scene in ("flat", "tabletop"))
    assert "mission:=fetch" in flat and not any("mission:=" in word for word in table)


def test_a_map_is_light_where_a_camera_has_looked() -> None:
    cells = np.array([[-1, 0, 0, 100]], np.int8)
    grid, seen = (
        OccupancyGrid(0.05, np.zeros(3), cells),
        OccupancyGrid(0.05, np.zeros(3), np.array([[-1, 0, 50, 0]], np.int8)),
    )
    (unknown, looked, free, solid), (_, alone, *_) = map_picture(grid, seen)[0], map_picture(grid, None)[0]
    assert looked.min() == 255 and (alone == free).all()
    assert len({tuple(pixel) for pixel in (unknown, looked, free, solid)}) == 4 and solid.max() < 60
    other = OccupancyGrid(0.05, np.ones(3), seen.cells)
    assert (map_picture(grid, other) == map_picture(grid, None)).all(), "of another place"


class Drawn:
    """Stands in for a FloorView: what was shown last."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *what: self.shown.__setitem__(name.removeprefix("show_"), what)


def test_what_a_robot_knows_of_a_floor_is_heard_and_shown() -> None:
    with private_ros([]):
        spinner = Spinner()
        robot, watcher = spinner.add(Node("robot")), spinner.add(Node("watcher"))
        listener, view = FloorListener(watcher, "base_link"), Drawn()
        out = {n: publisher(robot, n, k) for n, k in (("map", GridMsg), ("plan", Path), ("objects", Detection3DArray))}
        markers = publisher(robot, "explorer_node/markers", MarkerArray)
        tf = TransformBroadcaster(robot)
        grid = GridMsg(data=array("b", [0, 0, 100, -1]))
        grid.info.resolution, grid.info.width, grid.info.height = 0.05, 2, 2
        mug = Detection3D(results=[ObjectHypothesisWithPose()])
        mug.results[0].hypothesis.class_id, mug.results[0].hypothesis.score = "mug", 0.8
        border = Marker(ns="frontiers", action=Marker.ADD, points=[Point(x=0.5, y=0.1)])

        def said() -> bool:
            tf.send([transform("map", "base_link", 10**9, (1.0, 2.0, 0.0), (0.0, 0.0, 0.0, 1.0))])
            out["map"].publish(grid)
            out["plan"].publish(Path(poses=[PoseStamped(), PoseStamped()]))
            out["objects"].publish(Detection3DArray(detections=[mug, Detection3D()]))
            markers.publish(MarkerArray(markers=[border]))
            return listener.show(view) == "" and {"map", "plan", "things", "frontiers", "robot"} <= set(view.shown)

        spinner.until(said, "everything")
        grid.info.width = 3
        spinner.until(
            lambda: out["map"].publish(grid) or "map: got" in listener.show(view), "a sentence on a broken map"
        )
        spinner.close()
    assert view.shown["things"][0] == [SeenThing("mug", 0.0, 0.0, pytest.approx(0.8))]
    assert view.shown["map"][0].cells.tolist() == [[0, 0], [100, -1]] and view.shown["plan"][0].shape == (2, 2)
    assert view.shown["frontiers"][0].tolist() == [[0.5, 0.1, 0.0]] and view.shown["robot"][0].tolist() == [
        1.0,
        2.0,
        0.0,
    ]


def test_taken_port_is_named() -> None:
    view, quiet = (
        RobotView("panda"),
        Actions(run=lambda _: None, **{n: lambda: None for n in ("cancel", "stop", "release")}),
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(ConfigError, match=f"port {port}.*fix"):
            Page("127.0.0.1", port, view, ("front",), quiet)


class Peers:
    """Mission, safety monitor and cameras, in this process."""

    def __init__(self) -> None:
        self.node = Node("peers")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.goals: list[str] = []
        self.calls: list[str] = []
        self._server = ActionServer(self.node, ExecuteInstruction, "execute_instruction", self._execute)
        self.node.create_service(Trigger, "safety_monitor_node/stop", self._on_stop)
        self.node.create_service(Trigger, "safety_monitor_node/release", self._on_release)
        self._images = publisher(self.node, "front/image_raw", Image)
        self._joints = publisher(self.node, "joint_states", JointState)
        self._safety = publisher(self.node, "safety_state", SafetyState)

    def _execute(self, goal: Any) -> ExecuteInstruction.Result:
        self.goals.append(goal.request.instruction)
        goal.abort()
        return ExecuteInstruction.Result(error_code="no_policy", message="this is a test")

    def _on_stop(self, _request: Any, response: Any) -> Any:
        self.calls.append("stop")
        self._safety.publish(SafetyState(stopped=True, cause="operator"))
        response.success = True
        return response

    def _on_release(self, _request: Any, response: Any) -> Any:
        self.calls.append("release")
        self._safety.publish(SafetyState(stopped=False))
        response.success = True
        return response

    def spin(self, until: Callable[[], bool], limit_s: float = 120.0, page: Callable[[], str] = str) -> None:
        """Feed the console and serve it; `page` tells what it showed if that takes too long."""
        deadline = time.monotonic() + limit_s
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, :, 0] = 200
        image = Image(height=64, width=64, encoding="rgb8", step=192, data=pixels.tobytes())
        while not until():
            assert time.monotonic() < deadline, f"{self.goals=}, {self.calls=}, {page()}"
            self._images.publish(image)
            self._joints.publish(JointState(name=["panda_joint1"], position=[0.5]))
            self.executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Peers, str]]:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    port = free_port()
    rclpy.init()
    peers = Peers()
    command = console_job(GraphOptions(use_sim_time=False), port).command
    console = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)
    yield peers, f"http://127.0.0.1:{port}"
    console.send_signal(signal.SIGINT)
    assert console.wait(timeout=30) == 0
    peers.node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.skipif(find_chromium() is None, reason="needs the Debian package chromium: apt-get install chromium")
def test_a_person_types_an_instruction_and_presses_stop(served: tuple[Peers, str]) -> None:
    peers, url = served
    chromium = find_chromium()
    assert chromium is not None
    with socket.socket() as probe:
        peers.spin(lambda: probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) == 0)
    with Browser(chromium, url) as browser:
        peers.spin(lambda: "Instruction" in browser.text())
        browser.click("[...document.querySelectorAll('input[type=text],input:not([type])')].filter(e => !e.value)[0]")
        browser.type("put the red cube in the blue bowl")
        browser.button("Run")
        peers.spin(lambda: bool(peers.goals), page=browser.text)
        assert peers.goals == ["put the red cube in the blue bowl"]
        peers.spin(lambda: "no_policy: this is a test" in browser.text())
        browser.button("STOP")
        peers.spin(lambda: peers.calls == ["stop"])
        peers.spin(lambda: "STOPPED: operator" in browser.text())
        browser.button("Release stop")
        peers.spin(lambda: peers.calls == ["stop", "release"])
        peers.spin(lambda: "STOPPED" not in browser.text())
        widths = "[...document.querySelectorAll('img')].map(i => i.naturalWidth)"
        peers.spin(lambda: 64 + 128 in browser.evaluate(widths))  # the front image beside the empty wrist image
