"""The detector that ships for the generated flats: things of nine categories in six colours, and furniture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vla_core.errors import UnknownNameError
from vla_core.types import Float32, UInt8
from vla_perception.core.detector.decode import decode
from vla_perception.core.detector.detection import Detected, check_image
from vla_perception.core.detector.network import GREY, padded_size
from vla_perception.core.detector.weights import load_detector
from vla_policy.core.openvino_graph import compiled

BACKENDS = ("openvino", "torch")
_MOST_SHAPES = 4  # graphs kept, one per image size


class FlatDetector:
    """See the module. Not reentrant. The first image of a size takes longer: a graph is compiled for it.

    Args:
        weights: File that `vla_sim.detector_training` wrote.
        least_score: Detections below aren't returned; None: the threshold that the file names.
        backend: One of BACKENDS.

    Attributes:
        metadata: What the file says.

    Raises:
        WeightsError: the file is missing or corrupt.
        UnknownNameError: no such backend.
    """

    def __init__(self, weights: Path, least_score: float | None = None, backend: str = "openvino") -> None:
        if backend not in BACKENDS:
            raise UnknownNameError("backend", backend, BACKENDS)
        self._model, self.metadata = load_detector(weights)
        self.least_score = self.metadata.threshold if least_score is None else least_score
        self._backend = backend
        self._graphs: OrderedDict[tuple[int, int], Callable[[UInt8], Float32]] = OrderedDict()

    @property
    def classes(self) -> tuple[str, ...]:
        """(K,) names."""
        return self.metadata.vocabulary.classes

    @property
    def colours(self) -> tuple[str, ...]:
        """(C,) names."""
        return self.metadata.vocabulary.colours

    def detect(self, image: UInt8) -> list[Detected]:
        """See Detector."""
        height, width = check_image(image).shape[:2]
        whole = padded(image)
        size = whole.shape[0], whole.shape[1]
        if size not in self._graphs:
            self._graphs[size] = self._compile(size)
        self._graphs.move_to_end(size)
        while len(self._graphs) > _MOST_SHAPES:
            self._graphs.popitem(last=False)
        meta = self.metadata
        heads = self._graphs[size](whole)
        return decode(heads, meta.vocabulary, (width, height), self.least_score, meta.calibration)

    def _compile(self, size: tuple[int, int]) -> Callable[[UInt8], Float32]:
        if self._backend == "torch":
            return self._by_torch
        run = compiled(self._model, (torch.zeros(1, *size, 3, dtype=torch.uint8),))[0]
        return lambda image: run([image[None]])[0][0].copy()

    @torch.no_grad()
    def _by_torch(self, image: UInt8) -> Float32:
        out: Float32 = self._model(torch.from_numpy(image)[None])[0].numpy()
        return out


def padded(image: UInt8) -> UInt8:
    """An image (H,W,3) with grey below and to the right of it, sides multiples of 32."""
    height, width = padded_size(image.shape)
    out = np.full((height, width, 3), GREY, np.uint8)
    out[: image.shape[0], : image.shape[1]] = image
    return out
