"""`vla bench line`: how fast a picture becomes torque, how punctual the servo is, and what each process costs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_bringup.bench import c_loop, servo
from vla_bringup.bench.cpu import CpuShares
from vla_bringup.graph import SHIPPED, Graph, GraphOptions, NodeSpec, simulated_graph
from vla_bringup.jobs import process_jobs
from vla_bringup.statistics import rounded, spread
from vla_bringup.watched import WatchedGraph, new_link
from vla_core.errors import GraphError

CONDITIONS = "2 × 640×480 at 30 Hz"
INSTRUCTION = "put the red cube in the blue bowl"
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench line`."""
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each part (default 20)")
    parser.add_argument("--policy", default=SHIPPED, help="policy preset that answers")
    parser.add_argument("--priority", type=int, default=80, help="SCHED_FIFO priority of the loops; 0: none")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--seconds", f"{args.seconds:g}", "--policy", args.policy, "--priority", f"{args.priority}"]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """All rows of `docs/results/line.json`.

    Args:
        args: Of `add_arguments`, and `out`: folder for logs.
        say: Takes progress lines.

    Raises:
        VlaError: a part can't run.
    """
    say(f"observation path, {args.seconds:g} s")
    rows = [_observation(args.seconds)]
    say(f"servo and C loop, {args.seconds:g} s each")
    rows += _servo(args.seconds, args.priority)
    say(f"the whole line in real time, {args.seconds:g} s")
    return rows + _line(args.out, args.policy, args.seconds, say)


def _observation(seconds: float) -> Row:
    from vla_perception.bench_observation import measure as measure_observation

    found = measure_observation(seconds)
    row = {"measure": "capture to observation", "conditions": CONDITIONS, "unit": "ms", "n": found["n"]}
    row |= {name: found[f"{name}_ms"] for name in ("p50", "p95", "p99", "max")}
    return row | {"drops": found["drops"], "frames_lost": found["frames_lost"]}


def _servo(seconds: float, priority: int) -> list[Row]:
    found = servo.measure(seconds, priority)
    period_s, granted = found["period_s"], found["fifo_priority"]
    scheduler = f"SCHED_FIFO {granted}" if granted else "normal scheduler"
    where = f"{1.0 / period_s:g} Hz, alone, {scheduler}"
    c = spread(c_loop.wake_us(period_s, round(seconds / period_s), granted))
    return [
        {"measure": "servo tick, compute", "conditions": where, "unit": "µs", **found["tick_us"]},
        {"measure": "servo wake-up latency", "conditions": where, "unit": "µs", **found["wake_us"]},
        {"measure": "C loop wake-up latency", "conditions": where, "unit": "µs", **c},
    ]


def bench_graph(options: GraphOptions) -> Graph:
    """The graph with bench_cameras_node in place of camera_node."""
    graph = simulated_graph(options)
    overrides = {name: graph.node("camera_node").overrides[name] for name in ("scene", "link")}
    cameras = NodeSpec(
        name="bench_cameras_node", package="vla_bringup", executable="bench_cameras_node", layer="sim",
        parameter_file="bench.yaml", overrides={"use_sim_time": graph.options.use_sim_time, **overrides},
    )  # fmt: skip
    return replace(graph, nodes=tuple(cameras if node.name == "camera_node" else node for node in graph.nodes))


def _line(out: Path, policy: str, seconds: float, say: Callable[[str], None]) -> list[Row]:
    options = GraphOptions(policy=policy, lockstep=False, link=new_link(), instruction=INSTRUCTION)
    graph = bench_graph(options)
    with WatchedGraph(graph, out, say, images=False, make_jobs=process_jobs) as watched:
        begin_ns, cpu = watched.recording.clock_ns, CpuShares(watched.runner.pids)
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.5:
            result = watched.carry_out(INSTRUCTION, left_s, lambda stage, subtask: None).result
            if result.error_code not in ("", "timeout"):
                raise GraphError(f"'{result.message}'", "a line that runs", f"see {out / 'logs'}")
        shares = cpu.shares()
        latencies = watched.latency.image_to_torque_ms(begin_ns)
        inference = [1e3 * chunk.inference_s for chunk in watched.recording.chunks if chunk.stamp_ns >= begin_ns]
        status = watched.latency.status()
    where = f"{CONDITIONS}, real time, {policy}"
    rows = [
        {"measure": "image to torque", "conditions": where, "unit": "ms", **spread(latencies)},
        {"measure": "inference", "conditions": where, "unit": "ms", **spread(inference)},
        {"measure": "servo tick, compute, last second", "conditions": where, "unit": "µs", "n": 1000,
         "p50": rounded(float(status["tick_us_p50"][0])), "p99": rounded(float(status["tick_us_p99"][0]))},
        {"measure": "servo wake-up latency, last second", "conditions": where, "unit": "µs", "n": 1000,
         "p99": rounded(float(status["wake_us_p99"][0]))},
    ]  # fmt: skip
    return rows + [
        {"measure": f"CPU share of {name}", "conditions": where, "unit": "cores", "mean": rounded(share, 3)}
        for name, share in shares.items()
    ]
