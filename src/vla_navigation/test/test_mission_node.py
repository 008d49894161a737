"""mission_node as a process, with policy, executor and safety monitor played by the test."""

from __future__ import annotations

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
import yaml
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from safetensors.numpy import save_file
from std_msgs.msg import String

from vla_core.files import workspace_root
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import ActionChunk, ExecutorState, SafetyState
from vla_policy.core.vocabulary import Vocabulary
from vla_ros.qos import publisher, subscription

TAUGHT = Vocabulary.from_corpus(["put the red cube in the blue bowl"], ["red cube", "blue bowl"])


class Bench:
    """The node and everybody around it."""

    def __init__(self, folder: Path, domain: str) -> None:
        weights = folder / "w.safetensors"
        save_file({"a": np.zeros(1)}, weights, metadata={"vocabulary": json.dumps(TAUGHT.metadata())})
        preset = folder / "probe.yaml"
        sections = {"model": {}, "decoding": {}, "training": {}}
        preset.write_text(
            yaml.safe_dump({"name": "probe", "policy": "p", "contract": "c", "weights": str(weights), **sections})
        )
        command = [sys.executable, "-m", "vla_navigation.mission_node", "--ros-args"]
        command += ["--params-file", str(workspace_root() / "config" / "navigation.yaml"), "-p", f"policy:={preset}"]
        environment = os.environ | {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self.process = subprocess.Popen(command, env=environment, start_new_session=True)
        self.node = Node("bench")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.instructions: list[str] = []
        subscription(self.node, "instruction", String, lambda m: self.instructions.append(m.data))
        self.chunks = publisher(self.node, "action_chunk", ActionChunk)
        self.states = publisher(self.node, "executor_state", ExecutorState)
        self.safety = publisher(self.node, "safety_state", SafetyState)
        self.client = ActionClient(self.node, ExecuteInstruction, "execute_instruction")
        self.stages: list[str] = []
        self.spin(self.client.server_is_ready)
        self.spin(lambda: self.chunks.get_subscription_count() == 1 and self.safety.get_subscription_count() == 1)

    def spin(self, until: Callable[[], bool], limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline, f"{self.process.poll()=}, {self.instructions=}, {self.stages=}"
            self.executor.spin_once(timeout_sec=0.05)

    def wait(self, future: Any) -> Any:
        self.spin(future.done)
        return future.result()

    def send(self, instruction: str, timeout_s: float = 0.0) -> Any:
        goal = ExecuteInstruction.Goal(instruction=instruction, timeout_s=timeout_s)

        def heard(message: Any) -> None:
            if not self.stages or self.stages[-1] != message.feedback.stage:
                self.stages.append(message.feedback.stage)

        handle = self.wait(self.client.send_goal_async(goal, feedback_callback=heard))
        assert handle.accepted
        return handle

    def answer(self, estimate: float, instruction: str = "put the red cube in the blue bowl") -> None:
        """Be policy and executor for one chunk."""
        stamp = self.node.get_clock().now().to_msg()
        chunk = ActionChunk(success_estimate=estimate, progress=0.5, subtask="reach", instruction=instruction)
        state = ExecutorState()
        chunk.header.stamp = state.header.stamp = state.answers = stamp
        self.states.publish(state)
        self.chunks.publish(chunk)
        self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    domain = str(random.randint(1, 100))
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    made = Bench(tmp_path, domain)
    yield made
    made.process.send_signal(signal.SIGINT)
    assert made.process.wait(timeout=20) == 0
    made.node.destroy_node()
    rclpy.try_shutdown()


def test_goals_from_first_to_last(bench: Bench) -> None:
    """Refused, carried out, replaced, cancelled and stopped goals, each with its code; between them: no instruction."""
    refused = bench.wait(bench.send("pick up the unicorn").get_result_async())
    assert refused.result.error_code == "unknown_object" and "unicorn" in refused.result.message
    assert refused.status == GoalStatus.STATUS_ABORTED and not any(bench.instructions)

    done = bench.send("put the red cube in the blue bowl").get_result_async()
    bench.spin(lambda: bench.instructions[-1:] == ["put the red cube in the blue bowl"])
    for _ in range(200):
        bench.answer(0.95 if "acting" in bench.stages else 0.1)
        if done.done():
            break
    result = bench.wait(done)
    assert result.status == GoalStatus.STATUS_SUCCEEDED and result.result.success and not result.result.error_code
    assert 0.0 <= result.result.first_motion_s <= result.result.duration_s
    assert bench.stages == ["waiting", "acting", "verifying", "done"]
    bench.spin(lambda: bench.instructions[-1] == "")

    other = bench.send("put the blue cube in the red bowl")
    for _ in range(10):  # the policy is still at the task before
        bench.answer(0.95)
    assert bench.wait(other.cancel_goal_async()).goals_canceling
    ended = bench.wait(other.get_result_async()).result
    assert ended.error_code == "cancelled" and ended.success_estimate == 0.0

    first = bench.send("put the red cube in the blue bowl").get_result_async()
    second = bench.send("put the blue cube in the red bowl")
    assert bench.wait(first).result.error_code == "cancelled"
    bench.spin(lambda: bench.instructions[-1] == "put the blue cube in the red bowl")
    assert bench.wait(second.cancel_goal_async()).goals_canceling
    cancelled = bench.wait(second.get_result_async())
    assert cancelled.status == GoalStatus.STATUS_CANCELED and cancelled.result.error_code == "cancelled"
    bench.spin(lambda: bench.instructions[-1] == "")

    third = bench.send("put the red cube in the blue bowl").get_result_async()
    bench.spin(lambda: bool(bench.instructions[-1]))
    bench.safety.publish(SafetyState(stopped=True, cause="operator"))
    stopped = bench.wait(third).result
    assert stopped.error_code == "safety_stop" and "operator" in stopped.message
    bench.spin(lambda: bench.instructions[-1] == "")
    still = bench.wait(bench.send("put the red cube in the blue bowl").get_result_async()).result
    assert still.error_code == "safety_stop", "the stop is latched"


def test_goals_that_run_out(bench: Bench) -> None:
    """A chunk stream that never succeeds times out; silence is called no_policy."""
    slow = bench.send("put the red cube in the blue bowl", timeout_s=0.5).get_result_async()
    deadline = time.monotonic() + 30
    while not slow.done() and time.monotonic() < deadline:
        bench.answer(0.2)
    assert bench.wait(slow).result.error_code == "timeout"
    silent = bench.wait(bench.send("put the red cube in the blue bowl").get_result_async()).result
    assert silent.error_code == "no_policy" and silent.first_motion_s == -1.0
