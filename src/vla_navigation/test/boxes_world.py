"""A world of boxes on a floor for a depth camera, drawn by brute force, and a detector that errs as it is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.types import Float32, Float64
from vla_navigation.core.semantic_map.views import Detection, View

WIDTH, HEIGHT, FOCAL = 160, 120, 130.0
CAMERA = np.array([[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
CLASSES = ("mug", "bottle", "sink", "table")
COLOURS = ("red", "blue", "white")


@dataclass(frozen=True)
class Box:
    name: str
    colour: str
    middle_m: tuple[float, float, float]
    size_m: tuple[float, float, float]


def look(eye_m: tuple[float, float, float], at_m: tuple[float, float, float]) -> Float64:
    """Pose (4,4) of a camera there that looks at a point."""
    eye, at = np.array(eye_m), np.array(at_m)
    z = (at - eye) / np.linalg.norm(at - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([x, np.cross(z, x), z], 1), eye
    return out


def draw(boxes: list[Box], pose: Float64) -> tuple[Float32, np.ndarray]:
    """Depth (H,W), and which box every pixel shows (-1: the floor or nothing)."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(columns - CAMERA[0, 2]) / FOCAL, (rows - CAMERA[1, 2]) / FOCAL, np.ones(rows.shape)], -1)
    rays, eye = rays @ pose[:3, :3].T, pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = np.where(rays[..., 2] < 0.0, -eye[2] / rays[..., 2], np.inf)
        depth, which = floor, np.full(rows.shape, -1)
        for i, box in enumerate(boxes):
            low, high = (
                np.array(box.middle_m) - 0.5 * np.array(box.size_m),
                np.array(box.middle_m) + 0.5 * np.array(box.size_m),
            )
            near, far = (low - eye) / rays, (high - eye) / rays
            enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
            hit = (enter < leave) & (enter > 0.0) & (enter < depth)
            depth, which = np.where(hit, enter, depth), np.where(hit, i, which)
    return depth.astype(np.float32), which


def view(boxes: list[Box], eye_m: tuple[float, float, float], at_m: tuple[float, float, float], stamp_ns: int) -> View:
    pose = look(eye_m, at_m)
    return View(stamp_ns, draw(boxes, pose)[0], CAMERA, pose)


def detect(
    boxes: list[Box],
    eye_m: tuple[float, float, float],
    at_m: tuple[float, float, float],
    score: float = 0.9,
    sure: float = 0.9,
) -> list[Detection]:
    """A detection of every box that shows at least 12 pixels, without a mask."""
    which, found = draw(boxes, look(eye_m, at_m))[1], []
    for i, box in enumerate(boxes):
        rows, columns = np.nonzero(which == i)
        if len(rows) >= 12:
            frame = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
            found.append(Detection(frame, score, likely(CLASSES, box.name, sure), likely(COLOURS, box.colour, sure)))
    return found


def likely(names: tuple[str, ...], name: str, sure: float) -> Float32:
    out = np.full(len(names), (1.0 - sure) / (len(names) - 1), np.float32)
    out[names.index(name)] = sure
    return out
