"""Make demonstrations: scripted experts with noise in the execution and clean labels, in parallel, seeded.

    python -m vla_sim.generate --out data/tabletop --episodes 1200 --workers 2

Each shard holds some episodes' frames as one .npz; `vla_policy.training.dataset` documents the keys.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vla_core.contract import load_contract
from vla_core.errors import PolicyError, UnknownNameError
from vla_core.types import NS, Float32, Observation
from vla_sim.core import labels
from vla_sim.core.flat import labels as flat_labels
from vla_sim.core.flat.hand_stills import pose_hand
from vla_sim.core.flat.hand_world import HandWorld
from vla_sim.core.flat.things import CATEGORIES
from vla_sim.core.flat.things import COLOURS as THING_COLOURS
from vla_sim.core.labels import MAX_OBJECTS, Labels
from vla_sim.core.rig import Rig
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.stills import pose_still
from vla_sim.core.tasks import COLOURS, SHAPES

FRAME_S = 0.1
_STILLS_PER_SHARD = 1024  # small enough that all workers are done at about the same time
_RAD_PER_M = 2.5  # of the SO-101, about half of what 1 m is: with all of it half of the episodes fail
#: Policy that acts instead of the expert (labels stay the expert's): Observation → chunk (T,A).
Actor = Callable[[Observation], Float32]


class Disturbance:
    """Noise in what is executed: a slow drift, rare kicks, rare flips of the gripper.

    Args:
        rng: Decides it.
        moved: Columns of an action that drift; the gripper's is the last.
        unit: What a metre of the tool is there.
        least: Below this nothing is commanded in the third column.
    """

    def __init__(self, rng: np.random.Generator, moved: int = 3, unit: float = 1.0, least: float = 0.014) -> None:
        self._rng, self._moved, self._unit, self._least = rng, moved, unit, least
        self._scale = unit * float(rng.choice([0.0, 0.008, 0.02], p=[0.3, 0.4, 0.3]))
        self._drift = np.zeros(moved)

    def __call__(self, chunk: Float32) -> Float32:
        """Disturbed copy of a chunk (T,A)."""
        out, moved = chunk.copy(), slice(self._moved)
        if self._scale == 0.0:
            return out
        self._drift = 0.7 * self._drift + 0.7 * self._rng.normal(0, self._scale, self._moved)
        out[:, moved] += self._drift
        if self._rng.random() < 0.06:
            out[:, moved] += self._unit * self._rng.normal(0, 0.035, self._moved)
        if self._rng.random() < 0.03:
            out[:, -1] = 1.0 - out[:, -1]
        out[:, 2] = np.maximum(out[:, 2], self._least)
        return out


@dataclass(frozen=True, slots=True)
class Teaching:
    """What beside its suite a scene needs for demonstrations.

    Attributes:
        still: Puts the robot of a freshly reset rig somewhere plausible; False when no pose was found.
        label: Where named things are, in space and in the views of the rig's contract.
        roles: Name of the thing in each role of the present task.
        object_names: All names that `label` may give.
        disturbance: Noise of one episode.
    """

    still: Callable[[Rig, np.random.Generator], bool]
    label: Callable[[Rig], Labels]
    roles: Callable[[Rig], tuple[str, ...]]
    object_names: tuple[str, ...]
    disturbance: Callable[[np.random.Generator], Disturbance]


def _tabletop_labels(rig: Rig) -> Labels:
    assert rig.cameras is not None
    return labels.label(rig.table, rig.cameras)


def _hand_labels(rig: Rig) -> Labels:
    assert rig.cameras is not None
    return flat_labels.label(_hand(rig), rig.cameras, rig.contract)


def _hand(rig: Rig) -> HandWorld:
    assert isinstance(rig.world, HandWorld)
    return rig.world


#: By scene; a contract is demonstrated in the scene that names it.
TEACHINGS: Mapping[str, Teaching] = MappingProxyType(
    {
        "tabletop": Teaching(
            still=pose_still,
            label=_tabletop_labels,
            roles=lambda rig: labels.role_names(rig.table),
            object_names=(*(f"{c} {s}" for c in COLOURS for s in (*SHAPES, "bowl")), "drawer", "button"),
            disturbance=Disturbance,
        ),
        "flat": Teaching(
            still=lambda rig, rng: pose_hand(_hand(rig), rng),
            label=_hand_labels,
            roles=lambda rig: flat_labels.roles(_hand(rig)),
            object_names=tuple(f"{colour} {category}" for colour in THING_COLOURS for category in CATEGORIES),
            disturbance=lambda rng: Disturbance(rng, moved=5, unit=_RAD_PER_M, least=-np.inf),
        ),
    }
)


def taught_in(contract: str) -> str:
    """The scene in which a contract is demonstrated.

    Raises:
        UnknownNameError: none.
    """
    for scene in TEACHINGS:
        if load_scene(scene)["contract"] == contract:
            return scene
    known = [str(load_scene(scene)["contract"]) for scene in TEACHINGS]
    raise UnknownNameError("contract with demonstrations", contract, known)


def run_demonstration(
    rig: Rig, seed: int, split: str, family: str, actor: Actor | None = None
) -> dict[str, np.ndarray] | None:
    """One episode's frames; None when it didn't succeed in time and the expert itself acted."""
    rng = np.random.default_rng([seed, 23])
    task, teaching = rig.reset(seed, None, split, family), TEACHINGS[str(rig.world.scene["name"])]
    disturb = teaching.disturbance(rng)
    limit = rig.suite.limit_s(task.family)
    frames: dict[str, list[Any]] = defaultdict(list)
    due, after, start = 0, 0, rig.world.time_ns
    linger = int(rng.integers(6, 14))
    while (rig.world.time_ns - start) / NS < limit and after < linger:
        observation = rig.observation()
        try:
            chunk = rig.suite.clean_chunk(rig.world, rig.contract.horizon, rig.contract.dt_s)
        except PolicyError:  # the expert knows no way from here; what came before is a demonstration all the same
            break
        done = rig.suite.succeeded(rig.world)
        _append(frames, rig, teaching, observation, chunk, done)
        if due <= 0:
            executed = actor(observation) if actor else disturb(chunk)
            rig.execute(executed, observation.stamp_ns)
            due = 4 if actor else int(rng.integers(2, 6))
        due -= 1
        rig.advance(FRAME_S)
        after = after + 1 if done else 0
    if not frames:
        return None
    out = {key: np.array(values) for key, values in frames.items()}
    success = out["success"].astype(bool)
    if not success[-1] and actor is None:
        return None
    until = np.flatnonzero(success)[0] if success.any() else len(success)
    out["progress"] = np.minimum(np.arange(len(success)) / max(until, 1), 1.0).astype(np.float32)
    if not success.any():
        out["progress"] *= 0.5  # a learner's failed episode: how far it was is unknown, but surely not done
    return out


def take_stills(rig: Rig, seed: int, split: str, family: str, count: int) -> dict[str, np.ndarray] | None:
    """`count` labelled single states of one scene; None when no pose could be found."""
    rng, teaching = np.random.default_rng([seed, 29]), TEACHINGS[str(rig.world.scene["name"])]
    frames: dict[str, list[Any]] = defaultdict(list)
    rig.reset(seed, None, split, family)
    fresh = rig.world.snapshot()
    for _ in range(count):
        rig.world.restore(fresh)
        if teaching.still(rig, rng):
            try:
                chunk = rig.suite.clean_chunk(rig.world, rig.contract.horizon, rig.contract.dt_s)
            except PolicyError:  # nothing to learn from here
                continue
            _append(frames, rig, teaching, rig.observation(), chunk, rig.suite.succeeded(rig.world))
    if not frames:
        return None
    out = {key: np.array(values) for key, values in frames.items()}
    out["progress"] = np.full(len(out["success"]), np.nan, np.float32)  # a still has no past
    return out


def _append(
    frames: dict[str, list[Any]], rig: Rig, teaching: Teaching, observation: Observation, chunk: Float32, done: bool
) -> None:
    found, roles = teaching.label(rig), teaching.roles(rig)
    views, k = len(rig.contract.cameras), len(found.names)
    frames["rgb"].append(observation.rgb)
    frames["state"].append(observation.state)
    frames["chunk"].append(chunk)
    frames["success"].append(np.uint8(done))
    uv, visible = np.zeros((views, MAX_OBJECTS, 2), np.float32), np.zeros((views, MAX_OBJECTS), np.uint8)
    xyz, name = np.zeros((MAX_OBJECTS, 3), np.float32), np.full(MAX_OBJECTS, -1, np.int32)
    uv[:, :k], visible[:, :k], xyz[:k] = found.uv, found.visible, found.xyz
    name[:k] = [teaching.object_names.index(n) for n in found.names]
    for key, value in (("obj_uv", uv), ("obj_visible", visible), ("obj_xyz", xyz), ("obj_name", name)):
        frames[key].append(value)
    used = np.array([bool(r) for r in roles], np.uint8)
    where = [found.names.index(r) if r else 0 for r in roles]
    frames["role_used"].append(used)
    frames["role_uv"].append(uv[:, where] * used[:, None])
    frames["role_visible"].append(visible[:, where] * used)
    frames["role_xyz"].append(xyz[where] * used[:, None])


@dataclass(frozen=True, slots=True)
class Job:
    """One shard: its seeds, and how its frames come about."""

    seeds: tuple[int, ...]
    contract: str
    split: str
    out: Path
    stills: int
    policy: str
    weights: str

    @property
    def path(self) -> Path:
        """Where the shard goes."""
        kind = "stills" if self.stills else "own" if self.policy else "episodes"
        return self.out / f"shard_{self.seeds[0]:08d}_{kind}.npz"


def _work(job: Job) -> tuple[int, int, int]:
    rig, actor = _worker(job.contract, job.policy, job.weights)
    families, names = rig.suite.families, TEACHINGS[str(rig.world.scene["name"])].object_names
    instructions: list[str] = []
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    kept = 0
    for seed in job.seeds:
        family = families[seed % len(families)]
        if job.stills:
            episode = take_stills(rig, seed, job.split, family, job.stills)
        else:
            episode = run_demonstration(rig, seed, job.split, family, actor)
        if episode is None:
            continue
        add_episode(columns, instructions, episode, rig.instruction, seed, families.index(family))
        kept += 1
    save_shard(job.path, columns, instructions, names, families)
    return len(job.seeds), kept, sum(len(a) for a in columns["step"])


def add_episode(
    columns: dict[str, list[np.ndarray]], instructions: list[str], episode: dict[str, np.ndarray], text: str,
    seed: int, family: int,
) -> None:  # fmt: skip
    """Append one episode's frames to a shard's columns; `family` is an index."""
    length = len(episode["step" if "step" in episode else "success"])
    if text not in instructions:
        instructions.append(text)
    episode["instruction"] = np.full(length, instructions.index(text), np.int32)
    episode["episode"] = np.full(length, seed, np.int32)
    episode["step"] = np.arange(length, dtype=np.int32)
    episode["family"] = np.full(length, family, np.int32)
    for key, values in episode.items():
        columns[key].append(values)


def save_shard(
    path: Path, columns: dict[str, list[np.ndarray]], instructions: list[str], object_names: Sequence[str],
    families: Sequence[str],
) -> None:  # fmt: skip
    """Write one .npz, whole or not at all."""
    if not columns:
        return
    arrays = {key: np.concatenate(parts) for key, parts in columns.items()}
    lists = {"instructions": instructions, "object_names": object_names, "families": families}
    names = {key: np.array(values) for key, values in lists.items()}
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays, **names)
    temporary.rename(path)


_WORKER: list[tuple[Rig, Actor | None]] = []


def _worker(contract: str, policy: str, weights: str) -> tuple[Rig, Actor | None]:
    """This process's rig and, when a policy is to act, that policy."""
    if not _WORKER:
        _WORKER.append(
            (Rig(load_contract(contract), taught_in(contract)), _actor(contract, policy, weights) if policy else None)
        )
    return _WORKER[0]


def _actor(contract: str, policy: str, weights: str) -> Actor:
    from vla_policy.core.policy import load_policy  # only where a policy acts: it brings torch and OpenVINO

    model = load_policy(policy, load_contract(contract), weights=weights or None)
    return lambda observation: model.predict(observation, observation.stamp_ns % 2**31).actions


def generate(
    out: Path, episodes: int, contract: str = "tabletop_panda", split: str = "train", seed0: int = 0,
    workers: int = 2, stills: int = 0, policy: str = "", weights: str = "",
) -> dict[str, float]:  # fmt: skip
    """Generate `episodes` demonstrations with seeds seed0, seed0 + 1, … into shards; families take turns.

    Shards that lie there already are kept: an interrupted run goes on.

    Args:
        stills: Greater than 0: each seed gives that many labelled single states instead of an episode.
        policy: Name of a preset that acts instead of the expert, who only labels.
        weights: Weight file for it, instead of the preset's.

    Returns:
        Counts of this run: episodes tried and kept, frames, seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    per_shard = max(1, _STILLS_PER_SHARD // stills) if stills else 16
    jobs = [
        Job(
            tuple(range(k, min(k + per_shard, seed0 + episodes))), contract, split, out, stills, policy, weights,
        )
        for k in range(seed0, seed0 + episodes, per_shard)
    ]  # fmt: skip
    jobs = [job for job in jobs if not job.path.is_file()]
    begin, tried, kept, frames = time.monotonic(), 0, 0, 0
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for a, b, c in pool.imap_unordered(_work, jobs):
            tried, kept, frames = tried + a, kept + b, frames + c
            spent = time.monotonic() - begin
            print(f"\r{tried}/{episodes} episodes, {kept} kept, {frames} frames, {frames / spent:.0f} frames/s", end="")
    print()
    return {"episodes": tried, "kept": kept, "frames": frames, "seconds": time.monotonic() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=1200)
    parser.add_argument("--contract", default="tabletop_panda")
    parser.add_argument("--split", default="train")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stills", type=int, default=0, help="instead of episodes: this many single states per seed")
    parser.add_argument("--policy", default="", help="this preset acts, the expert only labels")
    parser.add_argument("--weights", default="", help="weight file for --policy")
    a = parser.parse_args()
    generate(a.out, a.episodes, a.contract, a.split, a.seed, a.workers, a.stills, a.policy, a.weights)


if __name__ == "__main__":
    main()
