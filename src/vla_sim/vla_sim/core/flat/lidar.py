"""Spinning lidars: rays into the compiled flat, with range noise and lost beams. The robot itself is masked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32, Float64

_SEEN = np.array([1, 0, 0, 0, 0, 0], np.uint8)  # geom group of what stands and lies in a flat


@dataclass(frozen=True, slots=True)
class LidarConfig:
    """One lidar.

    Attributes:
        site: Where it sits, x ahead.
        frame: Name of its frame.
        rate_hz: Scans per second.
        rings_deg: Elevation of every ring above the site's x-y plane.
        beams: Per ring, counter-clockwise from -180 degrees.
        range_m: Least and largest range.
        noise_m: Standard deviation of a range.
        dropout: Share of beams that return nothing.
    """

    site: str
    frame: str
    rate_hz: float
    rings_deg: Sequence[float]
    beams: int
    range_m: tuple[float, float]
    noise_m: float
    dropout: float


class Lidar:
    """Scans a model.

    Args:
        config: Which one.
        rng: Of noise and lost beams.

    Attributes:
        directions: float64 (rings, beams, 3), unit vectors in the sensor's frame.
        blind: No beam comes back, as with a covered window: a fault.
    """

    def __init__(self, config: LidarConfig, rng: np.random.Generator) -> None:
        self.config, self._rng, self.blind = config, rng, False
        azimuth = -np.pi + 2 * np.pi * np.arange(config.beams) / config.beams
        elevation, around = np.meshgrid(np.radians(config.rings_deg), azimuth, indexing="ij")
        flat = np.cos(elevation)
        self.directions: Float64 = np.stack([flat * np.cos(around), flat * np.sin(around), np.sin(elevation)], -1)
        count = azimuth.size * len(config.rings_deg)
        self._geoms, self._ranges = np.zeros(count, np.int32), np.zeros(count)

    def scan(self, model: mujoco.MjModel, data: mujoco.MjData) -> Float32:
        """Ranges [m], float32 (rings, beams); +inf where nothing was met in range or the beam was lost (REP-117)."""
        config, ranges = self.config, self.exact(model, data)
        ranges = ranges + self._rng.normal(0.0, config.noise_m, ranges.shape)
        lost = self.blind | (self._rng.random(ranges.shape) < config.dropout)
        low, high = config.range_m
        return np.where(lost | (ranges < low) | (ranges > high), np.inf, ranges).astype(np.float32)

    def exact(self, model: mujoco.MjModel, data: mujoco.MjData) -> Float64:
        """Ranges without noise or limits (rings, beams) [m], +inf where there is nothing."""
        site = data.site(self.config.site)
        rays = (self.directions.reshape(-1, 3) @ site.xmat.reshape(3, 3).T).ravel()
        base, high = int(model.site_bodyid[site.id]), self.config.range_m[1]
        mujoco.mj_multiRay(model, data, site.xpos, rays, _SEEN, 1, base, self._geoms, self._ranges, None,
                           len(self._ranges), high + 1.0)  # fmt: skip
        return np.where(self._geoms >= 0, self._ranges, np.inf).reshape(self.directions.shape[:2])

    def points(self, ranges: Float32) -> Float32:
        """Points (N,3) [m] of the beams that met something, in the sensor's frame, float32."""
        met = np.isfinite(ranges)
        return (self.directions[met] * ranges[met][:, None]).astype(np.float32)

    @staticmethod
    def rings(ranges: Float32) -> NDArray[np.uint16]:
        """Ring of each of `points`, uint16 (N,), 0 the lowest."""
        return np.nonzero(np.isfinite(ranges))[0].astype(np.uint16)
