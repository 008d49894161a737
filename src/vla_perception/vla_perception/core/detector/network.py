"""The network: a small residual pyramid with one head of stride 8 (Zhou et al. 2019, "Objects as points").

Every cell of the head says what is centred there. Unlike in the paper there is one box for things and one for furniture
per cell, since a mug on a table may lie where the table has its middle; and the box is learnt in the whole middle of an
object, not in one cell (Liu et al. 2020, "Training-time-friendly network", section 3), which needs fewer steps.
Plain 3x3 convolutions: on a CPU they train several times faster than depthwise ones of as many operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError

STRIDE = 8  # of the head [pixel]
MULTIPLE = 32  # images are padded to it [pixel]
GREY = 127  # that is padded with
_PRIOR = 0.01
_SPREAD = 64.0


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes.

    Attributes:
        widths: Channels of the stem and of strides 4, 8, 16 and 32 (5,).
        depths: Residual blocks of strides 4, 8, 16 and 32 (4,).
        features: Channels of the merged map.
        classes, colours: How many there are.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    features: int
    classes: int
    colours: int

    def __post_init__(self) -> None:
        if len(self.widths) != 5 or len(self.depths) != 4 or min(*self.widths, self.features, self.classes) < 1:
            raise ConfigError(f"{self}", "five widths, four depths, all positive", "mend the detector's sizes")

    @property
    def channels(self) -> int:
        """Of the output: class logits, box of things, box of furniture, colour logits."""
        return self.classes + 8 + self.colours


class Residual(nn.Module):
    """relu(x + conv(relu(conv(x)))), each with batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) to the same."""
        return F.relu(x + self.second(self.first(x)))


class Network(nn.Module):
    """See the module."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths, features = config.widths, config.features
        self.stem = nn.Sequential(conv(3, widths[0], 2), conv(widths[0], widths[1], 2))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *([conv(widths[i], widths[i + 1], 2)] if i else []), *(Residual(widths[i + 1]) for _ in range(depth))
            )
            for i, depth in enumerate(config.depths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, features, 1) for width in widths[2:])
        self.merge = nn.ModuleList(conv(features, features) for _ in range(2))
        self.head = conv(features, features)
        self.out = nn.Conv2d(features, config.channels, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        bias = torch.zeros(config.channels)
        bias[: config.classes] = -math.log((1 - _PRIOR) / _PRIOR)
        self.out.bias = nn.Parameter(bias)

    def forward(self, rgb: Tensor) -> Tensor:
        """Images (B,H,W,3), 0..255, sides multiples of 32, to float32 (B,channels,H/8,W/8), see NetworkConfig.channels.

        A box is (dx, dy, log w, log h): its centre from the cell's, and its size, in cells.
        """
        x = self.stem((rgb.permute(0, 3, 1, 2).float() - GREY) / _SPREAD)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        merged = self.lateral[2](maps[3])
        for level in (1, 0):
            merged = F.interpolate(merged, scale_factor=2.0) + self.lateral[level](maps[level + 1])
            merged = self.merge[level](merged)
        out: Tensor = self.out(self.head(merged))
        return out.float()


def split(heads: Tensor, config: NetworkConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits (B,K,h,w), boxes (B,2,4,h,w) of things and furniture, colour logits (B,C,h,w) of the output."""
    logits, boxes, colours = torch.split(heads, [config.classes, 8, config.colours], dim=1)
    return logits, boxes.reshape(len(boxes), 2, 4, *boxes.shape[2:]), colours


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 without bias, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def padded_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width [pixel] to which an image of a shape (H,W,...) is padded."""
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in shape[:2])
    return height, width
