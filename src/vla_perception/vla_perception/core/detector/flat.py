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
from vla_perception.core.detector.second_look import look_by_torch, looked_again
from vla_perception.core.detector.weights import load_detector
from vla_policy.core.openvino_graph import Run, compiled

BACKENDS = ("openvino", "torch")
_MOST_SHAPES = 4  # graphs kept, one per image size
_CUTTINGS = (4, 16)  # graphs of the second look take so many at once


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
        self._model, self._second, self.metadata = load_detector(weights)
        self.least_score = self.metadata.threshold if least_score is None else least_score
        self._backend = backend
        self._graphs: OrderedDict[tuple[int, int], Callable[[UInt8], Float32]] = OrderedDict()
        self._looks: dict[int, Run] = {}

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
        found = decode(heads, meta.vocabulary, (width, height), self.least_score, meta.calibration)
        if meta.second_look is None:
            return found
        return looked_again(image, found, meta.vocabulary, meta.second_look, self._look)

    def _look(self, cuttings: UInt8) -> Float32:
        """Logits float32 (N,things) of the second look at cuttings uint8 (N,S,S,3)."""
        assert self._second is not None
        if self._backend == "torch":
            return look_by_torch(self._second)(cuttings)
        logits = []
        for begin in range(0, len(cuttings), _CUTTINGS[-1]):
            part = cuttings[begin : begin + _CUTTINGS[-1]]
            size = next(size for size in _CUTTINGS if size >= len(part))
            if size not in self._looks:
                self._looks[size] = compiled(self._second, (torch.zeros(size, *part.shape[1:], dtype=torch.uint8),))[0]
            whole = np.zeros((size, *part.shape[1:]), np.uint8)
            whole[: len(part)] = part
            logits.append(self._looks[size]([whole])[0][: len(part)].copy())
        return np.concatenate(logits)

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
