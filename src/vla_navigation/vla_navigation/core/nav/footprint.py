"""The robot's outline as discs that together cover it: one distance per disc says whether it touches anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import distance

from vla_core.errors import ConfigError
from vla_core.types import Float32, Float64

_SAMPLE_M = 0.02
_BETWEEN_M = 1.25 * _SAMPLE_M  # no point of an outline is further from the nearest sample inside it


@dataclass(frozen=True, slots=True)
class Footprint:
    """Discs in the base's frame.

    Attributes:
        discs: float64 (D,3): x, y, radius [m].
        inscribed_m: Radius of the largest disc about the base's origin within the outline.
        circumscribed_m: Radius of the smallest disc about the origin around all discs.
    """

    discs: Float64
    inscribed_m: float
    circumscribed_m: float

    @classmethod
    def circle(cls, radius_m: float) -> Footprint:
        """A round robot.

        Raises:
            ConfigError: the radius is not > 0.
        """
        if not 0 < radius_m < np.inf:
            raise ConfigError(f"a footprint of radius {radius_m} m", "a number > 0", "correct the robot's footprint")
        return cls(np.array([[0.0, 0.0, radius_m]]), radius_m, radius_m)

    @classmethod
    def polygon(cls, corners: Sequence[tuple[float, float]], slack_m: float = 0.05) -> Footprint:
        """An outline around the origin, covered greedily by discs that overhang it by at most `slack_m`.

        Raises:
            ConfigError: fewer than three corners, not finite, or the origin isn't inside.
        """
        outline = np.array(corners, np.float32).reshape(-1, 2)
        fix = "correct the robot's footprint"
        if len(outline) < 3 or not np.isfinite(outline).all():
            raise ConfigError(f"a footprint with corners {list(corners)}", "three or more finite corners", fix)
        inscribed = cv2.pointPolygonTest(outline, (0.0, 0.0), True)
        if inscribed <= 0:
            raise ConfigError(f"a footprint {list(corners)} beside the base's origin", "one around it", fix)
        samples = _samples(outline)
        depth = np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y in samples])
        samples, depth = samples[depth > -1e-6], np.maximum(depth[depth > -1e-6], 0.0)
        discs = np.array(_greedy_cover(samples, depth + (slack_m - _BETWEEN_M)))
        discs[:, 2] += _BETWEEN_M
        reach = float((np.hypot(discs[:, 0], discs[:, 1]) + discs[:, 2]).max())
        return cls(discs, float(inscribed), reach)


def _samples(outline: Float32) -> Float64:
    """Points (N,2) of the lattice around an outline (V,2), and along its edges."""
    low, high = outline.min(0), outline.max(0)
    axes = [np.arange(a, b + _SAMPLE_M, _SAMPLE_M) for a, b in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    edges = []
    for a, b in zip(outline, np.roll(outline, -1, 0), strict=True):
        share = np.linspace(0.0, 1.0, 2 + int(np.linalg.norm(b - a) / _SAMPLE_M))[:, None]
        edges.append(a + share * (b - a))
    return np.concatenate([lattice, *edges]).astype(np.float64)


def _greedy_cover(points: Float64, radii: Float64) -> list[tuple[float, float, float]]:
    """Discs about points (N,2) with radii (N,) > 0, the most useful first, until each point lies in one."""
    covers = (distance.cdist(points, points) <= radii[:, None]).astype(np.float32)
    bare, chosen = np.ones(len(points), np.float32), []
    while bare.any():
        k = int(np.argmax(covers @ bare))
        chosen.append((float(points[k, 0]), float(points[k, 1]), float(radii[k])))
        bare[covers[k] > 0.0] = 0.0
    return chosen
