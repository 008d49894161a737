"""What a camera that is fixed to the base has in view, for places that the robot isn't at yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.types import Float64

_EDGE = 0.8  # of the half picture: what lies further out is about to leave it


@dataclass(frozen=True, slots=True)
class CameraCone:
    """A pinhole camera on the base.

    Attributes:
        position_m: float64 (3,) in the base frame.
        rotation: float64 (3,3) optical axes (x right, y down, z ahead; REP-103) in the base frame, as columns.
        half_x, half_y: Tangents of half the angles of view.
        near_m, far_m: Of what it measures, along its axis.
    """

    position_m: Float64
    rotation: Float64
    half_x: float
    half_y: float
    near_m: float
    far_m: float

    def sees(self, points: Float64) -> np.ndarray:
        """Which points (N,3) of the base frame are well within the picture, bool (N,)."""
        x, y, ahead = ((points - self.position_m) @ self.rotation).T
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = (np.abs(x / ahead) <= _EDGE * self.half_x) & (np.abs(y / ahead) <= _EDGE * self.half_y)
        return np.asarray(inside & (ahead >= self.near_m) & (ahead <= self.far_m))
