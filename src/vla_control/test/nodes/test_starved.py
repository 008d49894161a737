"""executor_node says on /diagnostics that it starves: while it does, in one sentence, and not when it shouldn't."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from vla_control.executor_node import ExecutorNode
from vla_core.types import ActionChunk
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState
from vla_ros import qos, stamps
from vla_ros.diagnostics import Level

NOW_NS = 10_000_000_000
MS = 1_000_000
STARVED = "starved: no step of the policy is left to follow; the arm comes to rest and holds"


class Around(Node):
    """Robot, policy and mission around the executor."""

    def __init__(self, spinner: Any, state: Any, status: Any, home: np.ndarray) -> None:
        super().__init__("around", use_global_arguments=False)
        self._spinner, self._state, self._status, self._q = spinner, state, status, np.zeros(16)
        self._q[:7] = home
        self.states: list[ExecutorState] = []
        self.statuses: list[DiagnosticStatus] = []
        qos.subscription(self, "executor_state", ExecutorState, self.states.append)
        qos.subscription(self, "/diagnostics", DiagnosticArray, lambda m: self.statuses.extend(m.status))
        self._chunks = qos.publisher(self, "action_chunk", ActionChunkMsg)
        self._instructions = qos.publisher(self, "instruction", String)
        self.now_ns = NOW_NS
        self.live(0)
        spinner.add(self)

    def live(self, time_ms: int) -> None:
        """So much of the robot's time passes."""
        self.now_ns += time_ms * MS
        self._status.write(stamp_ns=self.now_ns, q_target=self._q, gripper_target=[0.04])  # it holds
        self._state.write(stamp_ns=self.now_ns, epoch_ns=NOW_NS - 10**9, q=self._q, gripper_width=[0.04])

    def send(self, chunk: ActionChunk) -> None:
        count = self.states[-1].chunks_accepted + self.states[-1].chunks_rejected
        message = ActionChunkMsg(
            instruction=chunk.instruction, sequence=chunk.sequence, policy=chunk.policy, dt_s=chunk.dt_s,
            contract_hash=chunk.contract_hash, action_space=chunk.action_space, action_names=list(chunk.action_names),
            horizon=len(chunk.actions), actions=array("f", chunk.actions.tobytes()),
        )  # fmt: skip
        message.header.stamp = stamps.to_msg(chunk.stamp_ns)
        self._chunks.publish(message)
        self._until(lambda: self.states[-1].chunks_accepted + self.states[-1].chunks_rejected > count, "its answer")

    def instruct(self, text: str) -> None:
        self._instructions.publish(String(data=text))

    def mode(self, wanted: str) -> None:
        self._until(lambda: self.states and self.states[-1].mode == wanted, f"mode {wanted}")

    def status(self) -> tuple[Level, str]:
        """What the executor says of itself; what comes first may have been said before."""
        self.statuses.clear()
        self._until(lambda: sum(s.name == "executor_node" for s in self.statuses) >= 2, "diagnostics")
        last = next(s for s in reversed(self.statuses) if s.name == "executor_node")
        return Level(last.level[0]), last.message

    def _until(self, condition: Callable[[], object], what: str) -> None:
        self._spinner.until(condition, what)

    def meet(self) -> None:
        self._until(lambda: self.states and self._chunks.get_subscription_count(), "the executor is there")


@pytest.fixture
def around(spinner: Any, writer: Callable[[str], Any], robot: Any, request: pytest.FixtureRequest) -> Around:
    around = Around(spinner, writer("state"), writer("status"), robot.config.home_rad)
    node = ExecutorNode()
    if getattr(request, "param", ""):
        assert node.set_parameters_atomically([Parameter("strategy", value=request.param)]).successful
    spinner.add(node)
    around.meet()
    return around


def test_a_starved_executor_warns_in_one_sentence_until_it_is_fed_again(
    around: Around, make_chunk: Callable[..., ActionChunk]
) -> None:
    """Regression: its level stayed OK, and the message was the mode."""
    assert around.status() == (Level.OK, "idle")
    around.instruct("lift")
    around.send(make_chunk(around.now_ns, instruction="lift"))
    around.mode("tracking")
    assert around.status() == (Level.OK, "tracking")
    around.live(980)  # the steps of 1 s are over, the brake after them is not
    around.mode("finishing")
    assert around.status() == (Level.WARN, STARVED)
    around.live(3000)
    around.mode("holding")
    assert around.status() == (Level.WARN, STARVED)
    around.send(make_chunk(around.now_ns, sequence=2, instruction="lift"))
    around.mode("tracking")
    assert around.status() == (Level.OK, "tracking")


def test_an_arm_whose_task_is_over_does_not_starve(around: Around, make_chunk: Callable[..., ActionChunk]) -> None:
    around.instruct("lift")
    around.send(make_chunk(around.now_ns, instruction="lift"))
    around.live(300)
    around.instruct("")
    around.mode("finishing")
    assert around.status() == (Level.OK, "finishing")
    around.live(3000)
    around.mode("idle")
    assert around.status() == (Level.OK, "idle")


@pytest.mark.parametrize("around", ["synchronous"], indirect=True)
def test_a_strategy_that_waits_for_rest_starves_only_when_no_answer_comes(
    around: Around, make_chunk: Callable[..., ActionChunk]
) -> None:
    around.send(make_chunk(around.now_ns))
    assert around.states[-1].strategy == "synchronous"
    around.live(1100)
    around.mode("holding")
    assert around.status() == (Level.OK, "holding")
    around.live(1000)
    around.mode("holding")
    assert around.status() == (Level.WARN, STARVED)


def test_a_refused_chunk_is_said_beside_it(around: Around, make_chunk: Callable[..., ActionChunk]) -> None:
    around.send(make_chunk(around.now_ns))
    around.live(4000)
    around.send(make_chunk(around.now_ns - 3000 * MS, sequence=2))
    level, text = around.status()
    assert level == Level.WARN and text.startswith("got a chunk of 3.00 s age") and text.endswith(f"; {STARVED}")
