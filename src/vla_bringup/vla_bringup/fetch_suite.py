"""`./vla eval --suite fetch`: whole missions in flats that nothing was trained on, each in a graph of its own."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_bringup import machine
from vla_bringup.core.fetch_scores import FetchScore, summary
from vla_bringup.core.recording import StageTrace
from vla_bringup.graph import GraphOptions, simulated_graph
from vla_bringup.results import markdown_table, publish, save, table
from vla_bringup.watched import Run, WatchedGraph, new_link
from vla_core.errors import ConfigError
from vla_core.types import NS
from vla_navigation.core.fetch.progress import STAGES
from vla_navigation.core.nav.travel import travel_field
from vla_sim.core.flat.free_space import CELL_M, ROBOT_M, FreeSpace
from vla_sim.core.flat.plan import FlatPlan, draw_plan

NAME = "fetch"
SPLIT = "heldout_flat"
_REACH_M = 0.5  # of the arm, from the middle of the base


def run(args: argparse.Namespace, first_seed: int) -> int:
    """Play missions, a row each, and write what is known after every one: interrupted, the same command goes on.

    Args:
        args: Of `vla eval`.
        first_seed: Where seeds begin by default.

    Returns:
        0 when all were played, however they ended.

    Raises:
        ConfigError: fewer than one mission.
        VlaError: a graph that breaks.
    """
    episodes = 50 if args.episodes is None else args.episodes
    if episodes < 1:
        raise ConfigError(f"{episodes} episodes", "at least 1", "give --episodes")
    revision, scores = machine.exact_revision(), []
    for seed in range(args.seed, args.seed + episodes):
        part = args.out / f"{NAME}_{seed}.json"
        score = _known(part, revision)
        if score is None:
            score, truth = play(seed, args.policy, args.out / f"flat_{seed}")
            save(args.out, part.stem, {"revision": revision, "score": asdict(score), "truth": truth})
        scores.append(score)
        verdict = "ok  " if score.success else f"FAIL at {score.stage}, {score.code or 'said to be done'}"
        won = sum(s.success for s in scores)
        print(f"{len(scores):3d}/{episodes} {verdict} {won / len(scores):5.1%}  {score.instruction}", flush=True)
    words = ["./vla", "eval", "--suite", NAME, "--episodes", str(episodes)]
    words += ["--seed", str(args.seed)] if args.seed != first_seed else []
    whole = summary(scores)
    content = table(shlex.join([*words, "--publish"]), [score.row() for score in scores]) | {"summary": whole}
    save(args.out, "result", {"success": True, **content})
    if args.publish:
        publish(NAME, content)
    print(markdown_table(whole))
    return 0


def play(seed: int, policy: str, out: Path) -> tuple[FetchScore, dict[str, Any]]:
    """One mission in the flat of a seed, and what was true at its end (`vla_sim.core.flat.truth.facts`).

    Args:
        policy: Preset that moves the arm; '': the scene's.
        out: Folder for the logs of its nodes.

    Raises:
        VlaError: a graph that breaks.
    """
    options = GraphOptions.of_scene("flat", seed=seed, split=SPLIT, link=new_link())
    options = replace(options, policy=policy) if policy else options
    plan = draw_plan(seed, SPLIT)
    with WatchedGraph(simulated_graph(options), out, print, images=False) as graph:
        before = graph.session.judge()
        done = graph.carry_out(plan.errand.instruction, 0.0, lambda stage, subtask: None)
        stages = list(graph.recording.stages)
    driven_m = float(done.truth["driven_m"]) - float(before["driven_m"])
    return score(plan, done, stages, driven_m), done.truth


def score(plan: FlatPlan, done: Run, stages: list[StageTrace], driven_m: float) -> FetchScore:
    """What a mission was like.

    Args:
        plan: Of the flat. done: The mission. stages: In the order in which they began.
        driven_m: Way of the base.
    """
    furthest = STAGES[round(done.progress * (len(STAGES) - 1))]
    if done.result.success:
        furthest = STAGES[-1]
    found_ns = [s.stamp_ns for s in stages if s.stage == "approach"]
    return FetchScore(
        seed=plan.seed,
        family=plan.errand.family,
        instruction=plan.errand.instruction,
        success=bool(done.truth["success"]),
        reported_success=done.result.success,
        code=done.result.error_code,
        stage=furthest,
        find_s=(found_ns[0] - done.span.start_ns) / NS if found_ns else None,
        duration_s=done.result.duration_s,
        driven_m=driven_m,
        shortest_m=shortest_m(plan),
        contacts_n=tuple(float(contact["force_n"]) for contact in done.truth["collisions"]),
        real_time_factor=done.span.sim_s / done.span.wall_s,
    )


def shortest_m(plan: FlatPlan) -> float:
    """Length of the shortest way from the start to where the arm gets to the thing, and back [m].

    Raises:
        AssertionError: there is none; generated flats have one.
    """
    space = FreeSpace(plan.floor)
    space.take([placed.rect for placed in plan.furniture])
    cost = np.where(space.clearance() > ROBOT_M, 1.0, np.inf).astype(np.float32)
    ways = travel_field(cost, *space.cell(*plan.start[:2]), CELL_M)
    y, x = (np.indices(ways.shape) + 0.5) * CELL_M
    near = ways[np.hypot(x - plan.target.x, y - plan.target.y) < _REACH_M]
    assert near.size and np.isfinite(near.min()), f"no way to the {plan.target.name} of flat {plan.seed}"
    return 2.0 * float(near.min())


def _known(path: Path, revision: str | None) -> FetchScore | None:
    """A mission that this very code has played; `revision` None may stand for other code."""
    if revision is None or not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.get("revision") != revision:
        return None
    values = content["score"]
    return FetchScore(**values | {"contacts_n": tuple(values["contacts_n"])})
