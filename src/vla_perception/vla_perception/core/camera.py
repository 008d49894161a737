"""What a camera's calibration says, ROS-free."""

from __future__ import annotations

from dataclasses import dataclass

from vla_core.types import Float64


@dataclass(frozen=True, slots=True)
class CameraModel:
    """Pinhole camera.

    Attributes:
        frame: Optical frame: z forward, x right, y down.
        width: [pixel].
        height: [pixel].
        camera_matrix: K [pixel], float64 (3,3).
        distortion_model: 'plumb_bob' or 'rational_polynomial'; empty: no distortion.
        distortion: float64 (D,) coefficients of that model.
    """

    frame: str
    width: int
    height: int
    camera_matrix: Float64
    distortion_model: str
    distortion: Float64
