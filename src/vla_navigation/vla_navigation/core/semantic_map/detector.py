"""What finds things in images for the semantic map, and how one is chosen by name.

A package brings a detector of its own by an entry point of the group 'vla.detectors': a factory without arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError
from vla_core.registry import Registry
from vla_core.types import Float32, UInt8
from vla_navigation.core.semantic_map.views import Detection


class Detected(Protocol):
    """Something in an image: the fields of `Detection`, the mask aside."""

    @property
    def box(self) -> tuple[int, int, int, int]: ...

    @property
    def score(self) -> float: ...

    @property
    def classes(self) -> Float32: ...

    @property
    def colours(self) -> Float32: ...


class Detector(Protocol):
    """Finds things.

    Attributes:
        classes: (K,) names of what it tells apart.
        colours: (C,) names of colours.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def colours(self) -> tuple[str, ...]: ...

    def detect(self, image: UInt8) -> Sequence[Detected]:
        """Find things in an RGB image, uint8 (H,W,3).

        Raises:
            ObservationError: the image is of another type or shape.
        """


DETECTORS: Registry[Callable[[], Detector]] = Registry("detector", "vla.detectors")


def make_detector(name: str) -> Detector:
    """The detector called `name`.

    Raises:
        ConfigError: no name.
        UnknownNameError: no such detector; lists those that there are.
    """
    if not name:
        known = ", ".join(DETECTORS) or "none is installed"
        raise ConfigError("no detector", f"a name; known: {known}", "set parameter detector of semantic_map_node")
    return DETECTORS.get(name)()


def detections(found: Sequence[Detected]) -> list[Detection]:
    """What a detector found, as the map takes it."""

    def mask(one: Detected) -> NDArray[np.bool_] | None:
        return getattr(one, "mask", None)

    return [Detection(one.box, one.score, one.classes, one.colours, mask(one)) for one in found]
