"""`vla demo`: the node graph in simulation carries one instruction out; numbers, film and plot of it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from vla_bringup import machine
from vla_bringup.commands.view import console_url
from vla_bringup.core.floor_picture import write_floor_picture
from vla_bringup.core.plot import write_plot
from vla_bringup.core.video import write_video
from vla_bringup.floor_watch import FloorWatch
from vla_bringup.graph import Graph, GraphOptions, simulated_graph
from vla_bringup.jobs import Job, jobs
from vla_bringup.results import save
from vla_bringup.statistics import rounded
from vla_bringup.watched import Run, WatchedGraph, new_link
from vla_policy.core.preset import load_preset

#: Keys of result.json, in order.
KEYS = (
    "success", "instruction", "stages", "wall_s", "sim_s", "real_time_factor", "observation_hz", "chunk_hz",
    "inference_ms", "image_to_torque_ms", "dropped_frames", "starved_s", "limits_hit", "max_jerk",
    "max_contact_force_n", "reported_success", "seed", "policy", "machine",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla demo`."""
    known = GraphOptions.describe()
    parser.add_argument("--seed", type=int, default=0, help="decides everything that is random (default 0)")
    parser.add_argument("--instruction", default="", help="what to do, in plain English (default: drawn by the seed)")
    parser.add_argument("--policy", default=known["policy"][0], help=known["policy"][1])
    parser.add_argument("--strategy", default=known["strategy"][0], help=known["strategy"][1])
    parser.add_argument("--scene", default=known["scene"][0], help=known["scene"][1])
    parser.add_argument("--detector", default=known["detector"][0], help=known["detector"][1])
    parser.add_argument("--timeout", type=float, default=0.0, help="simulated seconds to give up after")
    parser.add_argument("--realtime", action="store_true", help="follow the wall clock; default: lockstep")
    parser.add_argument("--viewer", action="store_true", help="serve the live console in the browser meanwhile")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 only if the judge, who looks from outside the stack, says that it succeeded.

    Raises:
        VlaError: an unknown name, an instruction that no scene can be built for, or a graph that breaks.
    """
    _check_instruction(args.scene, args.instruction)
    options = GraphOptions.of_scene(
        args.scene, policy=args.policy, strategy=args.strategy, seed=args.seed, instruction=args.instruction,
        lockstep=not args.realtime, link=new_link(), detector=args.detector,
    )  # fmt: skip
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)

    out: Path = args.out
    make_jobs = _jobs_with_console if args.viewer else jobs
    nodes = simulated_graph(options)
    args.policy = nodes.options.policy
    if (preset := load_preset(args.policy)).weights:
        preset.weights_path()  # one sentence here instead of a node that dies
    with WatchedGraph(nodes, out, say, make_jobs=make_jobs) as graph:
        if args.viewer:
            say(f"console: {console_url()}")
        floor = _floor_watch(graph) if nodes.mission == "fetch" else None
        instruction = args.instruction or str(graph.session.judge()["instruction"])
        say(f"instruction: {instruction}")
        done = graph.carry_out(instruction, args.timeout, lambda stage, subtask: say(f"{stage} {subtask}".strip()))
        result = _result(done, instruction, args)
        save(out, "result", result)
        save(out, "truth", done.truth)
        if args.viewer:
            say("the console stays open for more instructions; Ctrl-C ends it")
            graph.stay()
        report = graph.runner.stop()  # the film needs the processor
        say("writing video.mp4 and plot.png")
        drawn = True
        try:
            write_video(
                out / "video.mp4", graph.recording, graph.recorder.cameras, graph.recorder.camera_model, instruction
            )
            write_plot(out / "plot.png", graph.recording, done.span.start_ns, done.image_to_torque_ms, instruction)
            if floor is not None and write_floor_picture(out / "map.png", floor.record, instruction):
                say("wrote map.png")
        except OSError as error:  # a full disk, most likely; what the robot did stands in result.json
            drawn = False
            say(f"no film or no plot: {error.strerror}")
    if report.left_middleware:
        say(f"DDS didn't let go of {', '.join(report.left_middleware)}, which had cleaned up and ended without it")
    if not report.clean:
        say(f"shutdown was not clean: {report}")
    say(done.result.message)
    verdict = "success" if result["success"] else "NO SUCCESS"
    say(f"{verdict}: {instruction}; {result['sim_s']} s simulated in {result['wall_s']} s; see {out / 'result.json'}")
    return 0 if result["success"] and drawn else 1


def _floor_watch(graph: WatchedGraph) -> FloorWatch:
    return FloorWatch(graph.session.node, graph.base_frame)


def _jobs_with_console(graph: Graph) -> list[Job]:
    from vla_bringup.console.job import console_job

    return [*jobs(graph), console_job(graph.options)]


def _check_instruction(scene: str, text: str) -> None:
    """Refuse what the scene can't be built for before anything starts."""
    if text:
        from vla_sim.core.suites import suite_of

        suite_of(scene).parse(text)


def _result(done: Run, instruction: str, args: argparse.Namespace) -> dict[str, Any]:
    values = {
        "success": bool(done.truth["success"]),
        "instruction": instruction,
        **done.summary,
        "max_contact_force_n": rounded(float(done.truth["max_contact_force_n"])),
        "reported_success": done.result.success,
        "seed": args.seed,
        "policy": args.policy,
        "machine": machine.describe(),
    }
    return {key: values[key] for key in KEYS}
