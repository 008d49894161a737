"""A running graph with everything that watches it: processes, session, recorder, latencies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vla_bringup.core.latency import LatencyWatch
from vla_bringup.core.recording import ImageSpool, Recording, StageTrace
from vla_bringup.core.summary import Span, summarise
from vla_bringup.graph import Graph
from vla_bringup.jobs import Job, jobs
from vla_bringup.recorder import Recorder
from vla_bringup.runner import Runner
from vla_bringup.session import MissionResult, Session
from vla_core.contract import load_contract
from vla_core.errors import GraphError
from vla_core.files import config_path, load_yaml
from vla_core.types import NS
from vla_msgs.action import ExecuteInstruction

_STALL_S = 60.0  # longest wall time without progress of the ROS clock while a goal runs
_SIGHT_S = 5.0  # longest wait for an observation of the scene before a goal [s, wall clock]


def new_link() -> str:
    """Name of a link that no other graph on this machine uses."""
    return f"g{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Run:
    """One goal carried out.

    Attributes:
        result: What the stack says.
        truth: What the judge says, see vla_sim.core.truth.
        summary: Measured numbers, see vla_bringup.core.summary.
        progress: The furthest that the mission said it was, 0..1.
        span: From goal to result.
        image_to_torque_ms: One latency per answered observation.
    """

    result: MissionResult
    truth: dict[str, Any]
    summary: dict[str, Any]
    progress: float
    span: Span
    image_to_torque_ms: list[float]


class WatchedGraph:
    """Context manager: starts the graph, then watches it.

    Args:
        graph: What to run.
        out: Folder for logs and scratch files.
        say: Takes progress lines.
        images: Whether to record the cameras.
        make_jobs: How the graph becomes processes.
    """

    def __init__(
        self,
        graph: Graph,
        out: Path,
        say: Callable[[str], None],
        images: bool = True,
        make_jobs: Callable[[Graph], list[Job]] = jobs,
    ) -> None:
        self._graph, self._out, self._say, self._images = graph, out, say, images
        self._contract = load_contract(graph.options.contract)
        self._stack = ExitStack()
        self._moved = (-1, 0.0)  # newest clock, and when it was new
        out.mkdir(parents=True, exist_ok=True)
        self.runner = Runner(make_jobs(graph), graph.options.link, out / "logs", say=say)

    def __enter__(self) -> WatchedGraph:
        self._say(f"starting {len(self._graph.nodes)} nodes, logs in {self.runner.log('*').parent}")
        options = self._graph.options
        try:
            self._stack.callback(self.runner.stop)
            # before the nodes: they have met our clients long before the first call, whose answer would get lost else
            self.session = Session(f"watch_{os.getpid()}", self._check, options.namespace, self._graph.mission)
            self._stack.enter_context(self.session)
            self._spool = ImageSpool(self._out / "images.tmp", self._say)
            self._stack.callback(self._spool.close)
            cameras = self._contract.view_names if self._images else ()
            self.recorder = Recorder(self.session.node, cameras, self.base_frame, self._spool)
            self.runner.start(lambda node: self._say(f"ready: {node}"))
            self.latency = LatencyWatch(options.link)
            self._stack.callback(self.latency.close)
            self.session.wait_until(lambda: self.recording.clock_ns > 0, "/clock")
            self.session.wait_until(lambda: self.recorder.free, "a safety monitor that lets the robot move")
            if not options.namespace:
                self.session.check_alone([node.name for node in self._graph.nodes])
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def base_frame(self) -> str:
        """Of the robot."""
        return str(load_yaml(config_path("robots", self._graph.options.robot))["base_frame"])

    @property
    def recording(self) -> Recording:
        """What has been seen so far."""
        return self.recorder.recording

    def carry_out(self, instruction: str, timeout_s: float, on_stage: Callable[[str, str], None]) -> Run:
        """Send an instruction, wait for the mission's end, ask the judge.

        Args:
            instruction: What to do.
            timeout_s: On the ROS clock; 0: the mission's default.
            on_stage: Called with the name of each new stage and the sub-task in words.

        Raises:
            GraphError: a node died, or the clock stands still.
        """
        self.session.wait_for_mission()
        self._wait_for_sight()
        recording = self.recording
        recording.stages.clear()
        progress = 0.0

        def on_feedback(feedback: ExecuteInstruction.Feedback) -> None:
            nonlocal progress
            progress = max(progress, float(feedback.progress))
            if not recording.stages or recording.stages[-1].stage != feedback.stage:
                recording.stages.append(StageTrace(feedback.stage, recording.clock_ns, time.monotonic_ns()))
                on_stage(feedback.stage, feedback.subtask)

        self._moved = (-1, 0.0)
        limits_before = self.latency.limit_counts()
        start_ns, monotonic_ns = recording.clock_ns, time.monotonic_ns()
        result = self.session.execute(instruction, timeout_s, on_feedback)
        monotonic_end_ns, truth = time.monotonic_ns(), self.session.judge()
        span = Span(start_ns, start_ns + round(result.duration_s * NS), monotonic_ns, monotonic_end_ns)
        # what the servo said of the last moments may still be under way, on a busy machine above all
        self.session.wait_until(
            lambda: bool(recording.controls) and recording.controls[-1].stamp_ns >= span.end_ns,
            "control_state to the end",
        )
        latencies = self.latency.image_to_torque_ms(start_ns)
        summary = summarise(recording, span, self.latency.captured_ns, latencies, limits_before)
        return Run(result, truth, summary, progress, span, latencies)

    def _wait_for_sight(self) -> None:
        """Until what the robot sees now is observed, or for `_SIGHT_S`: no goal depends on it, but its repetition does.

        A world in lockstep stands still at the frame before the goal. An observation of that frame that is made only
        after the goal carries its instruction, so it is answered, and the run is another one than if the frame after it
        had been the first.
        """
        deadline = time.monotonic() + _SIGHT_S
        after_ns = round(self.session.judge()["stamp_s"] * NS) - round(NS / self._contract.rate_hz)
        made = self.recording.observations_ns
        self.session.wait_until(
            lambda: (bool(made) and made[-1] > after_ns) or time.monotonic() > deadline,
            "an observation of the scene before a goal",
        )
        if time.monotonic() > deadline:
            self._say(f"no observation of the scene for {_SIGHT_S:g} s; the goal goes out, but the run may not repeat")

    def stay(self) -> None:
        """Keep the graph up, without recording, until Ctrl-C.

        Raises:
            GraphError: a node died.
        """
        self.recorder.enabled = False
        with suppress(KeyboardInterrupt):
            while True:
                self.runner.check()
                time.sleep(0.2)

    def _check(self) -> None:
        self.runner.check()
        clock_ns, now_s = self.recording.clock_ns, time.monotonic()
        if clock_ns != self._moved[0]:
            self._moved = (clock_ns, now_s)
        elif now_s - self._moved[1] > _STALL_S:
            raise GraphError(
                f"a clock that has stood at {clock_ns / NS:.2f} s for {_STALL_S:g} s", "simulated time to pass",
                f"see {self.runner.log('sim_node')}",
            )  # fmt: skip
