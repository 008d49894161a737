"""A running graph with a way into everything that a fault needs.

A machine that runs tests is shared, so the rig gives the graph more time than a robot gets (PATIENCE); what a fault is
measured by are the limits of its own graph, on its own clock.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_srvs.srv import Trigger

from vla_bringup.faults.arm_watch import ArmWatch
from vla_bringup.faults.fault import Told
from vla_bringup.faults.reports import repeated
from vla_bringup.graph import Graph, GraphOptions, Scalar, simulated_graph
from vla_bringup.jobs import process_jobs
from vla_bringup.runner import Runner
from vla_bringup.session import Session
from vla_control.core.robot import RobotModel
from vla_core.contract import load_contract
from vla_core.errors import GraphError
from vla_core.events import Events
from vla_core.topics import topic
from vla_msgs.msg import ExecutorState, SafetyState
from vla_ros import qos

#: Parameters that the rig sets: patience, so that a busy machine is no fault, and who paces the world.
PATIENCE: Mapping[str, Mapping[str, Scalar]] = {
    "servo_node": {"stale_state_s": 0.5, "state_timeout_s": 0.8, "safety_timeout_s": 2.0, "rt_priority": 0},
    "safety_monitor_node": {"confirm_s": 0.5, "max_ahead_s": 5.0, "servo_timeout_s": 2.0},
    "sim_node": {"wait_for_policy": False},
    "mission_node": {"policy_timeout_s": 300.0},
}
_WAIT_S = 240.0  # of real time, for anything
_TURN_S = 0.01
_ANSWER_S = 5.0  # for an answer of a service; it is asked again
_DIAGNOSTIC_QUIET_S = 2.5  # statuses come once per second
_number = itertools.count()


class Relay:
    """Stands between a publisher of the graph and everybody else.

    Attributes:
        change: What becomes of each message; None: it is dropped.
    """

    def __init__(self, node: Node, name: str, message_type: type) -> None:
        self.change: Callable[[Any], Any | None] = self.honest
        self._out = qos.publisher(node, name, message_type)
        node.create_subscription(message_type, hidden(name), self._pass, qos.profile(topic(name)))

    @staticmethod
    def honest(message: Any) -> Any:
        """Let everything pass."""
        return message

    def _pass(self, message: Any) -> None:
        changed = self.change(message)
        if changed is not None:
            self._out.publish(changed)


def hidden(name: str) -> str:
    """Where a graph's own publisher is sent to when a relay stands in front of it."""
    return f"/faults/{name.lstrip('/')}"


class Rig:
    """Context manager around a graph.

    `NAMES` are its nodes, `RELAYED` what can be tampered with, `ABSENT` what the monitor watches and nobody publishes.

    Args:
        out: Folder for logs.

    Attributes:
        watch: The robot as seen from outside.
        session: Our node, spinning in a thread.
        executor, safety: Newest messages.
        begin_ns: When the fault began, on the robot's clock.
    """

    NAMES: tuple[str, ...] | None = None
    RELAYED: Mapping[str, tuple[tuple[str, type], ...]] = {}
    ABSENT: tuple[str, ...] = ()
    INSTRUCTION = ""
    LOCKSTEP = False
    STILL_S = 0.5

    def __init__(self, out: Path) -> None:
        link = f"f{os.getpid()}x{next(_number)}"
        options = GraphOptions(lockstep=self.LOCKSTEP, link=link, instruction=self.INSTRUCTION)
        self.graph = _tampered(simulated_graph(options), self.NAMES, self.RELAYED)
        self.link = options.link
        self.robot, self.contract = RobotModel.load(options.robot), load_contract(options.contract)
        self._said: list[str] = []
        self._alarms: list[tuple[float, str]] = []  # when [s] and what /diagnostics said above OK
        self.runner = Runner(process_jobs(self.graph), self.link, out / "logs", 600.0, 30.0, self.note)
        self.begin_ns = 0
        self.executor, self.safety = ExecutorState(), SafetyState(stopped=True)
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        try:
            self._stack.callback(self.runner.stop)
            self.session = self._stack.enter_context(Session(f"faults_{os.getpid()}"))
            node = self.session.node
            self.relays = {
                name: Relay(node, name, kind) for row in self.RELAYED.values() for name, kind in row
            }  # fmt: skip
            qos.subscription(node, "executor_state", ExecutorState, lambda m: setattr(self, "executor", m))
            qos.subscription(node, "safety_state", SafetyState, lambda m: setattr(self, "safety", m))
            qos.subscription(node, "/diagnostics", DiagnosticArray, self._on_diagnostics)
            self.diagnostics_out = qos.publisher(node, "/diagnostics", DiagnosticArray)
            self._services = {
                name: node.create_client(Trigger, f"safety_monitor_node/{name}") for name in ("stop", "release")
            }
            self.watch = ArmWatch(self.link, self.robot.config, self.STILL_S)
            self._stack.callback(self.watch.close)
            self._stack.callback(self.finish)
            self.prepare(node)
            self.runner.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    # -- what a kind of rig adds --------------------------------------------------------------------------------------

    def prepare(self, node: Node) -> None:
        """Make what else is needed on our node, before the graph starts."""

    def finish(self) -> None:
        """End what `prepare` began; the graph is still running."""

    def begin(self) -> None:
        """Give the robot something to do."""

    def start_clock(self) -> None:
        """The fault begins now, at the newest state."""
        self.begin_ns = self.watch.stamp_ns
        self.watch.begin()

    def keep_busy(self) -> None:
        """Give it something again when it has finished."""

    # -- motion -------------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Wait until the robot has been in motion for a moment, with nothing amiss."""
        self.begin()
        since_ns: int | None = None

        def steady() -> bool:
            nonlocal since_ns
            self.keep_busy()
            if not self.watch.moves or self.safety.stopped or self._amiss():
                since_ns = None
                return False
            since_ns = self.watch.stamp_ns if since_ns is None else since_ns
            return self.watch.stamp_ns - since_ns > 400_000_000

        self.until(steady, "a robot in motion")

    def _amiss(self) -> bool:
        """Whether the monitor misses a source; one that has just been started may not have found them all."""
        absent = {f"{name} was never seen" for name in self.ABSENT}
        return any(w not in absent and ("older" in w or "never seen" in w) for w in self.safety.warnings)

    def until(self, done: Callable[[], bool], what: str, wait_s: float = _WAIT_S) -> None:
        """Wait in real time; what has died and may be is started again meanwhile.

        Raises:
            GraphError: a node has ended for good, or nothing of the kind happened.
        """
        deadline = time.monotonic() + wait_s
        while not done():
            self.runner.check()
            if time.monotonic() > deadline:
                got = f"no {what} for {wait_s:g} s; servo {self.watch.mode}, executor {self.executor.mode}, "
                got += f"stop '{self.safety.cause}', warnings {list(self.safety.warnings)}"
                raise GraphError(got, what, f"see {self.runner.log('*').parent}")
            time.sleep(_TURN_S)

    def call(self, name: str) -> Trigger.Response:
        """Ask the safety monitor for 'stop' or 'release'; a monitor that has just been started is asked again."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            client = self._services[name]
            self.until(client.service_is_ready, f"service {name}")
            future = client.call_async(Trigger.Request())
            try:
                self.until(future.done, f"answer of {name}", _ANSWER_S)
            except GraphError:
                continue
            return future.result()
        raise GraphError(f"no answer of {name}", "a safety monitor that answers", "see its log")

    # -- processes ----------------------------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        """Of a node, or of 'servo_loop', the child of servo_node."""
        if name != "servo_loop":
            return self.runner.pids[name]
        tasks = Path(f"/proc/{self.runner.pids['servo_node']}/task").glob("*/children")
        (child,) = (int(text) for task in tasks for text in task.read_text(encoding="ascii").split())
        return child

    # -- reports ------------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Take what the runner says."""
        self._said.append(text)

    def mark(self) -> dict[str, int]:
        """How far everything that reports has come."""
        sizes = {node.name: len(self._log(node.name)) for node in self.graph.nodes}
        return sizes | {"runner": len(self._said), "diagnostics": len(self._alarms)}

    def told(self, mark: Mapping[str, int], told: Told) -> int:
        """How often something was reported since `mark`."""
        if told.where == "runner":
            lines = self._said[mark["runner"] :]
        elif told.where == "diagnostics":  # repeats while it lasts: what counts are its beginnings
            events = Events(_DIAGNOSTIC_QUIET_S)
            said = [re.search(told.pattern, text) is not None for _, text in self._alarms]
            begins = [yes and events.begins("", at_s) for yes, (at_s, _) in zip(said, self._alarms, strict=True)]
            return sum(begins[mark["diagnostics"] :])
        else:
            lines = self._log(told.where)[mark[told.where] :].splitlines()
        return sum(re.search(told.pattern, line) is not None for line in lines)

    def repeated(self, mark: Mapping[str, int]) -> tuple[str, ...]:
        """Warnings and errors that a node has told again and again since `mark`."""
        found = (repeated(n.name, self._log(n.name)[mark[n.name] :].splitlines()) for n in self.graph.nodes)
        return tuple(text for texts in found for text in texts)

    def _log(self, node: str) -> str:
        return self.runner.log(node).read_text(encoding="utf-8", errors="replace")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level[0] == 0:
                continue
            for part in status.message.split("; "):  # servo_node says its mode and what went wrong
                self._alarms.append((time.monotonic(), f"{status.name}: {part}"))


def _tampered(
    graph: Graph, names: tuple[str, ...] | None, relayed: Mapping[str, tuple[tuple[str, type], ...]]
) -> Graph:
    nodes = []
    for node in graph.nodes:
        if names is not None and node.name not in names:
            continue
        remaps = {name: hidden(name) for name, _ in relayed.get(node.name, ())}
        overrides = {**node.overrides, **PATIENCE.get(node.name, {})}
        nodes.append(replace(node, overrides=overrides, remaps={**node.remaps, **remaps}))
    return replace(graph, nodes=tuple(nodes))
