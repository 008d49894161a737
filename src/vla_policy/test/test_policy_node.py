"""policy_node as a process: chunks for observations, sentences for the rest, another policy without a restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from toy_demonstrations import observation

from vla_core.contract import Contract, load_contract
from vla_core.files import workspace_root
from vla_core.types import NS, Observation
from vla_msgs.msg import ActionChunk
from vla_msgs.msg import Observation as ObservationMsg
from vla_ros import qos, stamps


def command(policy: Path, contract: Path | str) -> list[str]:
    values = workspace_root() / "config" / "policy.yaml"
    chosen = {"policy": policy, "contract": contract, "backend": "torch"}
    words = [sys.executable, "-m", "vla_policy.policy_node", "--ros-args", "--params-file", str(values)]
    return [*words, *(word for name, value in chosen.items() for word in ("-p", f"{name}:={value}"))]


def message(seen: Observation) -> ObservationMsg:
    _, height, width, _ = seen.rgb.shape
    made = ObservationMsg(
        instruction=seen.instruction, contract_hash=seen.contract_hash, view_names=list(seen.view_names),
        view_valid=seen.view_valid.tolist(), height=height, width=width, rgb=array("B", seen.rgb.tobytes()),
        state_names=list(seen.state_names), state=seen.state.tolist(),
    )  # fmt: skip
    made.header.stamp = stamps.to_msg(seen.stamp_ns)
    return made


class Bench:
    """The node, an observation node and an executor played by the test, and an operator who sets parameters."""

    def __init__(self, policy: Path, contract: Path) -> None:
        self.process = subprocess.Popen(command(policy, contract), env=dict(os.environ), start_new_session=True)
        self.node = Node("bench")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.chunks: list[ActionChunk] = []
        self.values: dict[str, str] = {}
        self.text = ""
        qos.subscription(self.node, "action_chunk", ActionChunk, self.chunks.append)
        qos.subscription(self.node, "/diagnostics", DiagnosticArray, self._on_diagnostics)
        self._observations = qos.publisher(self.node, "observation", ObservationMsg)
        self._set = self.node.create_client(SetParameters, "policy_node/set_parameters")
        self._get = self.node.create_client(GetParameters, "policy_node/get_parameters")
        self.seen = observation(load_contract(str(contract)))
        self._stamp_ns = NS

    def _on_diagnostics(self, heard: DiagnosticArray) -> None:
        for status in heard.status:
            self.text, self.values = status.message, {pair.key: pair.value for pair in status.values}

    def spin(self, until: Callable[[], bool], limit_s: float = 120.0) -> None:
        deadline = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline and self.process.poll() is None, f"{self.text=}, {self.values=}"
            self.executor.spin_once(timeout_sec=0.05)

    def show(self, seen: Observation, until: Callable[[], bool]) -> None:
        """Publish an observation again and again, a second later each time, until something happened."""

        def once() -> bool:
            self._stamp_ns += NS
            self._observations.publish(message(replace(seen, stamp_ns=self._stamp_ns)))
            return until()

        self.spin(once)

    def chunk(self) -> ActionChunk:
        """Answer to a good observation."""
        self.chunks.clear()
        self.show(self.seen, lambda: bool(self.chunks))
        return self.chunks[-1]

    def choose(self, policy: Path) -> None:
        """Set parameter `policy`."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(policy))
        self.spin(self._set.service_is_ready)
        future = self._set.call_async(SetParameters.Request(parameters=[Parameter(name="policy", value=value)]))
        self.spin(future.done)
        assert future.result().results[0].successful

    def chosen(self) -> str:
        """Value of parameter `policy`."""
        self.spin(self._get.service_is_ready)
        future = self._get.call_async(GetParameters.Request(names=["policy"]))
        self.spin(future.done)
        return str(future.result().values[0].string_value)


def variant(preset_file: Path, weights: Path, folder: Path, name: str) -> Path:
    """The toy preset with another name and weight file."""
    content = yaml.safe_load(preset_file.read_text(encoding="utf-8"))
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content | {"name": name, "weights": str(weights)}), encoding="utf-8")
    return path


@pytest.fixture
def bench(ros: None, trained: Path, preset_file: Path, contract_file: Path, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(variant(preset_file, trained / "toy_flow.safetensors", tmp_path, "first"), contract_file)
    yield made
    if made.process.poll() is None:
        made.process.send_signal(signal.SIGINT)
    try:
        assert made.process.wait(timeout=60) == 0
    finally:
        made.process.kill()
        made.node.destroy_node()


def test_it_answers_refuses_and_changes_its_policy(
    bench: Bench, contract: Contract, preset_file: Path, trained: Path, tmp_path: Path
) -> None:
    first = bench.chosen()
    chunk = bench.chunk()
    assert (chunk.policy, chunk.contract_hash, chunk.horizon) == ("first", contract.hash, contract.horizon)
    assert chunk.inference_s > 0.0 and np.isfinite(chunk.actions).all()

    bench.spin(lambda: int(bench.values.get("chunks", 0)) == len(bench.chunks))
    quiet_s = time.monotonic() + 1.0  # good observations that are still on their way get theirs
    bench.spin(lambda: time.monotonic() > quiet_s)
    count = len(bench.chunks)
    bad = replace(bench.seen, state=np.full_like(bench.seen.state, np.nan))
    bench.show(bad, lambda: int(bench.values.get("rejected_observation", 0)) > 0)
    assert "got a state with NaN or infinity; expected finite numbers; fix: " in bench.text
    unknown = replace(bench.seen, instruction="pick up the banana")
    bench.show(unknown, lambda: int(bench.values.get("rejected_unknown_object", 0)) > 0)
    assert len(bench.chunks) == count, "a refused observation gets no chunk"

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes((trained / "toy_flow.safetensors").read_bytes()[:300])
    bench.choose(variant(preset_file, broken, tmp_path, "broken"))
    bench.spin(lambda: "not loaded" in bench.text)
    assert "intact policy weight file" in bench.text
    bench.spin(lambda: bench.chosen() == first)  # the parameter says what is running
    assert bench.chunk().policy == "first"

    bench.choose(variant(preset_file, trained / "toy_flow.safetensors", tmp_path, "second"))
    bench.spin(lambda: bench.values.get("policy") == "second")
    assert bench.chunk().policy == "second"


def test_weights_of_another_contract_end_it_with_a_sentence(
    ros: None, preset_file: Path, trained: Path, tmp_path: Path
) -> None:
    policy = variant(preset_file, trained / "toy_flow.safetensors", tmp_path, "foreign")
    done = subprocess.run(
        command(policy, "tabletop_panda"),
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert (
        f"expected contract {load_contract('tabletop_panda').hash}" in done.stderr
        and "; fix: " in done.stderr
        and "Traceback" not in done.stderr
    )
