"""`vla train`: the shipped weights from nothing: demonstrations by the scripted experts, then training, seeded."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vla_bringup import machine
from vla_bringup.graph import GraphOptions
from vla_bringup.results import save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla train`."""
    parser.add_argument("--policy", default=GraphOptions.describe()["policy"][0], help="policy preset")
    parser.add_argument("--suite", default="tabletop", choices=("tabletop",), help="what to learn")
    parser.add_argument("--episodes", type=int, default=6000, help="demonstrations to try (default 6000)")
    parser.add_argument("--data", type=Path, help="folder of demonstrations; made there when empty (default OUT/data)")
    parser.add_argument("--minutes", type=float, default=480.0, help="bound on training (default 480)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make demonstrations (default 2)")


def run(args: argparse.Namespace) -> int:
    """Make demonstrations where there are none, then train; 0 when a weight file was written.

    Raises:
        VlaError: an unknown policy or broken data.
    """
    from vla_policy.core.preset import load_preset
    from vla_policy.training.__main__ import main as train
    from vla_sim.generate import generate

    preset = load_preset(args.policy)
    data = args.data or args.out / "data"
    if not any(data.glob("shard_*.npz")):
        data.mkdir(parents=True, exist_ok=True)
        counts = generate(data, args.episodes, preset.contract, workers=args.workers)
        print(f"demonstrations: {counts}", flush=True)
    code = train(["--data", str(data), "--out", str(args.out), "--policy", args.policy, "--minutes", str(args.minutes)])
    if code:
        return code
    figures = json.loads((args.out / "result.json").read_text(encoding="utf-8"))
    weights = sorted(args.out.glob("*.safetensors"))
    result = {"success": bool(weights), "weights": [path.name for path in weights], "figures": figures}
    save(args.out, "result", result | {"revision": machine.revision(), "machine": machine.describe()})
    print(
        f"wrote {', '.join(str(path) for path in weights) or 'no weights'}", file=sys.stdout if weights else sys.stderr
    )
    return 0 if weights else 1
