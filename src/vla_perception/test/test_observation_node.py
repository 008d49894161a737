"""The node among real topics: observations come out right, bad messages are refused by a sentence, it stays alive."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from perception_samples import MS, joint_names
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.files import workspace_root
from vla_core.types import NS, Observation
from vla_msgs.msg import Observation as ObservationMsg
from vla_perception import conversions
from vla_perception.observation_node import ObservationNode
from vla_ros import qos, stamps


class Bench:
    """A robot's drivers, a simulated clock and a policy's ear around the node under test."""

    def __init__(self, robot: RobotModel) -> None:
        self.robot, self.names = robot, joint_names(robot)
        self.node, self.probe = ObservationNode(), Node("probe")
        self.heard: list[Observation] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.images = {name: qos.publisher(self.probe, f"{name}/image_raw", Image) for name in ("front", "wrist")}
        self.joints = qos.publisher(self.probe, "joint_states", JointState)
        self.instruction = qos.publisher(self.probe, "instruction", String)
        self.clock = qos.publisher(self.probe, "/clock", Clock)
        self.now_ns = 100 * NS
        qos.subscription(
            self.probe, "observation", ObservationMsg, lambda m: self.heard.append(conversions.observation(m))
        )
        qos.subscription(self.probe, "/diagnostics", DiagnosticArray, self._on_diagnostics)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.probe)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.diagnostics[status.name] = values | {"message": status.message}

    def until(self, done: Callable[[], bool], limit_s: float = 30.0) -> bool:
        deadline = time.monotonic() + limit_s
        while not done() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)
        return done()

    def connect(self) -> None:
        publishers = [*self.images.values(), self.joints, self.instruction, self.clock]
        assert self.until(lambda: all(p.get_subscription_count() for p in publishers))
        assert self.until(lambda: self.probe.count_publishers("observation") == 1)
        self.instruction.publish(String(data="pick up the red cube"))
        assert self.until(lambda: self.node.observer.instruction != "")
        self.advance(0)

    def advance(self, ms: int) -> int:
        """Let simulated time pass; returns the new time [ns]."""
        self.now_ns += ms * MS
        self.clock.publish(Clock(clock=stamps.to_msg(self.now_ns)))
        assert self.until(lambda: stamps.now_ns(self.node) == self.now_ns)
        return self.now_ns

    def image(self, camera: str, stamp_ns: int, colour: tuple[int, int, int] = (9, 8, 7)) -> Image:
        pixels = np.empty((480, 640, 3), np.uint8)
        pixels[:] = colour
        return conversions.image_msg(pixels, stamp_ns, camera)

    def joint_state(self, stamp_ns: int, q: np.ndarray | None = None) -> JointState:
        q = self.robot.config.home_rad if q is None else q
        order = np.random.default_rng(stamp_ns % 1000).permutation(9)
        position = np.concatenate([q, [0.02, 0.02]])[order]
        names = tuple(self.names[i] for i in order)
        return conversions.joint_state_msg(names, position, np.zeros(9), np.zeros(9), stamp_ns)

    def send_set(self) -> None:
        """A good set 50 ms later; waits for its observation."""
        before, stamp_ns = len(self.heard), self.advance(50)
        self.images["front"].publish(self.image("front", stamp_ns, (200, 100, 50)))
        self.images["wrist"].publish(self.image("wrist", stamp_ns + 2 * MS))
        self.joints.publish(self.joint_state(stamp_ns + 3 * MS))
        assert self.until(lambda: len(self.heard) > before)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.probe.destroy_node()


@pytest.fixture
def bench(robot: RobotModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    values = str(workspace_root() / "config" / "perception.yaml")
    rclpy.init(args=["--ros-args", "--params-file", values, "-p", "use_sim_time:=true"])
    bench = Bench(robot)
    bench.connect()
    yield bench
    bench.close()
    rclpy.try_shutdown()


def test_observations_by_contract(bench: Bench, contract: Contract) -> None:
    for _ in range(3):
        bench.send_set()
    observation = bench.heard[-1]
    assert observation.instruction == "pick up the red cube"
    assert observation.contract_hash == contract.hash
    assert observation.rgb.shape == (2, 128, 128, 3)
    assert np.all(observation.rgb[0] == (200, 100, 50)) and np.all(observation.rgb[1] == (9, 8, 7))
    assert observation.state[:7] == pytest.approx(bench.robot.config.home_rad, abs=1e-6)
    assert observation.state[7] == pytest.approx(0.04)
    position, quaternion = bench.robot.tool_pose(bench.robot.config.home_rad)
    assert observation.state[8:] == pytest.approx(np.concatenate([position, quaternion]), abs=1e-6)
    assert [h.stamp_ns for h in bench.heard] == [100 * NS + ms * MS for ms in (50, 100, 150)]


def test_bad_messages_are_refused_counted_and_survived(bench: Bench) -> None:
    now = bench.now_ns
    mono = bench.image("front", now)
    mono.encoding, mono.step, mono.data = "mono8", 640, mono.data[: 640 * 480]
    short = bench.image("front", now)
    short.data = short.data[:-1]
    small = conversions.image_msg(np.zeros((64, 64, 3), np.uint8), now, "front")
    nan = bench.joint_state(now, np.array([0, np.nan, 0, -2, 0, 2, 0]))
    missing = bench.joint_state(now)
    missing.name = [name.replace("joint4", "joint44") for name in missing.name]
    twice = bench.joint_state(now)
    twice.name = [twice.name[1], *twice.name[1:]]
    bad = [("front", bench.images["front"], m, w) for m, w in ((mono, "mono8"), (short, "bytes"), (small, "64x64"))]
    faults = ((nan, "panda_joint2 = nan"), (missing, "without panda_joint4"), (twice, f"name {twice.name[0]} twice"))
    bad += [("joint_states", bench.joints, m, w) for m, w in faults]
    for source, publisher, message, words in bad:
        before = bench.node.rejections[source].count
        publisher.publish(message)
        assert bench.until(lambda s=source, b=before: bench.node.rejections[s].count == b + 1)
        assert words in bench.node.rejections[source].last_error
    assert bench.heard == []
    key = "observation_node: joint_states"
    assert bench.until(lambda: bench.diagnostics.get(key, {}).get("rejected") == "3")
    assert "twice" in bench.diagnostics[key]["last_error"]
    bench.send_set()
    assert bench.node.rejections["front"].count == 3


def test_lockstep_frames_are_all_answered(bench: Bench) -> None:
    """Equal stamps at the contract's rate, the next frame only after the answer, joint states before and after."""
    for step in range(8):
        frame_ns = bench.advance(50)
        for ns in range(frame_ns - 40 * MS, frame_ns, 10 * MS):
            bench.joints.publish(bench.joint_state(ns))
        senders = [
            lambda ns=frame_ns: bench.images["front"].publish(bench.image("front", ns)),
            lambda ns=frame_ns: bench.images["wrist"].publish(bench.image("wrist", ns)),
            lambda ns=frame_ns: bench.joints.publish(bench.joint_state(ns)),
        ]
        for index in np.random.default_rng(step).permutation(3):
            senders[index]()
        assert bench.until(lambda s=step: len(bench.heard) == s + 1)
        assert bench.heard[-1].stamp_ns == frame_ns


def test_regression_a_picture_from_before_the_motion_is_no_frozen_one(bench: Bench) -> None:
    """An arm that sets off after a rest: the last picture of the rest comes when the joints have moved already."""
    home, front = bench.robot.config.home_rad, bench.node.rejections["front"]

    def send(stamp_ns: int, q: np.ndarray) -> None:
        bench.joints.publish(bench.joint_state(stamp_ns, q))
        assert bench.until(lambda: bench.node.observer.statistics("joint_states").newest_ns == stamp_ns)

    def show(stamp_ns: int) -> None:
        bench.images["front"].publish(bench.image("front", stamp_ns))
        assert bench.until(lambda: bench.node.observer.statistics("front").newest_ns == stamp_ns)

    for _ in range(20):
        stamp_ns = bench.advance(50)
        send(stamp_ns, home)
        show(stamp_ns)
    taken_ns = bench.advance(50)
    send(taken_ns, home)
    send(bench.advance(100), home + 0.2)
    show(taken_ns)
    assert front.count == 0


def test_regression_a_frozen_camera_is_refused_and_taken_again(bench: Bench) -> None:
    """Its stamps are fresh, so the policy went on from a picture of long ago."""
    home, front = bench.robot.config.home_rad, bench.node.rejections["front"]

    def taken() -> int:
        return bench.node.observer.statistics("front").count + front.count

    def send(step: int, colour: int) -> None:
        stamp_ns = bench.advance(50)
        bench.joints.publish(bench.joint_state(stamp_ns, home + 0.01 * step))
        assert bench.until(lambda: bench.node.observer.statistics("joint_states").newest_ns == stamp_ns)
        before = taken()
        bench.images["wrist"].publish(bench.image("wrist", stamp_ns, (step, 0, 0)))
        bench.images["front"].publish(bench.image("front", stamp_ns, (colour, 0, 0)))
        assert bench.until(lambda: taken() > before)

    for step in range(11):
        send(step, 100)
    assert front.count == 0
    for step in range(11, 15):
        send(step, 100)
    assert front.count == 4 and "same picture" in front.last_error
    assert bench.node.rejections["wrist"].count == 0
    heard = len(bench.heard)
    send(15, 101)
    assert front.count == 4 and bench.until(lambda: len(bench.heard) > heard)
