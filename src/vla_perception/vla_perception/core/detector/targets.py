"""Inverse of decoding: what the network should say of an image, from its truth.

Heat maps are Gaussians about the middles of objects, as wide and high as the objects (Liu et al. 2020,
"Training-time-friendly network", equation 1); the box is learnt where the Gaussian is high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32
from vla_perception.core.detector.detection import Truth, Vocabulary
from vla_perception.core.detector.network import STRIDE

_SHARE = 0.54  # of an object's half size that its Gaussian covers
_LEAST_BOX = 0.35  # height of the Gaussian from which a cell learns the box


@dataclass(frozen=True, slots=True)
class Targets:
    """Of one image, h x w cells.

    Attributes:
        heat: float32 (K,h,w), 1 at middles.
        care: float32 (2,h,w), 0 where things (furniture) aren't clear: no error there.
        boxes: float32 (2,4,h,w), corners (x0, y0, x1, y1) [pixel].
        weights: float32 (2,h,w), of the boxes; sum to 1 per object.
        colours: int64 (h,w), -1 where there is none.
    """

    heat: Float32
    care: Float32
    boxes: Float32
    weights: Float32
    colours: NDArray[np.int64]


def encode(truth: Truth, vocabulary: Vocabulary, size: tuple[int, int]) -> Targets:
    """Targets of an image.

    Args:
        truth: What is in it.
        vocabulary: Of the network.
        size: Width and height of the padded image [pixel], multiples of 8.
    """
    w, h = (side // STRIDE for side in size)
    heat, care = np.zeros((len(vocabulary.classes), h, w), np.float32), np.ones((2, h, w), np.float32)
    boxes, weights = np.zeros((2, 4, h, w), np.float32), np.zeros((2, h, w), np.float32)
    colours = np.full((h, w), -1, np.int64)
    areas = np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1)
    for i in np.argsort(-areas, kind="stable").tolist():  # a smaller one in front takes its cells from a larger one
        box, kind = truth.boxes[i] / STRIDE, int(truth.classes[i])
        group = int(kind >= vocabulary.things)
        if not truth.clear[i]:
            x0, y0, x1, y1 = np.floor(box[0]), np.floor(box[1]), np.ceil(box[2]), np.ceil(box[3])
            care[group, int(max(y0, 0)) : int(y1), int(max(x0, 0)) : int(x1)] = 0.0
            continue
        middle, half = 0.5 * (box[:2] + box[2:]), 0.5 * (box[2:] - box[:2])
        column, row = min(int(middle[0]), w - 1), min(int(middle[1]), h - 1)
        across, down = _bell(w, column, float(half[0])), _bell(h, row, float(half[1]))
        bell = down[:, None] * across[None]
        heat[kind] = np.maximum(heat[kind], bell)
        own = bell >= _LEAST_BOX
        boxes[group][:, own] = truth.boxes[i][:, None]
        weights[group][own] = bell[own] / bell[own].sum()
        if group == 0:
            colours[own] = truth.colours[i]
    return Targets(heat, care, boxes, weights, colours)


def _bell(cells: int, middle: int, half: float) -> Float32:
    spread = (2.0 * _SHARE * half + 1.0) / 6.0
    out: Float32 = np.exp(-0.5 * ((np.arange(cells) - middle) / spread) ** 2).astype(np.float32)
    return out
