"""Crop, area averaging, colour order and the refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perception_samples import raw

from vla_core.contract import CameraSpec
from vla_core.errors import ObservationError
from vla_perception.core.resize import FitView, RawImage, centre_crop

VIEW = FitView(CameraSpec("front", 32, 32, "rgb8"))


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def test_same_size_is_untouched_and_copied() -> None:
    pixels = noise(32, 32)
    view = VIEW(raw(pixels, "rgb8"))
    assert np.array_equal(view, pixels)
    assert not np.shares_memory(view, pixels)


def test_whole_ratio_is_the_mean_of_blocks() -> None:
    pixels = noise(128, 192)
    blocks = pixels[:, 32:160].reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(VIEW(raw(pixels, "rgb8")) - blocks).max() <= 0.51


@given(st.integers(32, 90), st.integers(32, 90), st.integers(0, 255))
@settings(max_examples=40)
def test_flat_picture_stays_flat(width: int, height: int, grey: int) -> None:
    view = VIEW(raw(np.full((height, width, 3), grey, np.uint8), "rgb8"))
    assert view.shape == (32, 32, 3)
    assert view.dtype == np.uint8
    assert np.all(view == grey)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", "RGB"), ("bgr8", "BGR"), ("rgba8", "RGBA"), ("bgra8", "BGRA")]
)
def test_every_encoding_becomes_rgb(encoding: str, order: str) -> None:
    value = {"R": 10, "G": 20, "B": 30, "A": 40}
    pixels = np.empty((48, 64, len(order)), np.uint8)
    pixels[:] = [value[letter] for letter in order]
    assert np.all(VIEW(raw(pixels, encoding)) == (10, 20, 30))


def test_padded_rows_are_understood() -> None:
    pixels = noise(40, 40)
    padded = np.full((40, 128), 255, np.uint8)
    padded[:, :120] = pixels.reshape(40, 120)
    image = RawImage(40, 40, 128, "rgb8", padded.reshape(-1))
    assert np.array_equal(VIEW(image), VIEW(raw(pixels, "rgb8")))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500), st.integers(1, 500))
def test_crop_lies_inside_and_is_centred(width: int, height: int, target_width: int, target_height: int) -> None:
    crop = centre_crop(width, height, target_width, target_height)
    assert crop.left >= 0 and crop.left + crop.width <= width
    assert crop.top >= 0 and crop.top + crop.height <= height
    assert abs(width - crop.width - 2 * crop.left) <= 1
    assert abs(height - crop.height - 2 * crop.top) <= 1
    assert crop.width == width or crop.height == height


def test_intrinsics_follow_the_pixels() -> None:
    """The centre of a bright spot lies where the view's camera matrix says."""
    k = np.array([[300.0, 0, 121.5], [0, 300.0, 80.5], [0, 0, 1]])
    point = np.array([0.05, -0.08, 1.0])
    column, row, _ = k @ point
    rows, columns = np.mgrid[0:160, 0:240]
    spot = 250 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 6.0**2))
    view = VIEW(raw(np.repeat(spot[..., None], 3, axis=2).astype(np.uint8), "rgb8"))[..., 0].astype(float)
    rows, columns = np.mgrid[0:32, 0:32]
    measured = np.array([(columns * view).sum(), (rows * view).sum()]) / view.sum()
    assert measured == pytest.approx((VIEW.intrinsics(k, 240, 160) @ point)[:2], abs=0.05)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (RawImage(64, 48, 64, "mono8", np.zeros(64 * 48, np.uint8)), "mono8"),
        (RawImage(64, 48, 192, "", np.zeros(192 * 48, np.uint8)), "encoding ''"),
        (RawImage(64, 48, 191, "rgb8", np.zeros(191 * 48, np.uint8)), "rows of 191 bytes"),
        (RawImage(64, 48, 192, "rgb8", np.zeros(192 * 48 - 1, np.uint8)), "9215 bytes"),
        (RawImage(0, 0, 0, "rgb8", np.zeros(0, np.uint8)), "0x0"),
        (RawImage(64, 31, 192, "rgb8", np.zeros(192 * 31, np.uint8)), "64x31"),
    ],
)
def test_broken_frames_are_refused_by_name(image: RawImage, words: str) -> None:
    with pytest.raises(ObservationError) as caught:
        VIEW(image)
    assert words in str(caught.value)
    assert "camera 'front'" in str(caught.value)
