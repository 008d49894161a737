"""The graph of the flat as it runs: what its robot senses, that it drives, another flat, a clean end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, Imu, JointState, LaserScan, PointCloud2
from tf2_msgs.msg import TFMessage

from vla_bringup.graph import Graph, GraphOptions, equipment, simulated_graph
from vla_bringup.runner import Runner, link_files
from vla_bringup.session import Session
from vla_bringup.testing import running
from vla_core.contract import load_contract
from vla_core.topics import TOPICS, topic
from vla_ros import qos
from vla_ros.stamps import to_msg, to_ns
from vla_sim.core.scene_parts import load_scene

LINK = f"flattest{os.getpid()}"
#: 6 m of free floor ahead
GRAPH: Graph = simulated_graph(GraphOptions.of_scene("flat", seed=3, split="train", link=LINK))
OTHER_SEED = 9
EVERYBODY = {node.name for node in GRAPH.nodes}
SCENE, CAMERAS = load_scene("flat"), load_contract("fetch_so101").view_names
HOUSEKEEPING = ("/rosout", "/parameter_events", "/_action/", "/transition_event", "/debug/")
LIMIT_S = 120.0  # of every wait: a loaded machine is slow

#: Topic → type, frame, rate [Hz].
STREAMS: dict[str, tuple[type, str, float]] = {
    "scan": (LaserScan, "laser", topic("scan").rate_hz),
    "points": (PointCloud2, "lidar", topic("points").rate_hz),
    "imu": (Imu, "imu", topic("imu").rate_hz),
    "odom": (Odometry, "odom", topic("odom").rate_hz),
    "joint_states": (JointState, "base_link", topic("joint_states").rate_hz),
    **{
        f"{c['name']}/{kind}": (message, f"{c['name']}_optical_frame", c["rate_hz"])
        for c in SCENE["cameras"]
        for kind, message in (("image_raw", Image), ("camera_info", CameraInfo), ("depth/image_raw", Image))
    },
}


class Flat:
    """A running graph, a session beside it, and what it has heard."""

    def __init__(self, runner: Runner, session: Session) -> None:
        self.runner, self.session = runner, session
        self.heard: dict[str, list[Any]] = {name: [] for name in (*STREAMS, "/tf", "/tf_static")}
        for name, (kind, _, _) in STREAMS.items():
            qos.subscription(session.node, name, kind, self.heard[name].append)
        for name in ("/tf", "/tf_static"):
            qos.subscription(session.node, name, TFMessage, self.heard[name].append)
        self.drive = qos.publisher(session.node, "base_target", TwistStamped)

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        self.session.wait_until(ready, what, LIMIT_S)

    def stamps(self, name: str) -> np.ndarray:
        return np.array([to_ns(message.header.stamp) for message in list(self.heard[name])])

    def steps_ns(self, name: str) -> np.ndarray:
        """From each stamp to the next; what is told again, for who comes late to a world at rest, counts once.

        Told again means the very same message: another one of the same stamp is an error.
        """
        messages = list(self.heard[name])
        steps = np.diff([to_ns(message.header.stamp) for message in messages])
        for k in np.flatnonzero(steps == 0):
            assert messages[k + 1] == messages[k], f"{name}: two messages of one stamp"
        return steps[steps != 0]

    def at(self, name: str, stamp_ns: int) -> Any:
        """The message of a stamp, once it has come."""
        self.wait(lambda: bool((self.stamps(name) == stamp_ns).any()), f"{name} at {stamp_ns} ns")
        return next(m for m in self.heard[name] if to_ns(m.header.stamp) == stamp_ns)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flat]:
    with running(GRAPH, tmp_path_factory.mktemp("flat")) as (runner, session):
        yield Flat(runner, session)


@pytest.mark.parametrize("name", STREAMS)
def test_a_sensor_comes_at_its_rate_in_its_frame_with_monotone_stamps(flat: Flat, name: str) -> None:
    """A message may get lost on a busy machine, best effort as they are; rates show in the stamps of neighbours."""
    _, frame, rate_hz = STREAMS[name]
    period_ns = round(1e9 / rate_hz)
    flat.wait(lambda: int((np.diff(flat.stamps(name)) == period_ns).sum()) >= 5, f"{name} at {rate_hz:g} Hz")
    steps = flat.steps_ns(name)
    assert (steps > 0).all() and (steps % period_ns == 0).all()
    assert {message.header.frame_id for message in flat.heard[name]} == {frame}


def test_every_arrow_of_a_robot_with_such_equipment_is_there_as_the_table_says(flat: Flat) -> None:
    has, node = equipment(GRAPH.options), flat.session.node
    rows = {name: row for name, row in TOPICS.items() if row.only_with in has and row.owner not in ("person", "other")}
    del rows["base_target"]  # the contract moves the arm only: it is for a planner to publish
    table = {
        "/" + name.format(camera=camera).lstrip("/"): row
        for name, row in rows.items()
        for camera in (CAMERAS if "{camera}" in name else ("",))
    }

    def published() -> set[str]:
        return {
            name
            for one in EVERYBODY & set(node.get_node_names())
            for name, _ in node.get_publisher_names_and_types_by_node(one, "/")
            if not any(part in name for part in HOUSEKEEPING)
        }

    flat.wait(lambda: published() >= set(table), f"publishers of {sorted(table)}")
    assert published() == set(table)
    ends = {name: [e for e in node.get_publishers_info_by_topic(name) if e.node_name in EVERYBODY] for name in table}
    for name, row in table.items():
        assert {end.topic_type for end in ends[name]} == {row.type}
        for end in ends[name]:
            assert (end.qos_profile.reliability == ReliabilityPolicy.RELIABLE) is row.reliable, name
            assert (end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL) is row.latched, name
    flat.wait(lambda: set(node.get_node_names()) >= EVERYBODY, "every node")  # DDS may take its time
    read = {
        name
        for one in EVERYBODY
        for names in (node.get_subscriber_names_and_types_by_node, node.get_client_names_and_types_by_node)
        for name, _ in names(one, "/")
    }
    assert "/cmd_vel" in read and not [name for name in read if "/debug/" in name], "nobody reads ground truth"


def test_transforms_lead_from_odom_to_every_sensor(flat: Flat) -> None:
    def parents() -> dict[str, str]:
        known = [t for name in ("/tf", "/tf_static") for message in list(flat.heard[name]) for t in message.transforms]
        return {t.child_frame_id: t.header.frame_id for t in known}

    frames = {frame for _, frame, _ in STREAMS.values()} | {"tool", "left_wheel_link"}
    flat.wait(lambda: frames - {"odom"} <= set(parents()), f"transforms of {sorted(frames)}")
    for frame in frames:
        chain = [frame]
        while chain[-1] in parents():
            chain.append(parents()[chain[-1]])
        assert frame == "odom" or chain[chain.index("base_link") :][:2] == ["base_link", "odom"], chain
    pose = flat.at("odom", int(flat.stamps("odom")[-1])).pose.pose
    stamp = flat.heard["odom"][-1].header.stamp
    said = [t for message in list(flat.heard["/tf"]) for t in message.transforms if t.child_frame_id == "base_link"]
    same = next((t for t in said if t.header.stamp == stamp), said[-1])
    assert same.header.stamp != stamp or same.transform.rotation == pose.orientation


def test_measurements_are_those_of_a_robot_that_stands_in_a_flat(flat: Flat) -> None:
    flat.wait(lambda: all(flat.heard[name] for name in STREAMS), "every sensor")
    ranges = np.array(flat.heard["scan"][-1].ranges)
    assert len(ranges) == 360 and 0.9 < np.isfinite(ranges).mean() <= 1.0
    assert 0.17 < ranges[np.isfinite(ranges)].min() < ranges[np.isfinite(ranges)].max() < 12.0
    force = np.mean([[m.linear_acceleration.x, m.linear_acceleration.z] for m in flat.heard["imu"]], axis=0)
    assert abs(force[0]) < 0.4 and force[1] == pytest.approx(9.81, abs=0.4)
    assert {f.name for f in flat.heard["points"][-1].fields} == {"x", "y", "z", "ring", "time"}
    depth = np.frombuffer(flat.heard["front/depth/image_raw"][-1].data, np.float32)
    near, far = SCENE["depth"]["range_m"]
    assert 0.0 < np.isnan(depth).mean() < 0.9, "edges are lost"
    assert near - 0.1 < np.nanmin(depth) and np.nanmax(depth) < far + 0.5
    joints = flat.heard["joint_states"][-1]
    assert {"shoulder_pan", "wrist_roll", "gripper", "left_wheel", "right_wheel"} == set(joints.name) & {
        "shoulder_pan", "wrist_roll", "gripper", "left_wheel", "right_wheel",
    }  # fmt: skip


def test_a_target_for_the_base_drives_it_and_odometry_says_how_far(flat: Flat) -> None:
    begun = len(flat.heard["odom"])

    def way() -> float:
        """Ask again for 0.2 m/s, as a planner does, and tell how far the odometry has come."""
        newest = flat.heard["odom"][-1]
        target = TwistStamped()
        target.header.stamp, target.header.frame_id = to_msg(to_ns(newest.header.stamp)), "base_link"
        target.twist.linear.x = 0.2
        flat.drive.publish(target)
        return float(newest.pose.pose.position.x)

    flat.wait(lambda: way() > 0.3, "0.3 m of way")
    flat.wait(lambda: all(m.twist.twist.linear.x == 0.0 for m in flat.heard["odom"][-25:]), "the base at rest")
    speeds = np.array([m.twist.twist.linear.x for m in flat.heard["odom"][begun:]])
    assert 0.15 < speeds.max() < 0.25

    truth = flat.session.judge()
    assert truth["collisions"] == []
    (x0, y0, yaw0), (x, y, yaw) = truth["start"], truth["base"]
    cos, sin = np.cos(yaw0), np.sin(yaw0)
    ahead, aside = cos * (x - x0) + sin * (y - y0), -sin * (x - x0) + cos * (y - y0)
    assert ahead > 0.25
    said = flat.heard["odom"][-1].pose
    turned = 2 * np.arctan2(said.pose.orientation.z, said.pose.orientation.w)
    errors = np.array([said.pose.position.x - ahead, said.pose.position.y - aside, turned - (yaw - yaw0)])
    errors[2] = np.arctan2(np.sin(errors[2]), np.cos(errors[2]))
    spread = np.sqrt(np.diag(np.reshape(said.covariance, (6, 6)))[[0, 1, 5]])
    assert (spread > 0).all() and (spread < [0.02, 0.02, 0.1]).all()
    assert (np.abs(errors) < 4 * spread + [0.01, 0.01, 0.02]).all(), (errors, spread)  # tyres creep: 1 cm
    assert np.abs(errors).max() > 0.0, "odometry isn't the truth"


def test_a_reset_gives_another_flat_and_everything_goes_on(flat: Flat) -> None:
    before, pictures = flat.session.judge(), len(flat.heard["front/image_raw"])
    old = bytes(flat.heard["front/image_raw"][-1].data)
    instruction = flat.session.reset(OTHER_SEED, split="heldout_flat")
    after = flat.session.judge()
    assert after["instruction"] == instruction and after["rooms"] != before["rooms"]
    assert after["base"] == pytest.approx(after["start"], abs=0.01)
    since_ns = round(1e9 * after["stamp_s"])
    flat.wait(lambda: all((flat.stamps(n) > since_ns).sum() >= 3 for n in STREAMS), "every sensor after the reset")
    for name in STREAMS:
        assert (flat.steps_ns(name) > 0).all(), f"{name}: stamps never jump back, also not over a reset"
    first = next(m for m in flat.heard["odom"] if to_ns(m.header.stamp) >= since_ns)
    assert np.hypot(first.pose.pose.position.x, first.pose.pose.position.y) < 0.01, "odometry begins anew"
    assert len(flat.heard["front/image_raw"]) > pictures and bytes(flat.heard["front/image_raw"][-1].data) != old
    assert flat.session.judge()["collisions"] == []


def test_one_interrupt_ends_everything_and_leaves_nothing(flat: Flat) -> None:
    """Last in this file: it takes the graph down."""
    assert link_files(LINK) != []
    report = flat.runner.stop()
    assert report.clean, report
    assert link_files(LINK) == []
