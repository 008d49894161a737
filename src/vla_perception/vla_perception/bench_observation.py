"""How long an observation takes from capture to a subscriber, with real processes and topics.

Three processes: `bench_source` (the drivers), `observation_node`, and this one, which listens as the policy does.
The latency of an observation counts from the capture of its OLDEST source, so it includes the wait for the last one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from vla_core.contract import load_contract
from vla_core.errors import SetupError
from vla_core.files import workspace_root
from vla_core.records import CAPTURES
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import NS
from vla_msgs.msg import Observation as ObservationMsg
from vla_ros import qos, stamps

_CONTRACT = "tabletop_panda"
_WARM_UP_S = 1.5
_END_S = 2.0


def measure(duration_s: float) -> dict[str, float]:
    """Measure the line from camera to observation.

    Args:
        duration_s: How long to count, after a warm-up [s].

    Returns:
        n, rate_hz, p50_ms, p95_ms, p99_ms, max_ms (capture of the oldest source to received), drops (observations
        missing between those received, by their stamps), frames_lost (camera frames that never reached the node, by
        its own count), cpu_share (CPU seconds of observation_node per second, 1 = one core).

    Raises:
        SetupError: a process doesn't start, or nothing arrives.
    """
    contract = load_contract(_CONTRACT)
    domain, link = random.randint(1, 100), f"bench{os.getpid()}"
    with tempfile.TemporaryFile("w+") as log:
        processes: list[subprocess.Popen[str]] = []
        try:
            processes.append(_start("bench_source", domain, log, "-p", f"link:={link}"))
            processes.append(_start("observation_node", domain, log))
            ear = _Ear(domain, link, contract.view_names)
            try:
                ear.listen(_WARM_UP_S)
                ear.forget()
                cpu_s = _cpu_s(processes[1].pid)
                ear.listen(duration_s)
                cpu_s = _cpu_s(processes[1].pid) - cpu_s
            finally:
                ear.close()
        finally:
            for process in processes:
                _end(process)
    return ear.result(1.0 / contract.rate_hz) | {"cpu_share": round(cpu_s / duration_s, 4)}


class _Ear:
    """Subscriber of the observations and of the node's diagnostics, in a ROS context of its own."""

    def __init__(self, domain: int, link: str, cameras: tuple[str, ...]) -> None:
        self._box = Mailbox(link_path(link, "captures"), CAPTURES)
        self._captures = np.zeros(1, CAPTURES)
        self._context = Context()
        self._context.init(args=[], domain_id=domain)
        self._node = Node("bench_ear", context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._parts = {f"observation_node: {camera}" for camera in cameras}
        self._lost: dict[str, list[int]] = {}
        self._summary = "nothing"
        self._heard: list[tuple[int, int]] = []  # stamp [ns], latency [ns]
        qos.subscription(self._node, "observation", ObservationMsg, self._on_observation)
        qos.subscription(self._node, "/diagnostics", DiagnosticArray, self._on_diagnostics)

    def listen(self, duration_s: float) -> None:
        """Take what comes for `duration_s`."""
        deadline = time.monotonic() + duration_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def forget(self) -> None:
        """Start counting anew."""
        self._heard.clear()
        self._lost.clear()

    def result(self, period_s: float) -> dict[str, float]:
        """Statistics of what was heard; `period_s` is the nominal time between observations [s]."""
        if len(self._heard) < 2:
            got = f"{len(self._heard)} observations; the node's diagnostics say: {self._summary}"
            raise SetupError(got, "a steady stream", "see `vla doctor`, or measure on a less busy machine")
        taken, latency_ms = (np.array(column) for column in zip(*self._heard, strict=True))
        gaps_s = np.diff(taken) / NS
        p50, p95, p99 = np.percentile(latency_ms / 1e6, [50, 95, 99])
        return {
            "n": len(taken),
            "rate_hz": round(float(1.0 / gaps_s.mean()), 2),
            "p50_ms": round(float(p50), 3),
            "p95_ms": round(float(p95), 3),
            "p99_ms": round(float(p99), 3),
            "max_ms": round(float(latency_ms.max() / 1e6), 3),
            "drops": int(np.maximum(np.round(gaps_s / period_s) - 1, 0).sum()),
            "frames_lost": sum(counts[-1] - counts[0] for counts in self._lost.values()),
        }

    def close(self) -> None:
        """Leave the graph and the link."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
        self._box.close()

    def _on_observation(self, message: ObservationMsg) -> None:
        now_ns, stamp_ns = time.monotonic_ns(), stamps.to_ns(message.header.stamp)
        self._box.read(self._captures)
        where = np.flatnonzero(self._captures["stamp_ns"][0] == stamp_ns)
        if where.size == 0:
            raise SetupError(f"an observation stamped {stamp_ns}", "a stamp among the captures", "stop other sources")
        self._heard.append((stamp_ns, now_ns - int(self._captures["monotonic_ns"][0, where[0]])))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "observation_node":
                self._summary = ", ".join([status.message, *(f"{pair.key} {pair.value}" for pair in status.values)])
            if status.name in self._parts:
                lost = next(int(pair.value) for pair in status.values if pair.key == "lost")
                self._lost.setdefault(status.name, []).append(lost)


def _start(module: str, domain: int, log: IO[str], *ros_args: str) -> subprocess.Popen[str]:
    """Start a node of this package and wait for READY.

    Raises:
        SetupError: it ended instead; shows its last line.
    """
    values = str(workspace_root() / "config" / "perception.yaml")
    command = [sys.executable, "-m", f"vla_perception.{module}", "--ros-args", "--params-file", values, *ros_args]
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    process: subprocess.Popen[str] = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("READY"):
            return process
    process.wait()
    log.seek(0)
    last = (log.read().splitlines() or ["nothing on stderr"])[-1]
    raise SetupError(f"{module} that ended with: {last}", "READY", "run `vla doctor`")


def _end(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cpu_s(pid: int) -> float:
    """CPU time that a process has used [s], user and system."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
