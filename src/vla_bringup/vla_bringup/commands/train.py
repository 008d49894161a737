"""`vla train`: weights from nothing: demonstrations by the scripted experts, training, own experience; seeded.

Goes through the recipe in the policy's preset. Needs no ROS. What is finished stays: started again with the same
`--out`, it goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from vla_bringup import machine
from vla_bringup.graph import SHIPPED
from vla_bringup.results import save
from vla_core.contract import load_contract
from vla_core.errors import ConfigError
from vla_core.files import workspace_root
from vla_policy.core.preset import BACKBONE, SYSTEM, Preset, load_preset
from vla_policy.training.recipe import Make, Train, read_recipe
from vla_sim.core.scene_parts import load_scene

_PLAYED_SEED = 30_000_000  # no seed of demonstrations, and none that is scored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla train`."""
    parser.add_argument("--policy", default=SHIPPED, help="policy preset")
    parser.add_argument("--suite", default="", choices=("", "tabletop", "turntable"), help="its shipped policy")
    parser.add_argument("--data", type=Path, help="folder of demonstrations (default OUT/data)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the recipe's sizes; 0.01 is a quick trial")
    parser.add_argument("--workers", type=int, default=2, help="processes that make demonstrations (default 2)")
    parser.add_argument("--closed-loop", type=int, default=0, help="episodes played at every evaluation; the best stay")
    parser.add_argument("--patience", type=int, default=0, help="evaluations without a better one before it ends early")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")


def run(args: argparse.Namespace) -> int:
    """Follow the recipe; 0 when its last step is done and OUT/<policy>.safetensors written.

    Raises:
        VlaError: an unknown policy, one without a recipe, or broken data.
    """
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{(time.monotonic() - begin) / 60:6.1f} min] {text}", flush=True)

    args.policy = str(load_scene(args.suite)["policy"]) if args.suite else args.policy
    preset = load_preset(args.policy)
    if preset.policy == "target_flow":
        return _train_on_the_fly(preset, args, begin)
    recipe = read_recipe(preset, args.scale)
    data = args.data or args.out / "data"
    weights: Path | None = None
    figures: dict[str, object] = {}
    for number, step in enumerate(recipe, 1):
        if isinstance(step, Make):
            say(f"step {number}/{len(recipe)}: {step.count} {step.make.replace('_', ' ')}, seeds from {step.seed}")
            _make(step, preset.contract, data, args, weights)
        else:
            name = f"step_{number}_{step.train}"
            say(f"step {number}/{len(recipe)}: stage {step.train}, {step.steps} steps")
            weights, figures[name] = _train(step, preset, args.out / name, data, args, weights)
    if weights is None:
        say("the recipe has no training step: demonstrations only")
        return 1
    target = args.out / f"{preset.name}.safetensors"
    shutil.copyfile(weights, target)
    result = {"success": True, "weights": target.name, "minutes": (time.monotonic() - begin) / 60, "figures": figures}
    save(args.out, "result", result | {"revision": machine.revision(), "machine": machine.describe()})
    say(f"wrote {target}; to score it: copy it to where the preset's `weights` points, then ./vla eval")
    return 0


def _train_on_the_fly(preset: Preset, args: argparse.Namespace, begin: float) -> int:
    """A policy whose demonstrations cost nothing: the expert is asked anew for every batch."""
    from vla_sim.catch_training import train

    target, figures = train(preset, args.out, args.scale)
    result = {"success": True, "weights": target.name, "minutes": (time.monotonic() - begin) / 60, "figures": figures}
    save(args.out, "result", result | {"revision": machine.revision(), "machine": machine.describe()})
    return 0


def _make(step: Make, contract: str, data: Path, args: argparse.Namespace, weights: Path | None) -> None:
    from vla_sim.generate import generate

    if step.make == "metaworld":
        return _make_metaworld(step, contract, data, args)
    own = step.make == "own_episodes"
    if own and not step.policy and weights is None:
        raise ConfigError("own episodes before any training", "a training step above them", "mend the recipe")
    generate(
        data, step.count, contract, seed0=step.seed, workers=args.workers,
        stills=step.per_scene if step.make == "stills" else 0,
        policy=(step.policy or args.policy) if own else "", weights=str(weights) if own and not step.policy else "",
    )  # fmt: skip


def _make_metaworld(step: Make, contract: str, data: Path, args: argparse.Namespace) -> None:
    from vla_bringup.setup.third_party import ensure
    from vla_sim.metaworld.demonstrations import DemonstrationConfig, generate
    from vla_sim.metaworld.tasks import TASKS
    from vla_sim.metaworld.training_shards import write_training_shards

    made, fixed = data.with_name(f"{data.name}_metaworld"), load_contract(contract)
    config = DemonstrationConfig(per_task=step.count, size=fixed.cameras[0].width, horizon=fixed.horizon)
    generate(made, ensure(workspace_root(), "metaworld"), TASKS, config, args.workers)
    write_training_shards(made, data, fixed)


def _player(preset: Preset, args: argparse.Namespace) -> Callable[[Path], float]:
    from vla_sim.evaluate import evaluate

    def play(weights: Path) -> float:
        seeds = args.closed_loop, "heldout_pose", _PLAYED_SEED, args.workers
        episodes = list(evaluate(args.policy, *seeds, weights=str(weights), suite=args.suite or "tabletop"))
        return sum(episode.success for episode in episodes) / len(episodes)

    return play


def _train(
    step: Train, preset: Preset, out: Path, data: Path, args: argparse.Namespace, weights: Path | None
) -> tuple[Path, dict[str, object]]:
    """Train one stage in its own folder, or take what lies there from an earlier run; weights and figures."""
    from vla_policy.training.session import Options, Session
    from vla_policy.training.system_session import SystemSession

    finished = out / "result.json"
    if not finished.is_file():
        options = Options(
            data=data, out=out, preset=args.policy, minutes={}, steps={step.train: step.steps}, init=weights,
            device=args.device, learning_rate=step.learning_rate, future=step.future,
            play=_player(preset, args) if args.closed_loop else None, patience=args.patience,
        )  # fmt: skip
        found = (SystemSession if preset.policy in (SYSTEM, BACKBONE) else Session)(options).run(step.train)
        save(out, "result", {name: value if math.isfinite(value) else None for name, value in found.items()})
    figures: dict[str, object] = json.loads(finished.read_text(encoding="utf-8"))
    return next(out.glob("*.safetensors")), figures
