"""From the network's output to detections: local maxima per group of classes, boxes, probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32
from vla_perception.core.detector.detection import Detected, Vocabulary, clipped, without_doubles
from vla_perception.core.detector.network import STRIDE

_MOST_PEAKS = 60  # per group
_DOUBLE = 0.6  # boxes of a group that share so much are one
_LOG_SIZE = (-2.0, 4.5)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Makes probabilities of what the network says, fitted on views that it wasn't trained on (Platt 1999; Guo et al.
    2017, "On calibration of modern neural networks", for the temperatures).

    Attributes:
        gain, offset: score = sigmoid(gain * log odds + offset).
        classes, colours: Temperatures of their logits.
    """

    gain: float = 1.0
    offset: float = 0.0
    classes: float = 1.0
    colours: float = 1.0


def decode(
    heads: Float32, vocabulary: Vocabulary, size: tuple[int, int], least: float, calibration: Calibration
) -> list[Detected]:
    """Detections in one image, the surest first.

    A candidate is a cell whose likeliest class has a local maximum there; of candidates of a group with almost the same
    box one stays, so that a thing that may be a mug or a can is found once. The log odds that it is there are the
    logarithm of the summed odds of the group's classes: it is there, whichever it is.

    Args:
        heads: Output of the network for the image, float32 (channels,h,w).
        vocabulary: Its classes and colours.
        size: Width and height of the image without padding [pixel].
        least: Scores below aren't returned.
        calibration: See there.
    """
    count = len(vocabulary.classes)
    found: list[Detected] = []
    for group, part in enumerate(vocabulary.groups):
        logits, boxes = heads[part], heads[count + 4 * group : count + 4 * group + 4]
        if not len(logits):
            continue
        odds = _log_sum(logits)
        peaks = _peaks(logits)
        scores = _sigmoid(calibration.gain * odds + calibration.offset)
        rows, columns = np.nonzero(peaks & (scores >= least))
        order = np.argsort(-scores[rows, columns], kind="stable")[:_MOST_PEAKS]
        rows, columns = rows[order], columns[order]
        corners = corners_of(boxes[:, rows, columns].T, rows, columns)
        for i in without_doubles(corners, scores[rows, columns], _DOUBLE):
            row, column = int(rows[i]), int(columns[i])
            box = clipped(corners[i].tolist(), *size)
            if box is None:
                continue
            classes = np.zeros(count, np.float32)
            classes[part] = _softmax(logits[:, row, column] / calibration.classes)
            if group == 0:
                colours = _softmax(heads[count + 8 :, row, column] / calibration.colours)
            else:
                colours = np.full(len(vocabulary.colours), 1.0 / max(1, len(vocabulary.colours)), np.float32)
            found.append(Detected(box, float(scores[row, column]), classes, colours))
    return sorted(found, key=lambda one: -one.score)


def corners_of(boxes: Float32, rows: np.ndarray, columns: np.ndarray) -> Float32:
    """Boxes (N,4) as the network gives them in cells, to corners (x0, y0, x1, y1) [pixel] (N,4)."""
    x, y = columns + 0.5 + boxes[:, 0], rows + 0.5 + boxes[:, 1]
    half = 0.5 * np.exp(np.clip(boxes[:, 2:], *_LOG_SIZE))
    out: Float32 = (STRIDE * np.stack([x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1]], 1)).astype(
        np.float32
    )
    return out


def _peaks(logits: Float32) -> NDArray[np.bool_]:
    """Cells (h,w) whose likeliest class is nowhere likelier among the eight around."""
    likeliest = logits.argmax(0)
    around = np.stack([cv2.dilate(np.ascontiguousarray(one), np.ones((3, 3), np.uint8)) for one in logits])
    here = likeliest[None]
    found: NDArray[np.bool_] = np.take_along_axis(logits, here, 0)[0] >= np.take_along_axis(around, here, 0)[0]
    return found


def _log_sum(logits: Float32) -> Float32:
    top = logits.max(0)
    out: Float32 = (top + np.log(np.exp(logits - top).sum(0))).astype(np.float32)
    return out


def _softmax(logits: Float32) -> Float32:
    if not len(logits):
        return np.zeros(0, np.float32)
    shares = np.exp(logits - logits.max())
    out: Float32 = (shares / shares.sum()).astype(np.float32)
    return out


def _sigmoid(x: Float32) -> Float32:
    out: Float32 = (1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0)))).astype(np.float32)
    return out
