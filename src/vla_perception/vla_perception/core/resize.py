"""From a camera's pixels to a contract view: centre crop to the view's aspect ratio, then area averaging.

Everything stays uint8. Area averaging (every source pixel weighted by the part of it that a target pixel covers) is
what a camera of the smaller resolution would have measured; it also is what recorded and simulated training data
went through, so all of them use this one class.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vla_core.contract import CameraSpec
from vla_core.errors import ObservationError
from vla_core.types import UInt8

#: Encoding -> channels and OpenCV's conversion to RGB (None: it is RGB).
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
}


@dataclass(frozen=True, slots=True)
class RawImage:
    """One frame as a camera driver sends it.

    Attributes:
        width: [pixel].
        height: [pixel].
        step: Length of a row [bytes], padding included.
        encoding: Name by sensor_msgs/image_encodings.
        data: uint8 (height*step,), not copied.
    """

    width: int
    height: int
    step: int
    encoding: str
    data: UInt8


@dataclass(frozen=True, slots=True)
class Crop:
    """Rectangle of the source that a view shows: left, top, width, height [pixel]."""

    left: int
    top: int
    width: int
    height: int


def centre_crop(width: int, height: int, target_width: int, target_height: int) -> Crop:
    """Largest centred rectangle of a width x height image with the target's aspect ratio (to the nearest pixel)."""
    crop_width = min(width, round(height * target_width / target_height))
    crop_height = min(height, round(width * target_height / target_width))
    return Crop((width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height)


@dataclass(frozen=True, slots=True)
class FitView:
    """Fits raw frames to one camera of the contract."""

    spec: CameraSpec

    def __call__(self, image: RawImage) -> UInt8:
        """Crop, average and convert to RGB.

        Args:
            image: A frame at least as large as the view.

        Returns:
            uint8 (H,W,3), RGB 0..255, the view's size; a new array.

        Raises:
            ObservationError: unknown encoding, impossible size or stride, or fewer pixels than the view has.
        """
        pixels = self._pixels(image)
        view = centre_crop(image.width, image.height, self.spec.width, self.spec.height)
        if view.width < self.spec.width or view.height < self.spec.height:
            raise ObservationError(
                f"{image.width}x{image.height} pixels from camera '{self.spec.name}'",
                f"at least {self.spec.width}x{self.spec.height} after the centre crop (nothing is enlarged)",
                "raise the camera's resolution, or use a contract with smaller views",
            )
        pixels = pixels[view.top : view.top + view.height, view.left : view.left + view.width]
        size = (self.spec.width, self.spec.height)
        if (view.width, view.height) != size:
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        conversion = _ENCODINGS[image.encoding][1]
        return np.array(pixels if conversion is None else cv2.cvtColor(pixels, conversion), dtype=np.uint8, order="C")

    def intrinsics(self, camera_matrix: np.ndarray, width: int, height: int) -> np.ndarray:
        """Camera matrix of the view.

        Args:
            camera_matrix: K of the raw image [pixel], float64 (3,3).
            width: Raw width [pixel].
            height: Raw height [pixel].

        Returns:
            K of the view [pixel], float64 (3,3); pixel centres lie at whole numbers, as in ROS and OpenCV.
        """
        view = centre_crop(width, height, self.spec.width, self.spec.height)
        scale_x, scale_y = self.spec.width / view.width, self.spec.height / view.height
        shift = np.array(
            [
                [scale_x, 0.0, (0.5 - view.left) * scale_x - 0.5],
                [0.0, scale_y, (0.5 - view.top) * scale_y - 0.5],
                [0.0, 0.0, 1.0],
            ]
        )
        return np.asarray(shift @ camera_matrix, dtype=np.float64)

    def _pixels(self, image: RawImage) -> UInt8:
        """View of the raw bytes as (height, width, channels)."""
        who = f"from camera '{self.spec.name}'"
        if image.encoding not in _ENCODINGS:
            raise ObservationError(
                f"encoding '{image.encoding}' {who}", f"one of {', '.join(_ENCODINGS)}", "set the driver's encoding"
            )
        channels = _ENCODINGS[image.encoding][0]
        if image.width < 1 or image.height < 1 or image.step < image.width * channels:
            raise ObservationError(
                f"{image.width}x{image.height} pixels with rows of {image.step} bytes {who}",
                f"rows of at least width*{channels} bytes",
                "mend the driver's width, height and step",
            )
        if image.data.size != image.height * image.step:
            raise ObservationError(
                f"{image.data.size} bytes {who}",
                f"height*step = {image.height * image.step} bytes",
                "mend the driver's height and step",
            )
        rows = image.data.reshape(image.height, image.step)[:, : image.width * channels]
        return rows.reshape(image.height, image.width, channels)
