"""The paths for rviz: what each holds, in the class that draws them and as the node publishes them."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rclpy.node import Node
from visualization_msgs.msg import Marker, MarkerArray

from vla_control.core.knots import Knots
from vla_control.executor_node import ExecutorNode
from vla_control.markers import Markers
from vla_core.peer import Peer
from vla_core.records import PLAN
from vla_core.types import ActionChunk, Float64
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState
from vla_ros import qos, stamps

NOW_NS = 10_000_000_000
MS = 1_000_000
STRETCHED = np.array([0.0, 0.5, 0.0, -0.35, 0.0, 1.2, 0.785])
DOTS, LINE = Marker.SPHERE_LIST, Marker.LINE_STRIP
KINDS = {"predicted": DOTS, "clamped": DOTS, "blended": LINE, "committed": LINE, "executed": LINE}


def points(marker: Marker) -> Float64:
    return np.array([[p.x, p.y, p.z] for p in marker.points]).reshape(-1, 3)


def by_name(message: MarkerArray) -> dict[str, Marker]:
    return {marker.ns: marker for marker in message.markers}


def test_each_path_is_drawn_as_it_was_given() -> None:
    rng = np.random.default_rng(0)
    paths = dict(zip(("predicted", "clamped", "blended", "committed"), rng.normal(size=(4, 5, 3)), strict=True))
    pictures, been = Markers("panda_link0", history=3), rng.normal(size=(4, 3))
    for place in been:
        pictures.executed(place, 1)
    found = by_name(pictures.message(NOW_NS, **paths))
    assert {name: marker.type for name, marker in found.items()} == KINDS
    for name, expected in (paths | {"executed": been[1:]}).items():  # the last three
        marker = found[name]
        np.testing.assert_allclose(points(marker), expected)
        assert marker.action == Marker.ADD and marker.header.frame_id == "panda_link0"
        assert stamps.to_ns(marker.header.stamp) == NOW_NS
        assert marker.scale.x > 0.0 and marker.color.a > 0.5 and marker.pose.orientation.w == 1.0
    assert len({(m.color.r, m.color.g, m.color.b) for m in found.values()}) == len(found)


def test_what_is_empty_is_taken_away_and_a_reset_begins_another_path() -> None:
    pictures, none, one = Markers("base"), np.zeros((0, 3)), np.zeros((1, 3))
    pictures.executed(np.ones(3), 1)
    pictures.executed(np.ones(3), 2)
    for path, names in ((none, set(KINDS)), (one, {"blended", "committed", "executed"})):
        found = by_name(pictures.message(NOW_NS, path, path, path, path))
        assert {name for name, marker in found.items() if marker.action == Marker.DELETE} == names


class Viewer(Node):
    """Robot, policy and rviz around the executor."""

    def __init__(self, spinner: Any, link: str, state: Any) -> None:
        super().__init__("viewer", use_global_arguments=False)
        self._spinner, self._state, self._q = spinner, state, np.zeros(16)
        self._q[:7] = STRETCHED
        self._at(NOW_NS)
        self.pictures: list[MarkerArray] = []
        self.states: list[ExecutorState] = []
        qos.subscription(self, "executor_node/markers", MarkerArray, self.pictures.append)
        qos.subscription(self, "executor_state", ExecutorState, self.states.append)
        self._chunks, self.plan = qos.publisher(self, "action_chunk", ActionChunkMsg), Peer(link, "plan", PLAN)
        spinner.add(self)

    def _at(self, stamp_ns: int) -> None:
        self._state.write(stamp_ns=stamp_ns, epoch_ns=NOW_NS - 10**9, q=self._q, gripper_width=[0.04])

    def show(self, chunk: ActionChunk, stamp_ns: int) -> dict[str, Marker]:
        """The picture at `stamp_ns` of an accepted chunk."""
        self._spinner.until(lambda: self.states and self._chunks.get_subscription_count(), "the executor is there")
        message = ActionChunkMsg(
            instruction=chunk.instruction, sequence=chunk.sequence, policy=chunk.policy, dt_s=chunk.dt_s,
            contract_hash=chunk.contract_hash, action_space=chunk.action_space, action_names=list(chunk.action_names),
            horizon=len(chunk.actions), actions=array("f", chunk.actions.tobytes()),
        )  # fmt: skip
        message.header.stamp = stamps.to_msg(chunk.stamp_ns)
        self._chunks.publish(message)
        self._spinner.until(lambda: self.states[-1].chunks_accepted == 1, "an accepted chunk")
        self._at(stamp_ns)
        wanted = stamps.to_msg(stamp_ns)
        self._spinner.until(
            lambda: self.pictures and self.pictures[-1].markers[0].header.stamp == wanted
            and self.states[-1].header.stamp == wanted,
            "a picture of then",
        )  # fmt: skip
        self.plan.refresh()
        self.plan.poll()
        return by_name(self.pictures[-1])


@pytest.fixture
def viewer(spinner: Any, link: str, writer: Callable[[str], Any], robot: Any) -> Any:
    """An arm that is almost stretched."""
    state = writer("state")
    viewer = Viewer(spinner, link, state)
    spinner.add(ExecutorNode())
    yield viewer
    viewer.plan.close()


def test_the_node_shows_the_plan_and_the_steps_that_were_replaced(
    viewer: Viewer, make_chunk: Callable[..., ActionChunk], robot: Any
) -> None:
    """The chunk draws the arm in, and then leads further away from the shoulder than the arm is long."""
    position, quaternion = robot.tool_pose(STRETCHED)
    outwards = position - np.array([0.0, 0.0, 0.333])
    outwards /= np.linalg.norm(outwards)
    chunk = make_chunk(NOW_NS)
    reach = np.concatenate([np.linspace(0.0, -0.03, 10), np.linspace(-0.03, 0.04, 10)])
    chunk.actions[:, :3], chunk.actions[:, 3:7] = position + reach[:, None] * outwards, quaternion
    found = viewer.show(chunk, NOW_NS + 300 * MS)

    predicted, clamped = points(found["predicted"]), points(found["clamped"])
    np.testing.assert_allclose(predicted, chunk.actions[:, :3], atol=1e-5)
    replaced = np.linalg.norm(predicted[:, None] - clamped[None], axis=2).min(axis=1) < 1e-6
    assert found["clamped"].action == Marker.ADD and len(clamped) == np.count_nonzero(replaced)
    assert replaced[-5:].all() and not replaced[:3].any()

    def planned(at_ns: int) -> Float64:
        at, rest = np.zeros(7), np.zeros((2, 7))
        Knots(viewer.plan.record).sample(at_ns, at, *rest)
        place: Float64 = robot.tool_pose(at)[0]
        return place

    blended, committed = points(found["blended"]), points(found["committed"])
    now_ns, end_ns = NOW_NS + 300 * MS, Knots(viewer.plan.record).end_ns
    for path, until_ns in ((blended, end_ns), (committed, now_ns + round(1e9 * viewer.states[-1].committed_s))):
        times = np.linspace(now_ns, until_ns, len(path))
        np.testing.assert_allclose(path, [planned(int(t)) for t in times], atol=1e-5)
    assert len(blended) > len(committed) > 1
    way, begun = (float(np.linalg.norm(path - blended[0], axis=1).max()) for path in (blended, committed))
    assert way > 0.02 and 1e-4 < begun < 0.5 * way
