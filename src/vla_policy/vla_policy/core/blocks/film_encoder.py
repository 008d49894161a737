"""FiLM-conditioned convolutions (Brohan et al. 2022, RT-1, section 5.1).

The blocks are those of EfficientNet (Tan & Le 2019). Each is followed by a scale and a shift of its channels that the
sentence decides and that change nothing at the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError
from vla_policy.core.blocks.sight_tokens import Film
from vla_policy.core.blocks.vision import ChannelNorm

_SQUEEZE = 4


@dataclass(frozen=True, slots=True)
class FilmEncoderConfig:
    """A preset's `encoder` section.

    Attributes:
        widths, depths, strides: Channels, blocks and stride of every stage.
        expand: Channels inside a block, as a multiple of its own.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]
    expand: int

    def check(self) -> FilmEncoderConfig:
        """Return self.

        Raises:
            ConfigError: no stages, or lists of different lengths.
        """
        if not len(self.widths) == len(self.depths) == len(self.strides) > 0:
            got = f"encoder with widths {self.widths}, depths {self.depths}, strides {self.strides}"
            raise ConfigError(got, "a width, a depth and a stride for every stage", "mend the preset")
        return self


class MbConv(nn.Module):
    """Inverted bottleneck: expand, depthwise convolution, squeeze and excitation, project; residual."""

    def __init__(self, channels: int, expand: int) -> None:
        super().__init__()
        inside = expand * channels
        self.open = nn.Sequential(ChannelNorm(channels), nn.Conv2d(channels, inside, 1), nn.SiLU())
        self.depthwise = nn.Sequential(nn.Conv2d(inside, inside, 3, padding=1, groups=inside), nn.SiLU())
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inside, max(1, channels // _SQUEEZE), 1), nn.SiLU(),
            nn.Conv2d(max(1, channels // _SQUEEZE), inside, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.project = nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) to the same."""
        y = self.depthwise(self.open(x))
        out: Tensor = x + self.project(y * self.excite(y))
        return out


class _Block(nn.Module):
    """A block and its FiLM."""

    def __init__(self, width: int, expand: int, condition: int) -> None:
        super().__init__()
        self.conv, self.film = MbConv(width, expand), Film(condition, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        out: Tensor = self.film(self.conv(x).movedim(1, -1), condition).movedim(-1, 1)
        return out


class FilmEncoder(nn.Module):
    """Feature maps of several cameras to fewer and wider cells.

    Small convolutions know of a place only by their padding, so every cell is told its own, and its camera.
    """

    def __init__(self, config: FilmEncoderConfig, views: int, features: int, condition: int) -> None:
        super().__init__()
        config.check()
        self.camera = nn.Parameter(torch.zeros(views, features + 2, 1, 1))
        inputs = (features + 2, *config.widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, stride, stride)
            for before, after, stride in zip(inputs, config.widths, config.strides, strict=True)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(_Block(width, config.expand, condition) for _ in range(depth))
            for width, depth in zip(config.widths, config.depths, strict=True)
        )

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        """Feature maps (B,V,C,h,w) and sentences (B,W) to cells (B,V*h'*w',C')."""
        batch, views, _, height, width = maps.shape
        rows, columns = (torch.linspace(-1, 1, n, device=maps.device, dtype=maps.dtype) for n in (height, width))
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(batch, views, -1, -1, -1)
        x, told = (torch.cat([maps, grid], 2) + self.camera).flatten(0, 1), condition.repeat_interleave(views, 0)
        for down, stage in zip(self.down, self.stages, strict=True):
            x = down(x)
            for block in stage:  # type: ignore[attr-defined]
                x = block(x, told)
        return x.flatten(2).transpose(1, 2).reshape(batch, -1, x.shape[1])
