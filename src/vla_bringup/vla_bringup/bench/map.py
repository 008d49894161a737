"""`vla bench map`: what the semantic map knows of unknown flats after some looks; with two views, and with one.

The robot stands at drawn places of flats that nothing was trained on; where it believes to be errs as its SLAM does.
Only things that the camera could have shown twice count as missed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from vla_bringup.statistics import quantiles, rounded, spread, wilson
from vla_core import rotations
from vla_core.files import load_yaml, workspace_root
from vla_core.types import NS, Float64
from vla_navigation.core.semantic_map.find import Finder
from vla_navigation.core.semantic_map.instance import Instance
from vla_navigation.core.semantic_map.map import SemanticMap, SemanticMapParameters
from vla_navigation.core.semantic_map.views import Detection, View
from vla_navigation.core.task.meaning import Noun
from vla_navigation.sentences import embed
from vla_perception.core.detector.flat import FlatDetector
from vla_perception.core.detector.registry import shipped_weights
from vla_sim.core.flat import truth
from vla_sim.core.flat.plan import draw_plan
from vla_sim.core.flat.poses import PoseDrawer
from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.things import CATEGORIES
from vla_sim.core.flat.views import labels_of
from vla_sim.core.flat.world import FlatWorld

_FIRST_SEED, _SPLIT = 700, "heldout_flat"
_NEAR_M = 0.25  # from a true thing: an object of the map is that thing
_PLACE_M, _TURN_RAD = 0.01, 0.005  # of the believed camera, per axis: what `bench slam` measures
_VIEW_NS = NS // 2
_OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's camera looks along -z, y up
_BELIEFS = ("confirmed by two views", "anything seen once")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lying:
    """A thing that lies in the flat: what it is, where (2,) [m], and in how many pictures it was clear."""

    category: str
    colour: str
    place_m: Float64
    views: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the map says of a flat: (category, colour, place (2,) [m]) of each object, for each way to believe it.

    Attributes:
        answers: For each thing that is the only one of its kind: whether the likeliest answer to its name is it.
        detect_ms, update_ms: CPU time per picture.
    """

    objects: dict[str, list[tuple[str, str, Float64]]]
    things: list[Lying]
    answers: list[bool]
    detect_ms: list[float]
    update_ms: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench map`."""
    parser.add_argument("--flats", type=int, default=12, help="flats (default 12)")
    parser.add_argument("--views", type=int, default=60, help="looks at each (default 60)")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--flats", f"{args.flats}", "--views", f"{args.views}"]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """One row per way to believe the same maps."""
    world, detector = FlatWorld(), FlatDetector(shipped_weights())
    cameras, poses = RgbdCameras(world), PoseDrawer(world)
    learn(world, cameras, poses, detector, _FIRST_SEED - 1, 3)  # compiles
    known = []
    for seed in range(_FIRST_SEED, _FIRST_SEED + args.flats):
        known.append(learn(world, cameras, poses, detector, seed, args.views))
        say(f"flat {seed}: {len(known[-1].things)} things, {len(known[-1].objects[_BELIEFS[0]])} confirmed")
    cameras.close()
    return [{"believed": belief, **summarise(known, belief)} for belief in _BELIEFS]


def learn(
    world: FlatWorld, cameras: RgbdCameras, poses: PoseDrawer, detector: FlatDetector, seed: int, views: int
) -> Known:
    """Look at one flat from drawn places."""
    rng = np.random.default_rng([seed, 71])
    world.place(draw_plan(seed, _SPLIT))
    poses.enter()
    given = load_yaml(workspace_root() / "config" / "navigation.yaml")["/**/semantic_map_node"]["ros__parameters"]
    params = SemanticMapParameters(**{f.name: given[f.name] for f in fields(SemanticMapParameters)})
    made = SemanticMap(detector.classes, detector.colours, params)
    seen = np.zeros(len(world.plan.things), int)
    detect_ms, update_ms = [], []
    for k in range(views):
        poses.front(rng)
        image, depth = cameras.rgb("front").copy(), cameras.depth("front")
        for label in labels_of(world, cameras.geoms("front")):
            seen[_same(world, label.name, label.colour)] += label.clear and bool(label.colour)
        believed = _believed(world, rng)
        view = View((k + 1) * _VIEW_NS, depth, cameras.intrinsics("front"), believed, float(given["range_m"]))
        begin_ns = time.thread_time_ns()
        found = detector.detect(image)
        between_ns = time.thread_time_ns()
        made.update(view, [Detection(d.box, d.score, d.classes, d.colours, getattr(d, "mask", None)) for d in found])
        detect_ms.append((between_ns - begin_ns) * 1e-6)
        update_ms.append((time.thread_time_ns() - between_ns) * 1e-6)
    things = [
        Lying(t.category, t.colour, truth.thing_position(world, k)[:2].copy(), int(seen[k]))
        for k, t in enumerate(world.plan.things)
    ]
    finder = Finder(made, embed, lambda thing: "")
    alone = [t for t in things if t.views >= 2 and _count(things, t) == 1]
    answers = [_right(finder.find(Noun(name=t.category, colour=t.colour, kind="thing")), t) for t in alone]
    believed_by = {
        _BELIEFS[0]: [thing for thing in made.objects.values() if made.confirmed(thing)],
        _BELIEFS[1]: list(made.objects.values()),
    }
    objects = {belief: _named(made, kept) for belief, kept in believed_by.items()}
    return Known(objects, things, answers, detect_ms, update_ms)


def summarise(known: list[Known], belief: str) -> Row:
    """Numbers of one row."""
    right, claimed, errors, coloured, found, there = 0, 0, [], 0, 0, 0
    for flat in known:
        objects = flat.objects[belief]
        claimed += len(objects)
        for category, colour, place in objects:
            near = [t for t in flat.things if t.category == category and np.hypot(*(t.place_m - place)) < _NEAR_M]
            right += bool(near)
            if near:
                best = min(near, key=lambda t: float(np.hypot(*(t.place_m - place))))
                errors.append(float(np.hypot(*(best.place_m - place))))
                coloured += best.colour == colour
        for thing in (t for t in flat.things if t.views >= 2):
            there += 1
            found += any(c == thing.category and np.hypot(*(p - thing.place_m)) < _NEAR_M for c, _, p in objects)
    low, high = wilson(found, there)
    answers = [answer for flat in known for answer in flat.answers]
    return {
        "flats": len(known), "n": there, "found": rounded(found / there), "ci_low": rounded(low),
        "ci_high": rounded(high), "claimed": claimed, "precision": rounded(right / max(1, claimed)),
        "colour_right": rounded(coloured / max(1, right)),
        **{f"error_m_{name}": value for name, value in quantiles(errors or [float("nan")], ("p50", "p95")).items()},
        "asked": len(answers), "answered_right": rounded(float(np.mean(answers))),
        **{f"detect_ms_{k}": v for k, v in spread([ms for flat in known for ms in flat.detect_ms]).items()},
        **{f"update_ms_{k}": v for k, v in spread([ms for flat in known for ms in flat.update_ms]).items() if k != "n"},
    }  # fmt: skip


def _same(world: FlatWorld, category: str, colour: str) -> list[int]:
    """Numbers of the things that are such."""
    return [k for k, t in enumerate(world.plan.things) if (t.category, t.colour) == (category, colour)]


def _count(things: list[Lying], one: Lying) -> int:
    return sum((t.category, t.colour) == (one.category, one.colour) for t in things)


def _right(found: list[Any], thing: Lying) -> bool:
    return bool(found) and bool(np.hypot(*(found[0].thing.position_m[:2] - thing.place_m)) < _NEAR_M)


def _named(made: SemanticMap, kept: list[Instance]) -> list[tuple[str, str, Float64]]:
    """Of the objects those that are things rather than furniture."""
    out = []
    for one in kept:
        category = made.classes[int(one.class_probability.argmax())]
        if category in CATEGORIES:
            colour = made.colours[int(one.colour_probability.argmax())]
            out.append((category, colour, one.position_m[:2]))
    return out


def _believed(world: FlatWorld, rng: np.random.Generator) -> Float64:
    """(4,4) of the front camera's optical frame where the robot believes it to be."""
    camera, out = world.data.camera("front"), np.eye(4)
    turn = rotations.to_matrix(rotations.from_rotvec(np.array([0.0, 0.0, rng.normal(0.0, _TURN_RAD)])))
    out[:3, :3] = turn @ camera.xmat.reshape(3, 3) @ _OPTICAL
    out[:3, 3] = camera.xpos + np.append(rng.normal(0.0, _PLACE_M, 2), 0.0)
    return out
