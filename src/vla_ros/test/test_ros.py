"""The rclpy half: QoS from the table, parameters, lifecycle, diagnostics and transforms in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from vla_core.errors import ConfigError, PolicyError, UnknownNameError
from vla_core.topics import TOPICS
from vla_ros import parameters, qos, tf
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.lifecycle import LifecycleNode

pytestmark = pytest.mark.usefixtures("ros")

SCHEMA = """
rate_hz: {type: double, unit: Hz, bounds: [1.0, 50.0], description: Rate.}
mode: {type: string, one_of: [fast, exact], description: Mode., read_only: true}
names: {type: string_array, description: Names.}
"""
GOOD = {"rate_hz": 20.0, "mode": "fast", "names": ["a", "b"]}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes with parameter overrides and destroys them."""
    nodes: list[Node] = []

    def build(kind: type[Node] = Node, name: str = "probe", **values: Any) -> Node:
        node = kind(name, parameter_overrides=[Parameter(k, value=v) for k, v in values.items()])
        nodes.append(node)
        return node

    yield build
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "vla_probe" / "parameters" / "probe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SCHEMA, encoding="utf-8")
    return path


def spin_until(node: Node, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done() and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.05)
    assert done()


def test_every_topic_of_the_table_has_a_profile() -> None:
    for entry in TOPICS.values():
        profile = qos.profile(entry)
        assert profile.depth == entry.depth
        assert (profile.reliability == ReliabilityPolicy.RELIABLE) == entry.reliable
        assert (profile.durability == DurabilityPolicy.TRANSIENT_LOCAL) == entry.latched


def test_unknown_topic_and_wrong_type_are_refused(make: Callable[..., Node]) -> None:
    node = make()
    with pytest.raises(UnknownNameError, match="joint_states"):
        qos.publisher(node, "joint_state", JointState)
    with pytest.raises(ConfigError, match="sensor_msgs/msg/Image"):
        qos.subscription(node, "front/image_raw", JointState, lambda message: None)
    assert qos.publisher(node, "front/image_raw", Image).qos_profile.depth == 2


def test_latched_topic_reaches_a_late_subscriber(make: Callable[..., Node]) -> None:
    node, got = make(), []
    sender = qos.publisher(node, "instruction", String)
    sender.publish(String(data="pick up the red cube"))
    qos.subscription(node, "instruction", String, lambda message: got.append(message.data))
    spin_until(node, lambda: bool(got))
    assert got == ["pick up the red cube"]


def test_parameters_are_read_and_frozen(make: Callable[..., Node], schema: Path) -> None:
    values = parameters.declare(make(**GOOD), schema)
    assert (values.rate_hz, values.mode, values.names) == (20.0, "fast", ("a", "b"))
    with pytest.raises(AttributeError, match="frozen"):
        values.rate_hz = 1.0
    with pytest.raises(AttributeError, match="known: rate_hz"):
        _ = values.rate


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"rate_hz": None}, "no value for parameter 'rate_hz'"),
        ({"rate_hz": 51.0}, "'rate_hz'"),
        ({"rate_hz": float("nan")}, "'rate_hz'"),
        ({"rate_hz": 20}, "'rate_hz'"),
        ({"mode": "slow"}, "'mode'"),
        ({"names": "a"}, "'names'"),
    ],
)
def test_bad_parameters_name_themselves_and_their_file(
    make: Callable[..., Node], schema: Path, changes: dict[str, Any], culprit: str
) -> None:
    values = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        parameters.declare(make(**values), schema)
    assert culprit in str(caught.value)
    assert "config/probe.yaml" in str(caught.value)


@pytest.mark.parametrize("post_set", [True, False], ids=["post-set callback", "none, as in Humble"])
def test_live_changes_are_checked_and_announced(
    make: Callable[..., Node], schema: Path, monkeypatch: pytest.MonkeyPatch, post_set: bool
) -> None:
    if not post_set:
        monkeypatch.delattr(Node, "add_post_set_parameters_callback", raising=False)
    node, seen = make(**GOOD), []
    values = parameters.declare(node, schema, on_change=lambda new: seen.append(new.rate_hz))
    results = node.set_parameters([Parameter("rate_hz", value=v) for v in (30.0, 99.0, float("nan"))])
    assert [result.successful for result in results] == [True, False, False]
    assert "rate_hz" in results[2].reason
    read_only = node.set_parameters([Parameter("mode", value="exact")])[0]
    assert not read_only.successful
    assert seen == [30.0]
    assert values.rate_hz == 20.0


class Probe(LifecycleNode):
    """Writes down which hooks ran; can be told to fail."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.calls: list[str] = []
        self.failure: Exception | None = None

    def configure(self) -> None:
        self.calls.append("configure")
        if self.failure is not None:
            raise self.failure

    def activate(self) -> None:
        self.calls.append("activate")

    def deactivate(self) -> None:
        self.calls.append("deactivate")

    def cleanup(self) -> None:
        self.calls.append("cleanup")


def test_autostart_activates_and_exit_undoes_it(make: Callable[..., Node]) -> None:
    node = make(Probe, autostart=True)
    node.start()
    assert node.active
    node.on_exit()
    node.on_exit()
    assert node.calls == ["configure", "activate", "deactivate", "cleanup"]
    assert not node.active


def test_without_autostart_nothing_happens(make: Callable[..., Node]) -> None:
    node = make(Probe, autostart=False)
    node.start()
    assert not node.active
    assert node.calls == []


def test_transitions_call_the_hooks(make: Callable[..., Node]) -> None:
    node = make(Probe, autostart=False)
    node.trigger_configure()
    node.trigger_activate()
    assert node.active
    node.trigger_deactivate()
    assert not node.active
    node.trigger_cleanup()
    assert node.calls == ["configure", "activate", "deactivate", "cleanup"]


def test_refused_start_raises_the_sentence(make: Callable[..., Node]) -> None:
    node = make(Probe, autostart=True)
    node.failure = PolicyError("no weights", "a file", "train first")
    with pytest.raises(PolicyError, match="no weights"):
        node.start()
    assert not node.active
    node.failure = None
    node.start()
    assert node.active


def test_crash_in_a_hook_is_no_silent_failure(make: Callable[..., Node]) -> None:
    node = make(Probe, autostart=True)
    node.failure = ZeroDivisionError("bug")
    with pytest.raises(RuntimeError, match="probe"):
        node.start()


def test_missing_autostart_is_named(make: Callable[..., Node]) -> None:
    with pytest.raises(ConfigError, match="autostart"):
        make(Probe)


def test_diagnostics_arrive(make: Callable[..., Node]) -> None:
    node, got = make(), []
    status = Status(Level.WARN, "camera front is late", {"age_s": 0.123456789, "drops": 3}, part="front")
    qos.subscription(node, "/diagnostics", DiagnosticArray, got.append)
    Diagnostics(node, lambda: [status], hardware_id="panda")
    spin_until(node, lambda: bool(got))
    entry = got[0].status[0]
    assert entry.level == b"\x01"
    assert (entry.name, entry.message, entry.hardware_id) == ("probe: front", "camera front is late", "panda")
    assert {pair.key: pair.value for pair in entry.values} == {"age_s": "0.123457", "drops": "3"}


def test_static_transforms_are_repeated_for_late_listeners(make: Callable[..., Node]) -> None:
    node, got = make(), []
    sender = tf.StaticTransformBroadcaster(node)
    identity = (0.0, 0.0, 0.0, 1.0)
    sender.send([tf.transform("base", "front", 0, (1, 2, 3), identity)])
    sender.send([tf.transform("base", "wrist", 0, (0, 0, 1), identity)])
    sender.send([tf.transform("base", "wrist", 5, (0, 0, 2), identity)])
    qos.subscription(node, "/tf_static", TFMessage, got.append)
    spin_until(node, lambda: len(got) >= 3)
    last = {t.child_frame_id: t for t in got[-1].transforms}
    assert set(last) == {"front", "wrist"}
    assert last["front"].transform.translation.x == 1.0
    assert last["wrist"].transform.translation.z == 2.0
    assert last["wrist"].header.stamp.nanosec == 5


def test_moving_transforms_are_sent_as_they_are(make: Callable[..., Node]) -> None:
    node, got = make(), []
    sender = tf.TransformBroadcaster(node)
    qos.subscription(node, "/tf", TFMessage, got.append)
    spin_until(node, lambda: node.count_subscribers("/tf") == 1)
    sender.send([tf.transform("base", "tool", 7, (1, 0, 0), (0.0, 0.0, 0.6, 0.8))])
    spin_until(node, lambda: bool(got))
    rotation = got[0].transforms[0].transform.rotation
    assert (rotation.z, rotation.w) == (0.6, 0.8)
