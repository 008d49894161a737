"""Augmented views for training: moved, scaled and mirrored, other light, noise, blur. Boxes go along."""

from __future__ import annotations

import cv2
import numpy as np

from vla_core.types import Float32, UInt8
from vla_perception.core.detector.detection import Truth
from vla_perception.core.detector.network import GREY
from vla_sim.core.detection.shards import StoredView
from vla_sim.core.flat.views import CLEAR_FURNITURE_PX, CLEAR_THING_PX, THINGS

CANVAS = (256, 320)  # height and width [pixel] of every training picture; the front camera's, padded
_FRONT_ROWS = 240
_AS_IT_IS = 0.3  # share of pictures that keep their size and place
_SCALES = {"front": (0.7, 1.45), "wrist": (0.85, 1.15)}
_MOVED = 0.2  # of the canvas
_LEAST_LEFT = 0.35  # of a box; what is cut off more isn't clear any more


def augmented(view: StoredView, rng: np.random.Generator) -> tuple[UInt8, Truth]:
    """A picture of CANVAS and its truth."""
    height, width = view.image.shape[:2]
    matrix = _placement(view.camera, (height, width), rng)
    rows = _FRONT_ROWS if view.camera == "front" else CANVAS[0]
    image = np.full((*CANVAS, 3), GREY, np.uint8)
    image[:rows] = cv2.warpAffine(np.ascontiguousarray(view.image), matrix, (CANVAS[1], rows), flags=cv2.INTER_LINEAR,
                                  borderMode=cv2.BORDER_CONSTANT, borderValue=(GREY,) * 3)  # fmt: skip
    return developed(image, rng), moved(view, matrix, (CANVAS[1], rows))


def moved(view: StoredView, matrix: Float32, size: tuple[int, int]) -> Truth:
    """Truth after an affine map (2,3) without rotation into a picture of a size (width, height) [pixel].

    `warpAffine` maps centres of pixels, boxes are of their edges; hence the halves.
    """
    truth, (sx, sy) = view.truth, (float(matrix[0, 0]), float(matrix[1, 1]))
    x = (truth.boxes[:, 0::2] - 0.5) * sx + matrix[0, 2] + 0.5
    y = (truth.boxes[:, 1::2] - 0.5) * sy + matrix[1, 2] + 0.5
    whole = np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], 1)
    cut = np.clip(whole, 0.0, [size[0], size[1], size[0], size[1]])
    left = np.prod(cut[:, 2:] - cut[:, :2], axis=1) / np.prod(whole[:, 2:] - whole[:, :2], axis=1)
    least = np.where(truth.classes < THINGS, CLEAR_THING_PX, CLEAR_FURNITURE_PX)
    clear = truth.clear & (left >= _LEAST_LEFT) & (view.pixels * abs(sx * sy) * left >= least)
    inside = ((cut[:, 2:] - cut[:, :2]) >= 1.0).all(1)
    return Truth(cut[inside].astype(np.float32), truth.classes[inside], truth.colours[inside], clear[inside])


def _placement(camera: str, shape: tuple[int, int], rng: np.random.Generator) -> Float32:
    height, width = shape
    if rng.random() < _AS_IT_IS:
        scale, left, top = 1.0, 0.0, 0.0
    else:
        low, high = np.log(_SCALES[camera])
        scale = float(np.exp(rng.uniform(low, high)))
        left = 0.5 * (CANVAS[1] - scale * width) + rng.uniform(-_MOVED, _MOVED) * CANVAS[1]
        top = 0.5 * (CANVAS[0] - scale * height) + rng.uniform(-_MOVED, _MOVED) * CANVAS[0]
    mirrored = rng.random() < 0.5
    matrix = np.array([[scale, 0.0, left + 0.5 * (scale - 1.0)], [0.0, scale, top + 0.5 * (scale - 1.0)]], np.float32)
    if mirrored:
        matrix[0] = [-scale, 0.0, left + scale * (width - 0.5) - 0.5]
    return matrix


def developed(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Other brightness, contrast and gamma, a little of each channel: colours are names here, they must stay."""
    levels = np.linspace(0.0, 1.0, 256)[:, None] ** np.exp(rng.uniform(-0.25, 0.25))
    gain = np.exp(rng.uniform(-0.25, 0.25)) * np.exp(rng.uniform(-0.06, 0.06, 3))
    contrast, bias = np.exp(rng.uniform(-0.2, 0.2)), rng.uniform(-0.06, 0.06)
    table = np.clip(255.0 * (((levels - 0.5) * contrast + 0.5) * gain + bias), 0.0, 255.0)
    out: np.ndarray = cv2.LUT(image, table.astype(np.uint8)[None])
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (3, 3), float(rng.uniform(0.4, 0.9)))
    if rng.random() < 0.3:
        noise = rng.standard_normal(out.shape, dtype=np.float32) * rng.uniform(1.0, 6.0)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    made: UInt8 = out
    return made
