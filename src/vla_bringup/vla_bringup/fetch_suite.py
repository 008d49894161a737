"""`./vla eval --suite fetch`: whole missions in flats that nothing was trained on, each in a graph of its own."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from std_msgs.msg import String

from vla_bringup import machine
from vla_bringup.core.fetch_scores import COVERED_S, FetchScore, summary
from vla_bringup.core.floor_picture import write_floor_picture
from vla_bringup.core.recording import StageTrace
from vla_bringup.floor_watch import FloorWatch
from vla_bringup.graph import GraphOptions, simulated_graph
from vla_bringup.results import markdown_table, publish, save, table
from vla_bringup.statistics import rounded
from vla_bringup.watched import Run, WatchedGraph, new_link
from vla_core.errors import ConfigError
from vla_core.types import NS
from vla_msgs.msg import ControlState
from vla_navigation.core.approach.reach_map import ReachMap
from vla_navigation.core.fetch.progress import STAGES
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.core.skills.ports import in_base
from vla_navigation.reach_table import table_path
from vla_ros.qos import subscription
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
            score, course = play(seed, args.policy, args.out / f"flat_{seed}")
            save(args.out, part.stem, {"revision": revision, "score": asdict(score), "course": course})
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


def play(seed: int, policy: str, out: Path) -> tuple[FetchScore, list[dict[str, Any]]]:
    """One mission in the flat of a seed, and its course (see `Course`).

    Args:
        policy: Preset that moves the arm; '': the scene's.
        out: Folder for the logs of its nodes, and for `map.png`: what the robot came to know of the flat.

    Raises:
        VlaError: a graph that breaks.
    """
    options = GraphOptions.of_scene("flat", seed=seed, split=SPLIT, link=new_link())
    options = replace(options, policy=policy) if policy else options
    plan = draw_plan(seed, SPLIT)
    with WatchedGraph(simulated_graph(options), out, print, images=False) as graph:
        before, course = graph.session.judge(), Course(graph.session.node)
        floor = FloorWatch(graph.session.node, graph.base_frame)
        done = graph.carry_out(plan.errand.instruction, 0.0, lambda stage, subtask: None)
        stages = list(graph.recording.stages)
    rows = course.rows(stages, done.truth)
    write_floor_picture(out / "map.png", floor.record, plan.errand.instruction)
    driven_m = float(done.truth["driven_m"]) - float(before["driven_m"])
    reach = ReachMap.load(table_path(options.robot))
    return score(plan, done, stages, driven_m, rows, reach), rows


class Course:
    """What was true once a second and what the mission was about, to see afterwards why it ended as it did.

    Args:
        node: Who hears of it.
    """

    def __init__(self, node: Node) -> None:
        self._truths: list[dict[str, Any]] = []
        self._width_m: float | None = None
        self._seen_m2 = 0.0
        node.create_subscription(String, "sim_node/debug/ground_truth", self._on_truth, 1)
        subscription(node, "control_state", ControlState, self._on_state)
        subscription(node, "explorer_node/seen", OccupancyGrid, self._on_seen)

    def rows(self, stages: Sequence[StageTrace], end: dict[str, Any]) -> list[dict[str, Any]]:
        """Stamp [s], stage, base (x, y, yaw) and target (x, y, z) in the world, whether the target is in the hand, how
        far apart the fingers are [m], and how much a camera has seen, fronts of obstacles included [m^2]; the last row
        is the end."""
        rows = [self._row(truth) for truth in [*self._truths, end | self._told()]]
        for row in rows:
            begun = [stage.stage for stage in stages if stage.stamp_ns <= row["stamp_s"] * NS]
            row["stage"] = begun[-1] if begun else None
        return rows

    def _on_truth(self, message: String) -> None:
        truth = json.loads(message.data)
        if not self._truths or truth["stamp_s"] >= self._truths[-1]["stamp_s"] + 1.0:
            self._truths.append(truth | self._told())

    def _on_state(self, message: ControlState) -> None:
        self._width_m = rounded(message.gripper_width[0]) if message.gripper_width else None

    def _on_seen(self, message: OccupancyGrid) -> None:
        cells = np.frombuffer(message.data, np.int8)
        self._seen_m2 = rounded(float(np.count_nonzero(cells == 0)) * message.info.resolution**2)

    def _told(self) -> dict[str, Any]:
        return {"width_m": self._width_m, "seen_m2": self._seen_m2}

    @staticmethod
    def _row(truth: dict[str, Any]) -> dict[str, Any]:
        target = truth["target"]
        return {
            "stamp_s": truth["stamp_s"],
            "base": [rounded(x) for x in truth["base"]],
            "target": [rounded(x) for x in target["place"]],
            "held": target["held"],
            "width_m": truth["width_m"],
            "seen_m2": truth["seen_m2"],
        }


def score(
    plan: FlatPlan, done: Run, stages: Sequence[StageTrace], driven_m: float, rows: Sequence[dict[str, Any]],
    reach: ReachMap,
) -> FetchScore:  # fmt: skip
    """What a mission was like.

    Args:
        plan: Of the flat. done: The mission. stages: In the order in which they began.
        driven_m: Way of the base.
        rows: Its course, see `Course`.
        reach: Of the arm.
    """
    furthest = STAGES[round(done.progress * (len(STAGES) - 1))]
    if done.result.success:
        furthest = STAGES[-1]
    found_ns = [s.stamp_ns for s in stages if s.stage == "approach"]
    before = _then(rows, stages, "recognise")
    home = _then(rows, stages, "drive")
    thing_m = None if before is None else in_base(np.array(before["target"]), np.array(before["base"]))
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
        before_m=None if thing_m is None else math.hypot(*thing_m[:2]),
        approach_error_m=None if thing_m is None else reach.error_m(thing_m),
        held=home is not None and bool(home["held"]),
        covered=tuple(_covered(rows, done.span.start_ns / NS + time_s, _floor_m2(plan)) for time_s in COVERED_S),
        real_time_factor=done.span.sim_s / done.span.wall_s,
    )


def _then(rows: Sequence[dict[str, Any]], stages: Sequence[StageTrace], stage: str) -> dict[str, Any] | None:
    """The first row since a stage began for the last time; None if it never did."""
    begun_s = [s.stamp_ns / NS for s in stages if s.stage == stage]
    return next((row for row in rows if begun_s and row["stamp_s"] >= begun_s[-1]), None)


def _covered(rows: Sequence[dict[str, Any]], stamp_s: float, floor_m2: float) -> float | None:
    """Share of the floor that had been seen by then; None after the end."""
    seen = [row["seen_m2"] for row in rows if row["stamp_s"] <= stamp_s]
    return min(1.0, seen[-1] / floor_m2) if seen and rows[-1]["stamp_s"] >= stamp_s else None


def _floor_m2(plan: FlatPlan) -> float:
    """Floor of a flat that nothing stands on."""
    return sum(room.rect.area for room in plan.floor.rooms) - sum(placed.rect.area for placed in plan.furniture)


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
    return FetchScore(**values | {name: tuple(values[name]) for name in ("contacts_n", "covered")})
