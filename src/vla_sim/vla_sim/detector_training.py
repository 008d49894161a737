"""Trains the detector of the generated flats, from nothing to a weight file:

    ./vla python -m vla_sim.detector_training --out out/detector [--scale 0.01]

Views are rendered into DIR/views, then the network and its second look are trained, calibrated on views of other
training flats, and scored on flats that training never sees. What is learnt so far lies in DIR/interim.safetensors.
Interrupt it at any time: the same command goes on. Needs no ROS.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_perception.core.detector.decode import Calibration
from vla_perception.core.detector.network import Network, NetworkConfig
from vla_perception.core.detector.precision import temperature
from vla_perception.core.detector.second_look import SecondLook, SecondLookConfig
from vla_perception.core.detector.weights import DetectorMetadata, save_detector
from vla_policy.training.precision import bfloat16_pays
from vla_policy.training.trainer import Loop, LoopConfig
from vla_sim.core.detection import second_look_stage
from vla_sim.core.detection.second_look_stage import SecondLookStage, ThingStore, accuracy, told
from vla_sim.core.detection.shards import FLATS_PER_SHARD, VOCABULARY, ViewRecipe, ViewStore, make_shards
from vla_sim.core.detection.stage import LOSSES, DetectorStage, judged

SIZES = NetworkConfig((16, 32, 64, 128, 192), (1, 2, 2, 1), 64, len(VOCABULARY.classes), len(VOCABULARY.colours))
SECOND_SIZES = SecondLookConfig(40, (24, 32, 64, 128), VOCABULARY.things)
NAME = "flat_detector"
#: Folder of views → which; `calibration` are training flats that aren't trained on.
VIEWS = {
    "train": ViewRecipe("train", 0, 240, 30, 12, 16),
    "calibration": ViewRecipe("train", 1_000_000, 12, 16, 8, 8),
    "heldout_flat": ViewRecipe("heldout_flat", 0, 24, 16, 8, 0),
    "heldout_pair": ViewRecipe("heldout_pair", 0, 12, 16, 8, 0),
}
_BAR = 24


@dataclass(frozen=True, slots=True)
class Options:
    """How it is trained.

    Attributes:
        out: Folder for everything.
        scale: Of views and steps; 1 is what ships.
        steps: Optimiser steps at scale 1.
        batch: Pictures per step.
        learning_rate: Peak.
        mixed: Products in bfloat16, on CPUs that compute in it.
        seed: Of weights, order and augmentation.
        second_steps, second_batch, second_rate: The same of the second look.
        quick_views: Held-out views that are looked at while it trains.
        evaluate_minutes: How often.
    """

    out: Path
    scale: float = 1.0
    steps: int = 4500
    batch: int = 16
    learning_rate: float = 1.5e-3
    mixed: bool = True
    seed: int = 0
    second_steps: int = 1500
    second_batch: int = 96
    second_rate: float = 2.0e-3
    quick_views: int = 192
    evaluate_minutes: float = 8.0


class ProgressLoop(Loop):
    """The training loop with a bar and the time that is left."""

    def _report(self, losses: dict[str, float], rate: float) -> None:
        done = min(1.0, self.fraction())
        left_min = (self.config.steps - self.step) / max(rate, 1e-9) / 60
        print(f"{bar(done)} {left_min:5.1f} min left", end="  ", flush=True)
        super()._report(losses, rate)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder; goes on with what is there")
    parser.add_argument("--scale", type=float, default=1.0, help="share of views and steps")
    parser.add_argument("--steps", type=int, default=Options(Path()).steps, help="optimiser steps at scale 1")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        train(Options(args.out, args.scale, args.steps))
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on") from None


def train(options: Options) -> dict[str, Any]:
    """Make views, train, calibrate, score, write DIR/flat_detector.safetensors and .json.

    Returns:
        What the .json holds.

    Raises:
        ConfigError: DIR holds views of another scale.
        KeyboardInterrupt: SIGINT or SIGTERM came while training; a checkpoint is written.
    """
    stores = {name: _views(options, name) for name in VIEWS}
    print({name: len(store) for name, store in stores.items()}, "views", flush=True)
    torch.manual_seed(options.seed)
    model = Network(SIZES).to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    stage = DetectorStage(model, stores["train"], options.batch, _mixed(options))
    quick = _some(stores["heldout_flat"], options.quick_views)

    def judge(average: nn.Module) -> dict[str, Any]:
        assert isinstance(average, Network), "an average is a copy"
        untold = DetectorMetadata(VOCABULARY, SIZES, Calibration(), 0.3, {"interim": True})
        save_detector(options.out / "interim.safetensors", average, untold)
        figures = judged(average, [stores["heldout_flat"][i] for i in quick]).figures(0.5)
        return {name: value for name, value in figures.items() if isinstance(value, float)}

    loop = ProgressLoop(model, stage, _loop_config(options), options.out, judge)
    loop.run()
    best = loop.average
    assert isinstance(best, Network), "an average is a copy"
    second, minutes = _second_look(options, stores)
    return _finish(options, best, second, stores, loop.elapsed_s / 60 + minutes)


def _mixed(options: Options) -> bool:
    return options.mixed and bfloat16_pays(torch.device("cpu"))


def _second_look(options: Options, stores: Mapping[str, ViewStore]) -> tuple[SecondLook, float]:
    """Train the second look and its temperature; also says how long that took [min]."""
    things = {name: ThingStore(stores[name]) for name in ("train", "calibration", "heldout_flat")}
    torch.manual_seed(options.seed)
    model = SecondLook(SECOND_SIZES).to(memory_format=torch.channels_last)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"second look: {len(things['train'])} things, {size:.2f} M parameters", flush=True)

    def judge(average: nn.Module) -> dict[str, Any]:
        assert isinstance(average, SecondLook), "an average is a copy"
        return {"right": accuracy(average, things["heldout_flat"])}

    stage = SecondLookStage(model, things["train"], options.second_batch, _mixed(options))
    steps = max(2, round(options.second_steps * options.scale))
    bounds = replace(
        _loop_config(options), name="second_look", steps=steps, learning_rate=options.second_rate,
        warmup_steps=min(100, steps // 4), ema=0.995, losses=second_look_stage.LOSSES, print_every=min(25, steps),
    )  # fmt: skip
    loop = ProgressLoop(model, stage, bounds, options.out, judge)
    loop.run()
    best = loop.average
    assert isinstance(best, SecondLook), "an average is a copy"
    best.config = replace(
        best.config, temperature=temperature(told(best, things["calibration"]), things["calibration"].classes)
    )
    return best, loop.elapsed_s / 60


def _finish(
    options: Options, model: Network, second: SecondLook, stores: Mapping[str, ViewStore], minutes: float
) -> dict[str, Any]:
    """Calibrate, score, write."""
    calibration = judged(model, _all(stores["calibration"])).calibration()
    metadata = DetectorMetadata(VOCABULARY, SIZES, calibration, 0.5, second_look=second.config)
    path = options.out / f"{NAME}.safetensors"
    calibrated = judged(model, _all(stores["calibration"]), calibration, second)
    metadata = replace(metadata, threshold=calibrated.best_threshold())
    figures = {
        name: judged(model, _all(stores[name]), calibration, second).figures(metadata.threshold)
        for name in ("calibration", "heldout_flat", "heldout_pair")
    }
    notes = {
        "steps": round(options.steps * options.scale),
        "batch": options.batch,
        "second_steps": round(options.second_steps * options.scale),
        "views": {name: len(store) for name, store in stores.items()},
        "training_minutes": round(minutes, 1),
        "figures": figures,
    }
    save_detector(path, model, replace(metadata, training=notes), second)
    path.with_suffix(".json").write_text(json.dumps(notes, indent=1), encoding="utf-8")
    print(table(figures["heldout_flat"]))
    for name in ("heldout_flat", "heldout_pair"):
        shown = {key: value for key, value in figures[name].items() if key != "ap50"}
        print(name, " ".join(f"{key} {value:.3g}" for key, value in shown.items()), flush=True)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)", flush=True)
    return notes


def table(figures: Mapping[str, Any]) -> str:
    """Average precision by class, as Markdown."""
    rows = [f"| {name} | {value:.3f} |" for name, value in figures["ap50"].items()]
    return "\n".join(["| class | AP at IoU 0.5 |", "|---|---|", *rows])


def bar(done: float) -> str:
    """Of a share 0..1."""
    filled = round(_BAR * done)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {100 * done:3.0f} %"


def _views(options: Options, name: str) -> ViewStore:
    recipe, folder = VIEWS[name], options.out / "views" / name
    recipe = replace(recipe, flats=max(1, round(recipe.flats * options.scale)))
    began = time.monotonic()

    there = FLATS_PER_SHARD * len(list(folder.glob("shard_????")))

    def progress(done: int, count: int) -> None:
        left_min = (time.monotonic() - began) / max(1, done - there) * (count - done) / 60
        print(f"{bar(done / count)} {name}: flat {done} of {count}, about {left_min:.1f} min left", flush=True)

    make_shards(folder, recipe, progress)
    return ViewStore(folder)


def _loop_config(options: Options) -> LoopConfig:
    steps = max(2, round(options.steps * options.scale))
    return LoopConfig(
        name="detector",
        minutes=0.0,
        steps=steps,
        learning_rate=options.learning_rate,
        warmup_steps=min(200, steps // 4),
        weight_decay=0.02,
        clip_norm=10.0,
        ema=0.998,
        losses=LOSSES,
        seed=options.seed,
        print_every=min(25, steps),
        save_minutes=2.0,
        evaluate_minutes=options.evaluate_minutes,
    )


def _some(store: ViewStore, count: int) -> list[int]:
    chosen = np.random.default_rng(0).permutation(len(store))[:count]
    return sorted(int(i) for i in chosen)


def _all(store: ViewStore) -> list[Any]:
    return [store[i] for i in range(len(store))]


if __name__ == "__main__":
    main()
