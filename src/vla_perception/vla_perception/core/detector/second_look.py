"""The second look: what a thing is, told from its own pixels at a size of their own (Girshick et al. 2014, R-CNN).

The first network sees the whole picture at once and finds nearly everything, but a mug of twenty pixels is two cells of
its head: whether it is a mug or a can it hardly knows. Cut out and enlarged the same pixels tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError
from vla_core.types import Float32, UInt8
from vla_perception.core.detector.detection import Box, Detected, Vocabulary
from vla_perception.core.detector.network import GREY, Residual, conv

_AROUND = 1.4  # a cutting's side against the longer one of its box: what a thing stands on tells as well
_LEAST_PX = 6.0
_MEAN, _SPREAD = 128.0, 64.0

#: Cuttings uint8 (N,S,S,3) to logits float32 (N,things).
Look = Callable[[UInt8], Float32]


@dataclass(frozen=True, slots=True)
class SecondLookConfig:
    """Sizes.

    Attributes:
        side: Of a cutting [pixel].
        widths: Channels of the stem and of strides 2, 4 and 8 (4,).
        things: Classes, the first ones of the vocabulary.
        temperature: Of its logits (Guo et al. 2017).
    """

    side: int
    widths: tuple[int, ...]
    things: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or min(*self.widths, self.things) < 1 or self.side < 8 or self.temperature <= 0.0:
            raise ConfigError(
                f"{self}", "four widths, a side of 8 or more, all positive", "mend the second look's sizes"
            )


class SecondLook(nn.Module):
    """See the module."""

    def __init__(self, config: SecondLookConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers: list[nn.Module] = [conv(3, widths[0])]
        for before, width in pairwise(widths):
            layers += [conv(before, width, 2), Residual(width)]
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(widths[-1], config.things)

    def forward(self, cuttings: Tensor) -> Tensor:
        """Cuttings (N,S,S,3), 0..255, to logits (N,things)."""
        x = ((cuttings.permute(0, 3, 1, 2).float() - _MEAN) / _SPREAD).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.out(self.drop(self.body(x).mean((2, 3))))
        return out


@dataclass(frozen=True, slots=True)
class Square:
    """What is cut out: its middle and its side [pixel]."""

    x: float
    y: float
    side: float

    @staticmethod
    def around(box: Sequence[float]) -> Square:
        """Of a box (x0, y0, x1, y1) and a little around it."""
        x0, y0, x1, y1 = (float(v) for v in box)
        return Square((x0 + x1) / 2, (y0 + y1) / 2, _AROUND * max(x1 - x0, y1 - y0, _LEAST_PX))


def cutting(image: UInt8, square: Square, side: int, mirrored: bool = False) -> UInt8:
    """uint8 (side,side,3) of an image uint8 (H,W,3); grey beyond its border."""
    scale = side / square.side
    # edges of pixels are at whole numbers, their centres half a pixel further; warpAffine maps centres
    across = 0.5 * side - 0.5 + scale * (0.5 - square.x)
    down = 0.5 * side - 0.5 + scale * (0.5 - square.y)
    matrix = np.array([[scale, 0.0, across], [0.0, scale, down]], np.float32)
    if mirrored:
        matrix[0] = [-scale, 0.0, side - 1.0 - across]
    flags = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    out: np.ndarray = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY,) * 3,
    )  # fmt: skip
    return out.astype(np.uint8, copy=False)


def cuttings(image: UInt8, boxes: Sequence[Box], side: int) -> UInt8:
    """uint8 (N,side,side,3), one per box."""
    return np.stack([cutting(image, Square.around(box), side) for box in boxes])


def looked_again(
    image: UInt8, found: Sequence[Detected], vocabulary: Vocabulary, config: SecondLookConfig, look: Look
) -> list[Detected]:
    """The same detections; what the things are is told by the second look alone.

    Args:
        image: That they were found in, uint8 (H,W,3).
        found: Of the first network.
        vocabulary: Of both.
        config: Of the second look.
        look: Runs it.
    """
    places = [k for k, one in enumerate(found) if int(one.classes.argmax()) < vocabulary.things]
    out = list(found)
    if places:
        logits = look(cuttings(image, [found[k].box for k in places], config.side)) / config.temperature
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        for k, share in zip(places, shares, strict=True):
            classes = np.zeros(len(vocabulary.classes), np.float32)
            classes[: vocabulary.things] = share
            out[k] = replace(found[k], classes=classes)
    return out


def look_by_torch(model: SecondLook) -> Look:
    """Runs a model in evaluation mode as it is."""

    def look(cut: UInt8) -> Float32:
        with torch.no_grad():
            out: Float32 = model(torch.from_numpy(cut)).float().numpy()
        return out

    return look
