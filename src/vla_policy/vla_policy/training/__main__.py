"""`python -m vla_policy.training --data DIR --out DIR --stage joint|expert|all --minutes M`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from vla_core.errors import VlaError
from vla_policy.training.session import Options, Session

STAGES = ("joint", "expert")


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 when a weight file was written, 2 on a mistake that the message explains, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="vla_policy.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with shard_*.npz")
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoints, log.jsonl, result.json and the weight file"
    )
    parser.add_argument("--policy", default="tabletop_flow", help="preset name or .yaml")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--minutes", type=float, default=0.0, help="bound; with --stage all: 3/4 joint, 1/4 expert")
    parser.add_argument("--steps", type=int, default=0, help="bound, per stage")
    parser.add_argument("--init", type=Path, help="checkpoint (.pt) or weight file to start from")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    parser.add_argument("--learning-rate", type=float, default=0.0, help="instead of the preset's")
    chosen = parser.parse_args(arguments)
    if not chosen.minutes and not chosen.steps:
        parser.error("give --minutes or --steps")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    stages = STAGES if chosen.stage == "all" else (chosen.stage,)
    share = {"joint": 0.75, "expert": 0.25} if chosen.stage == "all" else {chosen.stage: 1.0}
    try:
        options = Options(
            data=chosen.data,
            out=chosen.out,
            preset=chosen.policy,
            minutes={s: share[s] * chosen.minutes for s in stages},
            steps={s: chosen.steps for s in stages},
            init=chosen.init,
            device=chosen.device,
            learning_rate=chosen.learning_rate,
        )
        session = Session(options)
        figures = {stage: session.run(stage) for stage in stages}
    except VlaError as error:
        print(f"ERROR {error.code}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the checkpoint", file=sys.stderr)
        return 130
    (chosen.out / "result.json").write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
