"""Figures and pictures of the flat detector: `./vla python -m vla_sim.bench_detector [--weights FILE] [--flats 12]`.

Scores it on flats that training never sees, with and without colour-category pairs that training never shows, times it,
and draws what it finds (`--out PICTURE.png`; thick boxes are detections, thin ones the truth).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_core.types import UInt8
from vla_perception.core.detector.detection import Detected, Truth
from vla_perception.core.detector.flat import BACKENDS, FlatDetector
from vla_perception.core.detector.precision import Judge
from vla_perception.core.detector.registry import shipped_weights
from vla_sim.core.flat.views import COLOURS, LabelledView, ViewMaker, class_index

SPLITS = ("heldout_flat", "heldout_pair")
FIRST_SEED = 500  # flats that training didn't even look at while it ran
_SHOWN = 16
_TALL_PX, _WIDE_PX = 480, 640


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="file; default: what ships")
    parser.add_argument("--flats", type=int, default=12, help="of each split")
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0])
    parser.add_argument("--out", type=Path, help="picture to draw")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    weights = args.weights or shipped_weights()
    report, shown = measure(FlatDetector(weights, 0.02, args.backend), args.flats)
    print(markdown(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if args.out:
        cv2.imwrite(str(args.out), cv2.cvtColor(sheet(shown), cv2.COLOR_RGB2BGR))


def measure(detector: FlatDetector, flats: int) -> tuple[dict[str, Any], list[UInt8]]:
    """Figures by split, latency [ms], and pictures uint8 (480,640,3) of the first views with something in them."""
    threshold = detector.metadata.threshold
    report: dict[str, Any] = {"flats": flats}
    shown: list[UInt8] = []
    maker = ViewMaker()
    took: dict[str, list[float]] = {"front": [], "wrist": []}
    for split in SPLITS:
        judge = Judge(detector.metadata.vocabulary)
        for view in _views(maker, split, flats):
            began = time.perf_counter()
            found = detector.detect(view.image)
            took[view.camera].append(1e3 * (time.perf_counter() - began))
            judge.add(found, truth_of(view))
            if (
                split == SPLITS[0]
                and len(shown) < _SHOWN
                and any(label.clear and label.colour for label in view.labels)
            ):
                shown.append(drawn(view, [one for one in found if one.score >= threshold], detector))
        report[split] = judge.figures(threshold)
    maker.close()
    report["latency_ms"] = {
        camera: {f"p{q}": float(np.percentile(times[2:], q)) for q in (50, 95, 99)} | {"n": len(times) - 2}
        for camera, times in took.items()
        if len(times) > 2
    }
    return report, shown


def truth_of(view: LabelledView) -> Truth:
    """Labels of a view as the judge takes them."""
    boxes = np.array([label.box for label in view.labels], np.float32).reshape(-1, 4)
    classes = np.array([class_index(label.name) for label in view.labels], np.int64)
    colours = np.array([COLOURS.index(label.colour) if label.colour else -1 for label in view.labels], np.int64)
    return Truth(boxes, classes, colours, np.array([label.clear for label in view.labels], bool))


def drawn(view: LabelledView, found: list[Detected], detector: FlatDetector) -> UInt8:
    """A view twice as large, with truth and detections."""
    image = np.full((_TALL_PX, _WIDE_PX, 3), 30, np.uint8)
    large = view.image.repeat(2, 0).repeat(2, 1)
    image[: large.shape[0], : large.shape[1]] = large
    for label in view.labels:
        x0, y0, x1, y1 = (2 * v for v in label.box)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255) if label.clear else (150, 150, 150), 1)
    things = detector.metadata.vocabulary.things
    for one in found:
        x0, y0, x1, y1 = (2 * v for v in one.box)
        kind = int(one.classes.argmax())
        own = (230, 30, 30) if kind < things else (20, 90, 220)
        name = detector.classes[kind] if kind >= things else f"{detector.colours[int(one.colours.argmax())]} "
        name += detector.classes[kind] if kind < things else ""
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), own, 2)
        cv2.putText(image, f"{name} {one.score:.2f}", (x0, max(y0 - 4, 12)), 0, 0.45, own, 1, cv2.LINE_AA)
    return image


def sheet(pictures: list[UInt8], columns: int = 4) -> UInt8:
    """Pictures in rows, uint8."""
    blank = np.full((_TALL_PX, _WIDE_PX, 3), 30, np.uint8)
    whole = pictures + [blank] * (-len(pictures) % columns)
    rows = [np.concatenate(whole[i : i + columns], axis=1) for i in range(0, len(whole), columns)]
    out: UInt8 = np.concatenate(rows)
    return out


def markdown(report: dict[str, Any]) -> str:
    """Tables."""
    kinds = ("map50", "map50_things", "map50_furniture", "recall", "recall_things", "false_per_image", "colour")
    head = ["split", "views", "objects", *kinds]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for split in SPLITS:
        found = report[split]
        cells = [split, found["images"], found["objects"], *(f"{found[kind]:.3f}" for kind in kinds)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", f"Threshold {report[SPLITS[0]]['threshold']:.3f}.", "", "| class | AP at IoU 0.5 |", "|---|---|"]
    lines += [f"| {name} | {ap:.3f} |" for name, ap in report[SPLITS[0]]["ap50"].items()]
    lines += ["", "| camera | p50 [ms] | p95 [ms] | p99 [ms] | n |", "|---|---|---|---|---|"]
    for camera, t in report["latency_ms"].items():
        lines.append(f"| {camera} | {t['p50']:.1f} | {t['p95']:.1f} | {t['p99']:.1f} | {t['n']} |")
    return "\n".join(lines)


def _views(maker: ViewMaker, split: str, flats: int) -> Iterator[LabelledView]:
    for seed in range(FIRST_SEED, FIRST_SEED + flats):
        yield from maker.draw(seed, split, front=10, wrist=5)


if __name__ == "__main__":
    main()
