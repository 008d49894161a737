"""`vla bench policies`: every system of the literature on the same held-out tasks, side by side.

Rows that this very code has made with this very weight file into --out are kept, so that a long run can be interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from vla_bringup import machine
from vla_bringup.results import save
from vla_bringup.statistics import quantiles, rounded, wilson
from vla_core.files import workspace_root
from vla_policy.core.preset import BACKBONE, Preset, load_preset

FIRST_SEED = 40_000_000
SUITE, CONTRACT = "tabletop", "tabletop_panda"
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench policies`."""
    parser.add_argument("--policy", default="", help="only these, separated by commas (default: all with weights)")
    parser.add_argument("--episodes", type=int, default=56, help="per policy and split (default 56, 7 per family)")
    parser.add_argument("--splits", default="heldout_pose", help="separated by commas (default heldout_pose)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again; of what is published, always the whole table."""
    words = ["--episodes", str(args.episodes), "--splits", args.splits]
    return words + (["--policy", args.policy] if args.policy and not args.publish else [])


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Rows of `docs/results/policies.json`; with --policy they take the place of those in the published table.

    Raises:
        UnknownNameError: no such policy.
        WeightsError: one without weights.
        VlaError: one that can't be loaded.
    """
    presets = [load_preset(name) for name in args.policy.split(",")] if args.policy else trained()
    rows = [_row(args, preset, split, say) for preset in presets for split in args.splits.split(",")]
    return merged(_published(), rows) if args.publish else rows


def trained() -> list[Preset]:
    """All presets for the suite's contract whose weights lie there."""
    names = sorted(path.stem for path in (workspace_root() / "config" / "policies").glob("*.yaml"))
    return [preset for preset in map(load_preset, names) if preset.contract == CONTRACT and _has_weights(preset)]


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """The new rows and the other old ones, the best first within each split."""
    by_place = {(row["split"], row["policy"]): row for row in (*old, *new)}
    return sorted(by_place.values(), key=lambda row: (row["split"], -row["success"], row["policy"]))


def _has_weights(preset: Preset) -> bool:
    return preset.policy != BACKBONE and preset.has_weights()


def _published() -> list[Row]:
    path = workspace_root() / "docs" / "results" / "policies.json"
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return rows


def _row(args: argparse.Namespace, preset: Preset, split: str, say: Callable[[str], None]) -> Row:
    from vla_sim.evaluate import evaluate

    path = args.out / f"{preset.name}_{split}.json"
    mark = hashlib.sha256(preset.weights_path().read_bytes()).hexdigest()[:16]
    key = {"revision": machine.exact_revision(), "weights": mark, "episodes": args.episodes}
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if key["revision"] is None or any(known.get(k) != v for k, v in key.items()):
        played = list(evaluate(preset.name, args.episodes, split, FIRST_SEED, args.workers, suite=SUITE))
        won = sum(episode.success for episode in played)
        low, high = wilson(won, len(played))
        times = [ms for episode in played for ms in episode.ms_per_chunk]
        row = {
            "policy": preset.name,
            "split": split,
            "episodes": len(played),
            "success": rounded(won / len(played)),
            "ci_low": rounded(low),
            "ci_high": rounded(high),
            **{f"ms_per_chunk_{name}": value for name, value in quantiles(times, ("p50", "p95")).items()},
            **size(preset),
            "revision": machine.revision(),
        }
        known = {**key, "row": row}
        save(args.out, path.stem, known)
    row = known["row"]
    say(f"{preset.name}, {split}: {100 * row['success']:.0f} %")
    return row


def size(preset: Preset) -> Row:
    """Millions of parameters (those of shared frozen eyes apart) and passes of the repeated part per chunk."""
    from safetensors import safe_open

    with safe_open(preset.weights_path(), framework="np") as file:
        count = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        notes = json.loads((file.metadata() or {}).get("training", "{}"))
    return {"parameters_m": rounded(count / 1e6), "passes": notes.get("metrics", {}).get("held/passes")}
