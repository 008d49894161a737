"""What a detector is and what it returns; the semantic map takes the same fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ObservationError
from vla_core.types import Float32, UInt8

#: (x0, y0, x1, y1) [pixel], x1 and y1 exclusive.
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Detected:
    """Something in an image.

    Attributes:
        box: Within the image, never empty.
        score: Probability that there is something that fills this box, 0..1.
        classes: float32 (K,) probability of every class of the detector; sums to 1.
        colours: float32 (C,) probability of every colour; sums to 1, even where a class has no colour of its own.
    """

    box: Box
    score: float
    classes: Float32
    colours: Float32


class Detector(Protocol):
    """Finds things in images.

    Attributes:
        classes: (K,) names.
        colours: (C,) names.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def colours(self) -> tuple[str, ...]: ...

    def detect(self, image: UInt8) -> list[Detected]:
        """Find things, the surest first.

        Args:
            image: RGB, uint8 (H,W,3), 0..255.

        Raises:
            ObservationError: the image is of another type or shape.
        """


@runtime_checkable
class FreeTextDetector(Detector, Protocol):
    """One that can be told what else to look for."""

    def look_for(self, phrase: str) -> None:
        """Add a class behind those that it has; one that it has already changes nothing.

        Raises:
            ConfigError: it can't look for that, or for nothing more.
        """


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a detector tells apart.

    Attributes:
        classes: (K,) names; the first `things` are things that lie about and have a colour, the others furniture.
        colours: (C,) names.
        things: How many classes are things.
    """

    classes: tuple[str, ...]
    colours: tuple[str, ...]
    things: int

    @property
    def groups(self) -> tuple[slice, slice]:
        """Classes of things, and of furniture. Within a group one place of an image shows one object."""
        return slice(0, self.things), slice(self.things, len(self.classes))


@dataclass(frozen=True, slots=True)
class Truth:
    """What is really in an image; for training and judging.

    Attributes:
        boxes: float32 (N,4) [pixel].
        classes: int64 (N,), places in the vocabulary.
        colours: int64 (N,), -1 where there is none.
        clear: bool (N,); what isn't clear need not be found, and is no error where it is found.
    """

    boxes: Float32
    classes: NDArray[np.int64]
    colours: NDArray[np.int64]
    clear: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.classes)


def check_image(image: UInt8) -> UInt8:
    """The image itself.

    Raises:
        ObservationError: it isn't uint8 (H,W,3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 1:
        got = f"an image {image.dtype} {image.shape}"
        raise ObservationError(got, "RGB, uint8 (H,W,3)", "convert it first")
    return image


def clipped(box: Sequence[float], width: int, height: int) -> Box | None:
    """The nearest box of whole pixels within an image of that size [pixel]; None where nothing of it is inside."""
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def overlaps(one: Float32, other: Float32) -> Float32:
    """Intersection over union of boxes (N,4) and (M,4): float32 (N,M)."""
    low, high = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=2)
    area, area_other = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (one, other))
    out: Float32 = (common / np.maximum(area[:, None] + area_other[None] - common, 1e-9)).astype(np.float32)
    return out


def without_doubles(boxes: Float32, scores: Float32, most: float) -> list[int]:
    """Greedy non-maximum suppression: places of boxes (N,4), the surest first; none overlaps a surer one by `most`."""
    kept: list[int] = []
    shared = overlaps(boxes, boxes)
    for i in np.argsort(-scores, kind="stable").tolist():
        if all(shared[i, j] < most for j in kept):
            kept.append(i)
    return kept
