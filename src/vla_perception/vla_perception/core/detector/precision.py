"""How good a detector is: average precision, recall, false positives and colour accuracy against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from vla_core.types import Float64
from vla_perception.core.detector.decode import Calibration
from vla_perception.core.detector.detection import Detected, Truth, Vocabulary, overlaps

IOU = 0.5
_NO_ERROR, _WRONG = -2, -1  # what a detection is that matches no clear object


@dataclass(slots=True)
class Judge:
    """Compares detections with truth, image by image.

    Detections are matched greedily, the surest first, to the object of their group (things or furniture) that they
    overlap most, by at least IOU. One that matches only what isn't clear is no error.

    Args:
        vocabulary: Of the detector.
    """

    vocabulary: Vocabulary
    images: int = 0
    _detected: list[Detected] = field(default_factory=list)
    _true_class: list[int] = field(default_factory=list)
    _true_colour: list[int] = field(default_factory=list)
    _present: list[int] = field(default_factory=list)

    def add(self, detections: Sequence[Detected], truth: Truth) -> None:
        """Take one image into account."""
        self.images += 1
        self._present += truth.classes[truth.clear].tolist()
        taken = np.zeros(len(truth), bool)
        furniture = truth.classes >= self.vocabulary.things
        for one in sorted(detections, key=lambda d: -d.score):
            own = furniture == (int(one.classes.argmax()) >= self.vocabulary.things)
            shared = overlaps(np.array([one.box], np.float32), truth.boxes)[0] * own if len(truth) else np.zeros(0)
            clear = np.where(truth.clear & ~taken, shared, 0.0)
            best = int(clear.argmax()) if len(clear) and clear.max() >= IOU else -1
            excused = best < 0 and bool(((shared >= IOU) & ~truth.clear).any() or _within(one, truth, own))
            if best >= 0:
                taken[best] = True
            self._detected.append(one)
            self._true_class.append(int(truth.classes[best]) if best >= 0 else _NO_ERROR if excused else _WRONG)
            self._true_colour.append(int(truth.colours[best]) if best >= 0 else -1)

    def figures(self, threshold: float) -> dict[str, Any]:
        """All figures.

        Returns:
            `map50`, its parts `map50_things` and `map50_furniture`, `ap50` by class (classes that the images show),
            `colour` accuracy of found things, and at `threshold`: `recall` and `recall_things` (found as what they
            are), `false_per_image`.
        """
        true, _, scores, named = self._arrays()
        present = np.array(self._present, np.int64)
        things = self.vocabulary.things
        ap = {
            name: average_precision(scores[own], true[own] == k, int((present == k).sum()))
            for k, name in enumerate(self.vocabulary.classes)
            if (present == k).any()
            for own in [(named == k) & (true != _NO_ERROR)]
        }
        parts = {name: value for name, value in ap.items() if name in self.vocabulary.classes[:things]}
        rest = {name: value for name, value in ap.items() if name not in parts}
        kept = (scores >= threshold) & (true != _NO_ERROR)
        right = kept & (true == named)
        tints = np.array(self._true_colour)
        told = np.array([int(one.colours.argmax()) for one in self._detected], np.int64)
        coloured = right & (tints >= 0)
        return {
            "images": self.images,
            "objects": len(present),
            "map50": _mean(ap.values()),
            "map50_things": _mean(parts.values()),
            "map50_furniture": _mean(rest.values()),
            "threshold": threshold,
            "recall": float(right.sum()) / max(1, len(present)),
            "recall_things": float((right & (true < things)).sum()) / max(1, int((present < things).sum())),
            "false_per_image": float((kept & ~right).sum()) / max(1, self.images),
            "colour": _mean((told == tints)[coloured].astype(float)),
            "ap50": ap,
        }

    def best_threshold(self) -> float:
        """Score at which precision and recall have the largest harmonic mean."""
        true, _, scores, named = self._arrays()
        count = true != _NO_ERROR
        scores, right = scores[count], (true == named)[count]
        if not len(scores):
            return 0.5
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(right[order])
        f1 = 2.0 * hits / (np.arange(1, len(hits) + 1) + len(self._present))
        return float(scores[order][int(f1.argmax())])

    def calibration(self) -> Calibration:
        """Fitted to detections that were decoded without one; without matches it changes nothing."""
        true, tints, scores, _ = self._arrays()
        count, found = true != _NO_ERROR, true >= 0
        if found.sum() < 10 or (count & ~found).sum() < 10:
            return Calibration()
        odds = np.clip(np.log(scores[count]) - np.log1p(-np.clip(scores[count], 0.0, 1 - 1e-6)), -15.0, 15.0)
        there = found[count].astype(np.float64)

        def surprise(x: Float64) -> float:
            told = x[0] * odds + x[1]
            return float(np.mean(np.logaddexp(0.0, told) - there * told))

        gain, offset = (float(v) for v in minimize(surprise, np.array([1.0, 0.0]), method="Nelder-Mead").x)
        classes = np.array([one.classes for one, own in zip(self._detected, found, strict=True) if own])
        coloured = tints >= 0
        colours = np.array([one.colours for one, own in zip(self._detected, coloured, strict=True) if own])
        return Calibration(gain, offset, temperature(classes, true[found]), temperature(colours, tints[coloured]))

    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Float64, NDArray[np.int64]]:
        named = [int(one.classes.argmax()) for one in self._detected]
        scores = np.array([one.score for one in self._detected], np.float64)
        return (np.array(self._true_class, np.int64), np.array(self._true_colour, np.int64), scores,
                np.array(named, np.int64))  # fmt: skip


def average_precision(scores: Float64, right: NDArray[np.bool_], present: int) -> float:
    """Area under precision over recall, with precision made monotone (Everingham et al. 2010, section 4.2, all points).

    Args:
        scores, right: Of the detections (N,).
        present: How many there are to be found.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(hits) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float(monotone[right[order]].sum() / max(1, present))


def temperature(probabilities: Float64, true: NDArray[np.int64]) -> float:
    """What makes the truth likeliest when the logarithms of (N,K) are divided by it."""
    if len(true) < 10:
        return 1.0
    logs = np.log(np.clip(probabilities, 1e-7, 1.0))

    def surprise(logarithm: float) -> float:
        scaled = logs / np.exp(logarithm)
        peak = scaled.max(1, keepdims=True)
        total = peak[:, 0] + np.log(np.exp(scaled - peak).sum(1))
        return float(np.mean(total - scaled[np.arange(len(true)), true]))

    return float(np.exp(minimize_scalar(surprise, bounds=(-2.0, 2.0), method="bounded").x))


def _within(one: Detected, truth: Truth, own: NDArray[np.bool_]) -> bool:
    """Whether most of a detection lies in what isn't clear: a part of it was found."""
    x0, y0, x1, y1 = one.box
    for box in truth.boxes[own & ~truth.clear]:
        common = max(0.0, min(x1, box[2]) - max(x0, box[0])) * max(0.0, min(y1, box[3]) - max(y0, box[1]))
        if common > 0.5 * (x1 - x0) * (y1 - y0):
            return True
    return False


def _mean(values: Any) -> float:
    listed = [float(v) for v in values]
    return sum(listed) / len(listed) if listed else float("nan")
