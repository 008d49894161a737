"""What a semantic map is given: one RGB-D view, and what a detector made of its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ObservationError
from vla_core.types import Float32, Float64

_NEAREST_M = 0.05
#: What a view says of a place: nothing (it isn't in the image, or wasn't measured), that it looked through it, that
#: something nearer hides it, or that a surface is there.
OUTSIDE, UNMEASURED, THROUGH, HIDDEN, THERE = range(5)


@dataclass(frozen=True, slots=True)
class Detection:
    """Something in an image.

    Attributes:
        box: (x0, y0, x1, y1) [pixel], x1 and y1 exclusive.
        score: That there is something, 0..1.
        classes: float32 (K,) probability of every class of the map.
        colours: float32 (C,) probability of every colour of the map.
        mask: bool (y1-y0, x1-x0), which pixels of the box are its own; None: not known.
    """

    box: tuple[int, int, int, int]
    score: float
    classes: Float32
    colours: Float32
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A depth image, and from where it was taken.

    Attributes:
        stamp_ns: Capture time.
        depth_m: float32 (H,W) along the optical axis; 0, NaN or infinity: not measured.
        camera_matrix: K [pixel], float64 (3,3).
        T_map_camera: float64 (4,4), optical frame (z ahead, x right, y down) into map.
        range_m: Beyond it depth isn't believed.
        hand_m: float64 (3,) where the hand holds something, in the map; None: it holds nothing.
    """

    stamp_ns: int
    depth_m: Float32
    camera_matrix: Float64
    T_map_camera: Float64
    range_m: float = 4.0
    hand_m: Float64 | None = None

    def __post_init__(self) -> None:
        if self.depth_m.ndim != 2 or self.camera_matrix.shape != (3, 3) or self.T_map_camera.shape != (4, 4):
            got = f"depth {self.depth_m.shape}, K {self.camera_matrix.shape}, pose {self.T_map_camera.shape}"
            raise ObservationError(got, "(H,W), (3,3), (4,4)", "see View")
        if not (np.isfinite(self.T_map_camera).all() and np.isfinite(self.camera_matrix).all()):
            raise ObservationError("a camera pose or matrix with NaN", "finite numbers", "look at /tf and camera_info")

    @property
    def eye_m(self) -> Float64:
        """(3,) where the camera is, in the map."""
        found: Float64 = self.T_map_camera[:3, 3]
        return found

    def measured(self, depth_m: Float32) -> NDArray[np.bool_]:
        """Which of these depths are measurements within range."""
        with np.errstate(invalid="ignore"):
            found: NDArray[np.bool_] = (depth_m > _NEAREST_M) & (depth_m < self.range_m)
        return found

    def points(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
        """(N,3) in the map, of pixels whose depth was measured."""
        k, z = self.camera_matrix, self.depth_m[rows, columns].astype(np.float64)
        camera = np.stack([(columns - k[0, 2]) / k[0, 0] * z, (rows - k[1, 2]) / k[1, 1] * z, z], 1)
        out: Float64 = camera @ self.T_map_camera[:3, :3].T + self.T_map_camera[:3, 3]
        return out

    def project(self, points_m: Float64) -> tuple[Float64, Float64]:
        """Pixels (N,2) as (x, y), and depths (N,), of points (N,3) in the map; behind the camera the depth is <= 0."""
        rotation, k = self.T_map_camera[:3, :3], self.camera_matrix
        camera = (points_m - self.eye_m) @ rotation
        z = camera[:, 2]
        safe = np.where(z > 1e-6, z, 1.0)
        pixels = np.stack([k[0, 0] * camera[:, 0] / safe + k[0, 2], k[1, 1] * camera[:, 1] / safe + k[1, 2]], 1)
        return pixels, z


def compare(view: View, points_m: Float64, margin_m: float | Float64) -> NDArray[np.int64]:
    """What a view says of points (N,3): OUTSIDE, UNMEASURED, THROUGH, HIDDEN or THERE, int64 (N,).

    Args:
        margin_m: A depth that differs by more, from each point's or (N,), is another surface's.
    """
    height, width = view.depth_m.shape
    pixels, depth = view.project(points_m)
    columns, rows = np.rint(pixels).astype(np.int64).T
    inside = (columns >= 2) & (columns < width - 2) & (rows >= 2) & (rows < height - 2)
    inside &= (depth > 0.1) & (depth < 0.9 * view.range_m)
    measured = view.depth_m[np.where(inside, rows, 0), np.where(inside, columns, 0)]
    behind = np.asarray(measured, np.float64) - depth
    said = np.select([behind > margin_m, behind < -np.asarray(margin_m)], [THROUGH, HIDDEN], THERE)
    said[~view.measured(measured)] = UNMEASURED
    said[~inside] = OUTSIDE
    return np.asarray(said, np.int64)


def surface(view: View, detection: Detection, thickness_m: float = 0.12, least: int = 8) -> Float64 | None:
    """Points (N,3) of the detected thing: the nearest well supported depth of its box, and what lies close behind.

    A box also holds what is behind the thing and what stands before it. Its own surface is taken for the nearest layer
    that holds at least a quarter of the measured pixels (an eighth where the mask is known). The layer is as thick as
    the thing is wide, but at least `thickness_m`.

    Returns:
        None where too little was measured.
    """
    x0, y0, x1, y1 = detection.box
    height, width = view.depth_m.shape
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ObservationError(f"box {detection.box}", f"one within {width} x {height}", "clip it to the image")
    patch = view.depth_m[y0:y1, x0:x1]
    own = view.measured(patch)
    if detection.mask is not None:
        own &= detection.mask
    rows, columns = np.nonzero(own)
    if len(rows) < least:
        return None
    depths = patch[rows, columns]
    order = np.sort(depths)
    wanted = max(least, int(len(order) * (0.25 if detection.mask is None else 0.125)))
    held = np.searchsorted(order, order + thickness_m) - np.arange(len(order))  # depths in the layer that begins here
    begin = order[int(np.argmax(held >= wanted))]
    wide_m = (x1 - x0) / view.camera_matrix[0, 0] * begin
    layer = (depths >= begin) & (depths <= begin + max(thickness_m, wide_m))
    return view.points(rows[layer] + y0, columns[layer] + x0)
