"""The graph as it runs: every arrow of the topic table, and nothing left when it goes down."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from vla_bringup.cli import main
from vla_bringup.graph import Graph, GraphOptions, simulated_graph
from vla_bringup.runner import Runner, link_files
from vla_bringup.session import Session
from vla_bringup.testing import running
from vla_core.contract import load_contract
from vla_core.topics import TOPICS

LINK = f"systest{os.getpid()}"
GRAPH: Graph = simulated_graph(GraphOptions(link=LINK, instruction="press the button"))
CAMERAS = load_contract("tabletop_panda").view_names
DRIVERS = {node.name for node in GRAPH.layer("sim")}
EVERYBODY = {node.name for node in GRAPH.nodes}
#: What ROS itself adds to every node, and what stands under a node's own name.
HOUSEKEEPING = ("/rosout", "/parameter_events", "/_action/", "/transition_event", "/debug/")


class Running:
    """A running graph and a session beside it."""

    def __init__(self, runner: Runner, session: Session) -> None:
        self.runner, self.session = runner, session

    def settled(self, ready) -> None:
        """Wait until discovery has told about everything."""
        self.session.wait_until(ready, "all end points")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(GRAPH, tmp_path_factory.mktemp("graph")) as (runner, session):
        yield Running(runner, session)


def concrete() -> list[str]:
    """Topics of the table that an arm has, with the cameras' names filled in."""
    names = [name for name, row in TOPICS.items() if not row.only_with]
    return [name.format(camera=camera) for name in names for camera in (CAMERAS if "{camera}" in name else ("",))]


def owners(name: str) -> set[str]:
    """Nodes that may publish a topic of the table."""
    row = next(topic for key, topic in TOPICS.items() if any(key.format(camera=c) == name for c in CAMERAS))
    return {"driver": DRIVERS, "all": EVERYBODY}.get(row.owner, {row.owner})


def known(ends: list[TopicEndpointInfo]) -> bool:
    """Whether discovery has told who the end points belong to; it tells about the topic first."""
    return bool(ends) and all(end.node_name in EVERYBODY for end in ends)


@pytest.mark.parametrize("name", concrete())
def test_topic_has_the_type_the_owner_and_the_quality_of_service_of_the_table(graph: Running, name: str) -> None:
    node = graph.session.node
    row = next(topic for key, topic in TOPICS.items() if any(key.format(camera=c) == name for c in CAMERAS))
    absolute = name if name.startswith("/") else f"/{name}"
    graph.settled(lambda: known(node.get_publishers_info_by_topic(absolute)))
    found = node.get_publishers_info_by_topic(absolute)
    assert {end.topic_type for end in found} == {row.type}
    assert {end.node_name for end in found} <= owners(name)
    if row.owner not in ("all", "driver"):
        assert len(found) == 1, "one owner per arrow"
    for end in found:
        assert (end.qos_profile.reliability == ReliabilityPolicy.RELIABLE) is row.reliable
        assert (end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL) is row.latched


def test_subscribers_ask_for_no_more_than_is_offered(graph: Running) -> None:
    """An incompatible subscription receives nothing and says nothing."""
    node = graph.session.node
    for name in concrete():
        absolute = name if name.startswith("/") else f"/{name}"
        offered = node.get_publishers_info_by_topic(absolute)
        for end in node.get_subscriptions_info_by_topic(absolute):
            wants_reliable = end.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            wants_latched = end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            for source in offered:
                assert not wants_reliable or source.qos_profile.reliability == ReliabilityPolicy.RELIABLE, (name, end)
                assert not wants_latched or source.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL, (
                    name,
                    end,
                )


def test_nobody_publishes_what_is_not_in_the_table(graph: Running) -> None:
    node = graph.session.node
    graph.settled(lambda: set(node.get_node_names()) >= EVERYBODY)
    table = {name if name.startswith("/") else f"/{name}" for name in concrete()}
    published = {
        name
        for one in EVERYBODY
        for name, _ in node.get_publisher_names_and_types_by_node(one, "/")
        if not any(part in name for part in HOUSEKEEPING)
    }
    assert published == table


def test_ground_truth_is_read_by_no_node(graph: Running) -> None:
    """The judge and the debug topics are for people and tests; the stack must not see them."""
    node = graph.session.node
    for one in EVERYBODY:
        read = node.get_subscriber_names_and_types_by_node(one, "/")
        called = node.get_client_names_and_types_by_node(one, "/")
        assert [name for name, _ in (*read, *called) if "/debug/" in name] == []


def test_unknown_instruction_is_refused_by_the_running_stack(graph: Running) -> None:
    result = graph.session.execute("peel the banana", 5.0, lambda feedback: None)
    assert (result.success, result.error_code) == (False, "unknown_object")
    assert "; expected " in result.message and "; fix: " in result.message and result.first_motion_s == -1.0


def test_reset_fills_the_world_anew_and_the_judge_sees_it(graph: Running) -> None:
    assert graph.session.reset(5, "press the button") == "press the button"
    truth = graph.session.judge()
    assert truth["instruction"] == "press the button" and truth["success"] is False


def test_the_strategy_is_changed_while_the_graph_runs(graph: Running, capsys, tmp_path) -> None:
    assert main(["param", "executor_node", "strategy"]) == 0
    assert capsys.readouterr().out == "executor_node strategy: naive_async\n"
    assert main(["param", "executor_node", "strategy", "rtc_prefix"]) == 0
    assert capsys.readouterr().out == "executor_node strategy: rtc_prefix\n"
    for words, said in (
        (["executor_node", "strategy", "hope"], "strategy='hope' refused by executor_node"),
        (["executor_node", "hope"], "no parameter 'hope' of executor_node"),
        (["nobody", "strategy"], "no node 'nobody' in this ROS domain; expected one of: camera_node, "),
    ):
        assert main(["param", *words, "--out", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err


def test_one_interrupt_ends_everything_and_leaves_nothing(graph: Running) -> None:
    """Last in this file: it takes the graph down."""
    pids = graph.runner.pids
    assert link_files(LINK) != []
    children = {child for pid in pids.values() for child in _children(pid)}
    report = graph.runner.stop()
    assert report.clean, report
    for pid in {*pids.values(), *children}:
        for _ in range(200):  # a child that was told to end may take a moment to be reaped
            if not Path(f"/proc/{pid}").exists():
                break
            time.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists()
    assert link_files(LINK) == []


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]
