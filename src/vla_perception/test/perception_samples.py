"""Synthetic sources for the tests of this package."""

from __future__ import annotations

import numpy as np

from vla_control.core.robot import RobotModel
from vla_perception.core.proprioception import JointSample
from vla_perception.core.resize import RawImage

MS = 1_000_000


def flat(colour: tuple[int, int, int], width: int = 160, height: int = 128) -> RawImage:
    """One-coloured rgb8 frame."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = colour
    return raw(pixels, "rgb8")


def raw(pixels: np.ndarray, encoding: str) -> RawImage:
    """Frame of uint8 (H,W,C) without padding."""
    height, width, channels = pixels.shape
    return RawImage(width, height, width * channels, encoding, pixels.reshape(-1))


def joint_names(robot: RobotModel) -> tuple[str, ...]:
    """Arm and finger joints in the robot file's order."""
    return (*robot.config.joints, *robot.config.grippers[0].joints)


def sample(robot: RobotModel, q: np.ndarray, width_m: float = 0.05, order: np.ndarray | None = None) -> JointSample:
    """Joint states at arm position q, the names in `order`."""
    names, fingers = joint_names(robot), np.full(2, width_m / 2)
    position = np.concatenate([q, fingers])
    order = np.arange(len(names)) if order is None else order
    return JointSample(tuple(names[i] for i in order), position[order], np.zeros(len(names)))
