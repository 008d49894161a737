"""Draw on camera pictures: where a chunk wants the tool to go, where it has been, and a line of text."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vla_core.types import Float64, UInt8

CHUNK_RGB, TRAIL_RGB, TEXT_RGB = (255, 140, 0), (0, 200, 255), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Pinhole:
    """An ideal camera.

    Attributes:
        matrix: K (3,3) [pixel].
        size: Width and height that K is meant for [pixel].
        rotation: (3,3), maps the optical frame (x right, y down, z forward) into the base frame.
        position_m: (3,) of the optical frame in the base frame.
    """

    matrix: Float64
    size: tuple[int, int]
    rotation: Float64
    position_m: Float64

    def project(self, points_m: Float64) -> Float64:
        """Pixels (N,2) of points (N,3) in the base frame [m]; NaN behind the camera."""
        local = (points_m - self.position_m) @ self.rotation
        depth = np.where(local[:, 2] > 1e-3, local[:, 2], np.nan)
        pixels: Float64 = (local / depth[:, None]) @ self.matrix.T
        return pixels[:, :2]


def rotation_matrix(quaternion: Float64) -> Float64:
    """(3,3) of a unit quaternion xyzw (4,)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def enlarge(rgb: UInt8, height: int) -> UInt8:
    """Copy of a picture (H,W,3), scaled to `height` [pixel]."""
    scale = height / rgb.shape[0]
    width = round(rgb.shape[1] * scale)
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.ascontiguousarray(cv2.resize(rgb, (width, height), interpolation=method), np.uint8)


def draw_path(rgb: UInt8, camera: Pinhole, points_m: Float64, colour: tuple[int, int, int], dots: bool = False) -> None:
    """Draw points (N,3) of the base frame into a picture of `camera`, of any scale, in place."""
    if len(points_m) == 0:
        return
    pixels = camera.project(points_m) * (rgb.shape[1] / camera.size[0])
    seen = pixels[np.isfinite(pixels).all(axis=1)]
    seen = np.clip(seen, -4096, 4096)
    fixed = np.round(seen * 16).astype(np.int32)  # 4 fractional bits
    cv2.polylines(rgb, [fixed.reshape(-1, 1, 2)], False, colour, 2, cv2.LINE_AA, 4)
    for x, y in fixed if dots else fixed[:0]:
        cv2.circle(rgb, (int(x), int(y)), 3 * 16, colour, -1, cv2.LINE_AA, 4)


def draw_text(rgb: UInt8, text: str, baseline: int) -> None:
    """Write one line at the left edge on a dark band, in place."""
    scale = 0.55
    (_, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    top, bottom = baseline - height - 6, baseline + below + 2
    rgb[max(top, 0) : bottom] = rgb[max(top, 0) : bottom] // 3
    cv2.putText(rgb, text, (8, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, TEXT_RGB, 1, cv2.LINE_AA)
