"""A ROS node of our own beside a running graph: it sends goals, resets the world and asks the judge."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import uuid4

import rclpy
from action_msgs.msg import GoalStatus
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.task import Future
from std_srvs.srv import Trigger
from unique_identifier_msgs.msg import UUID

from vla_bringup.graph import Scalar
from vla_core.errors import ConfigError, GraphError
from vla_msgs.action import ExecuteInstruction
from vla_ros.executor import single_threaded

_TURN_S = 0.1
_SERVICE_S = 60.0
_ASK_AGAIN_S = 2.0  # an answer may be lost, see Session; no question of a session does harm when it is asked twice


@dataclass(frozen=True, slots=True)
class MissionResult:
    """What the stack itself says about a goal; times in [s, ROS clock]."""

    success: bool
    error_code: str
    message: str
    success_estimate: float
    duration_s: float
    first_motion_s: float


class Session:
    """Context manager; its node spins in a thread.

    DDS finds each end by itself, and a server drops the answer to a client that it hasn't found yet. So each client is
    made once, answers are asked for again, and a goal, which must be sent only once, goes out when the mission's server
    has answered something else. rclpy's action client loses an answer that another thread takes before the question is
    noted down, so its questions are sent on the thread that spins.

    Args:
        name: Node name.
        check: Called while waiting; raises when the graph is broken.
        namespace: Of the graph.
        mission: The action that takes instructions, see `Graph.mission`.
    """

    def __init__(
        self,
        name: str,
        check: Callable[[], None] = lambda: None,
        namespace: str = "",
        mission: str = "execute_instruction",
    ) -> None:
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.node: Node = rclpy.create_node(name, namespace=namespace, context=self._context)
        self._executor = single_threaded(self._context)
        self._executor.add_node(self.node)
        self._check = check
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="session", daemon=True)
        self._mission = ActionClient(self.node, ExecuteInstruction, mission)
        self._mission_name = mission
        asked = ("reset", "judge", "inject")
        self._debug = {name: self.node.create_client(Trigger, f"sim_node/debug/{name}") for name in asked}
        self._parameters = {"sim_node": self.node.create_client(SetParameters, "sim_node/set_parameters")}

    def __enter__(self) -> Session:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.create_task(self._over.set)  # in its own thread: nothing is taken from under it
        self._thread.join(timeout=5.0)
        self._executor.shutdown()
        self._context.try_shutdown()
        self.node.destroy_node()

    def check_alone(self, nodes: Sequence[str]) -> None:
        """Make sure that each of our nodes is the only one of its name.

        Raises:
            GraphError: another graph runs in the same ROS domain.
        """
        counts = Counter(self.node.get_node_names())
        twice = [name for name in nodes if counts[name] > 1]
        if twice:
            domain = os.environ.get("ROS_DOMAIN_ID", "0")
            raise GraphError(
                f"{', '.join(twice)} twice in ROS domain {domain}",
                "one graph per domain",
                "stop the other graph, or export another ROS_DOMAIN_ID (0..101)",
            )

    def set_parameters(self, node: str, values: Mapping[str, Scalar]) -> None:
        """Set parameters of another node.

        Raises:
            ConfigError: it refuses one.
            GraphError: it doesn't answer.
        """
        if node not in self._parameters:
            self._parameters[node] = self.node.create_client(SetParameters, f"{node}/set_parameters")
        request = SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        )
        response = self._call(self._parameters[node], request)
        for name, result in zip(values, response.results, strict=True):
            if not result.successful:
                raise ConfigError(f"{name}={values[name]!r} refused by {node}", result.reason, "give another value")

    def parameter(self, node: str, name: str) -> Scalar:
        """Value of a parameter of another node.

        Raises:
            GraphError: it has none of this name, or doesn't answer.
        """
        client = self.node.create_client(GetParameters, f"{node}/get_parameters")
        found = self._call(client, GetParameters.Request(names=[name])).values  # of one that isn't declared: none
        value: Scalar | None = parameter_value_to_python(found[0]) if found else None
        if value is None:
            raise GraphError(f"no parameter '{name}' of {node}", "one that it has", "see docs/parameters.md")
        return value

    def reset(self, seed: int, instruction: str = "", split: str = "train", family: str = "") -> str:
        """Fill the simulated world anew; returns its instruction.

        Raises:
            ConfigError: the simulator refuses.
        """
        self.set_parameters("sim_node", {"seed": seed, "instruction": instruction, "split": split, "family": family})
        response = self._call(self._debug["reset"], Trigger.Request())
        if not response.success:
            raise ConfigError("a refused reset", response.message, "ask for another scene")
        return str(response.message)

    def inject(self, fault: str) -> str:
        """Let something go wrong in the simulated world; what was done, in words.

        It is asked again where the answer was lost, so a thing may be moved twice.

        Raises:
            ConfigError: the simulator refuses.
        """
        self.set_parameters("sim_node", {"fault": fault})
        response = self._call(self._debug["inject"], Trigger.Request())
        if not response.success:
            raise ConfigError(f"fault '{fault}' refused", response.message, "inject it at another time")
        return str(response.message)

    def judge(self) -> dict[str, Any]:
        """Ground truth of the simulated world, `success` among it; never an input of the stack."""
        response = self._call(self._debug["judge"], Trigger.Request())
        truth: dict[str, Any] = json.loads(response.message)
        return truth

    def wait_for_mission(self) -> None:
        """Wait until somebody can be sent a goal, and will find us with the answer.

        The result of a goal that nobody has sent is asked for: the client of results is announced after that of goals,
        so who has found the one has found the other.

        Raises:
            GraphError: it doesn't show up.
        """
        self.wait_until(self._mission.server_is_ready, f"the action {self._mission_name}")
        nobodys = ClientGoalHandle(self._mission, UUID(uuid=list(uuid4().bytes)), None)
        self._ask(lambda: self._send(nobodys.get_result_async), f"an answer from the action {self._mission_name}")

    def execute(
        self, instruction: str, timeout_s: float, on_feedback: Callable[[ExecuteInstruction.Feedback], None]
    ) -> MissionResult:
        """Send a goal and wait for its result.

        Args:
            instruction: What to do.
            timeout_s: On the ROS clock; 0: the mission's default.
            on_feedback: Called on the session's thread.

        Raises:
            GraphError: nobody answers, or the goal is refused.
        """
        self.wait_for_mission()
        goal = ExecuteInstruction.Goal(instruction=instruction, timeout_s=float(timeout_s))
        sent = self._send(lambda: self._mission.send_goal_async(goal, lambda message: on_feedback(message.feedback)))
        self.wait_until(sent.done, "the goal")
        handle = sent.result()
        if not handle.accepted:
            raise GraphError(f"a goal that {self._mission_name} refused", "it accepted", "see the logs of its node")
        future = self._send(handle.get_result_async)
        try:
            answer = self._wait_forever(future)
        except BaseException:
            handle.cancel_goal_async()
            raise
        result = answer.result
        names = {GoalStatus.STATUS_CANCELED: "cancelled"}
        return MissionResult(
            success=bool(result.success),
            error_code=result.error_code or names.get(answer.status, ""),
            message=result.message,
            success_estimate=float(result.success_estimate),
            duration_s=float(result.duration_s),
            first_motion_s=float(result.first_motion_s),
        )

    def _call(self, client: Any, request: Any) -> Any:
        self.wait_until(client.service_is_ready, f"service {client.srv_name}")
        return self._ask(lambda: client.call_async(request), f"an answer from {client.srv_name}")

    def _send(self, send: Callable[[], Future]) -> Future:
        """What `send` returns, called on the thread that spins."""
        task = self._executor.create_task(send)
        self.wait_until(task.done, "an end of the session's own work")
        answer: Future = task.result()
        return answer

    def _ask(self, ask: Callable[[], Future], what: str) -> Any:
        """The first answer to a question that may be asked more than once."""
        asked, again_s = [ask()], time.monotonic() + _ASK_AGAIN_S

        def answered() -> bool:
            nonlocal again_s
            if time.monotonic() >= again_s:
                again_s = time.monotonic() + _ASK_AGAIN_S
                asked.append(ask())
            return any(future.done() for future in asked)

        self.wait_until(answered, what)
        return next(future for future in asked if future.done()).result()

    def _wait_forever(self, future: Future) -> Any:
        """For what ends by the mission's own clock; `check` notices a graph that stands still."""
        while not future.done():
            self._check()
            time.sleep(_TURN_S)
        return future.result()

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float = _SERVICE_S) -> None:
        """Wait for something of the graph.

        Raises:
            GraphError: `what` hasn't come within `timeout_s` of wall time.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            self._check()
            if time.monotonic() > deadline:
                raise GraphError(
                    f"no sign of {what} for {timeout_s:g} s", "a running graph", "see the logs of its nodes"
                )
            time.sleep(0.005)

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while not self._over.is_set():
                self._executor.spin_once()
