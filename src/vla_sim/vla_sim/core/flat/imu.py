"""An IMU: gyroscope and accelerometer with a bias for the run and white noise; it knows no orientation."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from vla_core.types import Float64


@dataclass(frozen=True, slots=True)
class ImuConfig:
    """Site of the model, frame, rate; standard deviations of noise and bias; see config/scenes/flat.yaml."""

    site: str
    frame: str
    rate_hz: float
    gyro_noise_rad_s: float
    gyro_bias_rad_s: float
    accelerometer_noise_m_s2: float
    accelerometer_bias_m_s2: float


class Imu:
    """Reads the model's sensors `gyro` and `accelerometer`.

    Args:
        config: Its errors.
        rng: Of the errors.

    Attributes:
        config: See there.
    """

    def __init__(self, config: ImuConfig, rng: np.random.Generator) -> None:
        self.config, self._rng = config, rng
        self._gyro_bias = rng.normal(0.0, config.gyro_bias_rad_s, 3)
        self._accelerometer_bias = rng.normal(0.0, config.accelerometer_bias_m_s2, 3)

    def read(self, data: mujoco.MjData) -> tuple[Float64, Float64]:
        """Angular velocity (3,) [rad/s] and specific force (3,) [m/s^2] (at rest +g upwards), in the IMU's frame."""
        noise = self._rng.normal(0.0, 1.0, (2, 3))
        gyro = data.sensor("gyro").data + self._gyro_bias + self.config.gyro_noise_rad_s * noise[0]
        force = data.sensor("accelerometer").data + self._accelerometer_bias
        return gyro, force + self.config.accelerometer_noise_m_s2 * noise[1]
