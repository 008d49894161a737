"""sim_node and camera_node as processes, with a servo in the test: topics, stamps, resets, repeatability, exit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from sim_peers import Answering, new_link
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from vla_core.files import workspace_root
from vla_core.records import CAPTURES, COMMAND, STATE
from vla_core.shared_memory import Mailbox, link_path
from vla_ros.node import LEFT_MIDDLEWARE
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import to_ns
from vla_sim.core.cameras import Cameras
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.world import World

SIZES = {camera["name"]: (camera["width"], camera["height"]) for camera in load_scene("tabletop")["cameras"]}
SIM_YAML = workspace_root() / "config" / "sim.yaml"


class HoldingServo(Answering):
    """Joint-space spring at the pose of the last reset."""

    def __init__(self, link: str) -> None:
        self.home, self.epoch = np.zeros(7), -1
        self.mute = False
        super().__init__(link, "state", STATE, "command", COMMAND)

    def answer(self, news: np.ndarray, reply: np.ndarray) -> bool:
        q, qd = news["q"][0, :7], news["qd"][0, :7]
        if int(news["epoch_ns"][0]) != self.epoch:
            self.home, self.epoch = q.copy(), int(news["epoch_ns"][0])
        reply["tick"], reply["gripper_width"], reply["gripper_force"] = news["tick"], 0.08, 20.0
        reply["tau"][0, :7] = 200.0 * (self.home - q) - 20.0 * qd
        return not self.mute


class Graph:
    """The two nodes, a servo and a listening node."""

    def __init__(self, domain: str, *arguments: str) -> None:
        self.link = new_link()
        self.environment = os.environ | {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self.processes = {name: self.start(name, *arguments) for name in ("sim_node", "camera_node")}
        self.node = Node("listener")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heard: dict[str, list[Any]] = {}
        self.servo: HoldingServo | None = None

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"vla_sim.{name}", "--ros-args", "--params-file", str(SIM_YAML)]
        for argument in (f"link:={self.link}", *arguments):
            command += ["-p", argument]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip

    def listen(self, name: str, kind: type) -> list[Any]:
        heard = self.heard.setdefault(name, [])
        subscription(self.node, name, kind, heard.append)
        return heard

    def spin(self, until: Callable[[], bool], limit_s: float = 60.0) -> None:
        deadline = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline, self.explain()
            self.executor.spin_once(timeout_sec=0.05)

    def rest(self, duration_s: float) -> None:
        """Listen for so long."""
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)

    def explain(self) -> str:
        codes = {name: process.poll() for name, process in self.processes.items()}
        return f"nothing came; exit codes {codes}; heard { {k: len(v) for k, v in self.heard.items()} }"

    def call(self, name: str, kind: type, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.spin(client.service_is_ready)
        future = client.call_async(request)
        self.spin(future.done)
        self.node.destroy_client(client)
        return future.result()

    def reset(self, **values: Any) -> Any:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        )
        results = self.call("sim_node/set_parameters", SetParameters, request).results
        assert all(result.successful for result in results), results
        return self.call("sim_node/debug/reset", Trigger, Trigger.Request())

    def stop(self) -> dict[str, int]:
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        try:
            return {name: process.wait(timeout=60) for name, process in self.processes.items()}
        finally:
            for process in self.processes.values():
                process.kill()
                process.wait()
            if self.servo is not None:
                self.servo.stop()
            self.node.destroy_node()


@pytest.fixture
def make_graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Graph]]:
    domain = str(random.randint(1, 100))
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    made: list[Graph] = []

    def make(*arguments: str) -> Graph:
        made.append(Graph(domain, *arguments))
        return made[-1]

    yield make
    try:
        codes = [graph.stop() for graph in made]
    finally:
        rclpy.try_shutdown()
    left = [p.name for graph in made for p in Path("/dev/shm").glob(f"vla_{graph.link}_*")]
    assert {code for graph in codes for code in graph.values()} <= {0, LEFT_MIDDLEWARE} and not left, (codes, left)


def test_topics_stamps_and_debug_services(make_graph: Callable[..., Graph]) -> None:
    graph = make_graph("wait_for_policy:=false", "seed:=5")
    images, infos = graph.listen("front/image_raw", Image), graph.listen("wrist/camera_info", CameraInfo)
    joints, clocks = graph.listen("joint_states", JointState), graph.listen("/clock", Clock)
    moving, fixed = graph.listen("/tf", TFMessage), graph.listen("/tf_static", TFMessage)
    truths: list[String] = []
    graph.node.create_subscription(String, "sim_node/debug/ground_truth", truths.append, 1)
    graph.spin(lambda: len(clocks) >= 2 and len(fixed) == 1)
    assert {to_ns(c.clock) for c in clocks} == {1_000_000_000}, "the world waits for the servo, its clock is heard"
    assert not images

    graph.servo = HoldingServo(graph.link)
    graph.spin(lambda: len(images) >= 8 and len(infos) >= 8 and bool(moving) and len(truths) >= 2)
    image = images[-1]
    assert (image.width, image.height, image.encoding) == (*SIZES["front"], "rgb8")
    assert image.header.frame_id == "front_optical_frame" and infos[-1].header.frame_id == "wrist_optical_frame"
    stamps = [to_ns(i.header.stamp) for i in images]
    assert all(s % 50_000_000 == 0 for s in stamps) and stamps == sorted(stamps)
    graph.spin(lambda: stamps[-1] in {to_ns(j.header.stamp) for j in joints})
    assert joints[-1].name[:2] == ["panda_joint1", "panda_joint2"] and len(joints[-1].position) == 9
    assert np.isfinite([*joints[-1].position, *joints[-1].velocity, *joints[-1].effort]).all()
    children = {t.child_frame_id for t in fixed[0].transforms}
    assert children == {"tool", "front_optical_frame", "wrist_optical_frame"}
    assert "panda_hand" in {t.child_frame_id for t in moving[-1].transforms}
    seen = {name for name, _ in graph.node.get_topic_names_and_types()}
    assert not [n for n in seen if "truth" in n and "/debug/" not in n]

    captures, box = np.zeros(1, CAPTURES), Mailbox(link_path(graph.link, "captures"), CAPTURES)
    graph.spin(lambda: box.read(captures) > 0 and stamps[-1] in captures["stamp_ns"][0])
    assert int(captures["next"][0]) >= len(stamps)
    box.close()

    before = to_ns(clocks[-1].clock)
    answer = graph.reset(seed=8, instruction="put the red cube in the blue bowl")
    assert answer.success and answer.message == "put the red cube in the blue bowl"
    verdict = graph.call("sim_node/debug/judge", Trigger, Trigger.Request())
    facts = json.loads(verdict.message)
    assert not verdict.success and facts["stamp_s"] * 1e9 > before
    assert {"red cube", "blue bowl"} <= set(facts["objects"])
    refused = graph.reset(instruction="fetch the unicorn")
    assert not refused.success and "unicorn" in refused.message and "fix:" in refused.message
    later = len(clocks)
    graph.spin(lambda: len(clocks) > later + 5)
    times = [to_ns(c.clock) for c in clocks]
    assert times == sorted(times), "the clock never jumps back, also not over a reset"


def test_a_seed_gives_the_same_run_and_the_core_draws_the_same_picture(make_graph: Callable[..., Graph]) -> None:
    """In lockstep the world stands still after a reset until there is an instruction, then runs the same way."""
    graph = make_graph("wait_for_policy:=true", "observation_timeout_s:=0.2", "policy_timeout_s:=0.2")
    images, joints = graph.listen("wrist/image_raw", Image), graph.listen("joint_states", JointState)
    instruction = publisher(graph.node, "instruction", String)
    graph.servo = HoldingServo(graph.link)
    graph.spin(lambda: instruction.get_subscription_count() == 1 and bool(images))
    runs = []
    for _ in range(2):
        instruction.publish(String(data=""))
        graph.rest(0.3)
        text = graph.reset(seed=11, instruction="press the button").message
        facts = json.loads(graph.call("sim_node/debug/judge", Trigger, Trigger.Request()).message)
        epoch = round(facts["stamp_s"] * 1e9)
        graph.spin(lambda e=epoch: to_ns(images[-1].header.stamp) == e)
        graph.rest(0.3)
        assert to_ns(images[-1].header.stamp) == epoch, "time stands still"
        instruction.publish(String(data=text))
        graph.spin(lambda e=epoch: to_ns(images[-1].header.stamp) >= e + 300_000_000)
        pictures = {to_ns(i.header.stamp) - epoch: hashlib.sha256(i.data).hexdigest() for i in images}
        poses = {to_ns(j.header.stamp) - epoch: list(j.position) for j in joints}
        times = [t for t in sorted(pictures) if 0 <= t <= 300_000_000]
        assert times == [i * 50_000_000 for i in range(7)]
        runs.append([(pictures[t], poses[t]) for t in times])
    assert runs[0] == runs[1]

    world = World()
    world.reset(11, "press the button")
    cameras = Cameras(world)
    assert hashlib.sha256(cameras.rgb("wrist").tobytes()).hexdigest() == runs[0][0][0]
    cameras.close()


def test_depth_is_drawn_for_listeners_only(make_graph: Callable[..., Graph]) -> None:
    graph = make_graph("wait_for_policy:=false")
    graph.servo = HoldingServo(graph.link)
    depths = graph.listen("wrist/depth/image_raw", Image)
    graph.spin(lambda: len(depths) >= 2)
    metres = np.frombuffer(depths[-1].data, np.float32)
    assert depths[-1].encoding == "32FC1" and depths[-1].header.frame_id == "wrist_optical_frame"
    assert metres.size == np.prod(SIZES["wrist"]) and 0.0 < metres.min() < 0.3


@pytest.mark.parametrize(
    ("node", "argument", "text"),
    [
        ("sim_node", "scene:=moon", "got scene 'moon'; expected one of: aloha"),
        ("sim_node", "instruction:=fetch the unicorn", "unicorn"),
        ("sim_node", "replan_period_s:=-1.0", "replan_period_s"),
        ("camera_node", "scene:=moon", "got scene 'moon'"),
        ("camera_node", "link_timeout_s:=0.2", "no snapshot mailbox within 0.2 s"),
    ],
)
def test_bad_parameters_end_with_one_sentence(node: str, argument: str, text: str) -> None:
    command = [sys.executable, "-m", f"vla_sim.{node}", "--ros-args", "--params-file", str(SIM_YAML)]
    result = subprocess.run(
        [*command, "-p", f"link:={new_link()}", "-p", argument], capture_output=True, text=True, timeout=60, check=False
    )
    errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR ")]
    assert result.returncode == 2 and len(errors) == 1 and text in errors[0], result.stderr


def test_real_time_follows_the_servo_and_waits_without_one(make_graph: Callable[..., Graph]) -> None:
    graph = make_graph("lockstep:=false")
    clocks, images = graph.listen("/clock", Clock), graph.listen("front/image_raw", Image)
    graph.servo = HoldingServo(graph.link)
    graph.spin(lambda: len(images) >= 5 and clocks != [] and to_ns(clocks[-1].clock) > 1_500_000_000)
    graph.servo.mute = True
    graph.spin(lambda: len(clocks) > 40 and to_ns(clocks[-1].clock) == to_ns(clocks[-4].clock))
    stood = to_ns(clocks[-1].clock)
    graph.servo.mute = False
    graph.spin(lambda: to_ns(clocks[-1].clock) > stood + 200_000_000)
    answer = graph.reset(seed=4)
    assert answer.success and answer.message
    graph.spin(lambda: to_ns(clocks[-1].clock) > stood + 400_000_000)
    times = [to_ns(c.clock) for c in clocks]
    assert times == sorted(times)
