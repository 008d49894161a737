"""`vla convert --to FORMAT SOURCE TARGET`: shards of demonstrations to LeRobot v3.0, and back. Needs no ROS."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from vla_bringup.results import save
from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError
from vla_policy.training.lerobot_video import VideoCodec
from vla_policy.training.shards_to_lerobot import Say, lerobot_to_shards, shards_to_lerobot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla convert`."""
    parser.add_argument("source", metavar="SOURCE", type=Path, help="folder of shards, or of a LeRobot data set")
    parser.add_argument("target", metavar="TARGET", type=Path, help="folder to write")
    parser.add_argument("--to", choices=("lerobot", "shards"), required=True, help="format to write")
    parser.add_argument("--contract", default="tabletop_panda", help="what the data mean (default tabletop_panda)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second of the shards (default 10)")
    parser.add_argument("--images", action="store_true", help="pictures as PNG in the tables: lossless, and large")
    parser.add_argument("--crf", type=int, default=VideoCodec().crf, help="quality of the videos: less is better")


def run(args: argparse.Namespace) -> int:
    """Convert, and open what was written; 0 when it is there.

    Raises:
        VlaError: no such data, data of another contract, or a target that exists.
    """
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)

    contract = load_contract(args.contract)
    counts = _to_lerobot(args, contract, say) if args.to == "lerobot" else _to_shards(args, contract, say)
    size_mb = sum(path.stat().st_size for path in args.target.rglob("*") if path.is_file()) / 1e6
    save(args.out, "result", {"success": True, "seconds": time.monotonic() - begin, "size_mb": size_mb, **counts})
    say(f"wrote {args.target}: {', '.join(f'{n} {name}' for name, n in counts.items())}, {size_mb:.1f} MB")
    return 0


def _to_lerobot(args: argparse.Namespace, contract: Contract, say: Say) -> dict[str, int]:
    steps = contract.action_rate_hz / args.fps if args.fps > 0 else 0.0
    if not steps.is_integer() or steps == 0:
        expected = f"a part of the actions' {contract.action_rate_hz:g} Hz"
        raise ConfigError(f"{args.fps:g} frames per second", expected, "give --fps as the shards were made with")
    pictures, codec = "image" if args.images else "video", VideoCodec(crf=args.crf)
    return shards_to_lerobot(args.source, args.target, contract, int(steps), pictures, codec, say)


def _to_shards(args: argparse.Namespace, contract: Contract, say: Say) -> dict[str, int]:
    return lerobot_to_shards(args.source, args.target, contract, say=say)
