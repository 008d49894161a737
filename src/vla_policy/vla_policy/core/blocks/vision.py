"""Small convolutional feature pyramid, trained from scratch, shared by all cameras."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4  # of the returned feature map


@dataclass(frozen=True, slots=True)
class ConvPyramidConfig:
    """Sizes of ConvPyramid: channels of stem, strides 4, 8, 16 and output; residual blocks per stride."""

    block: str
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    features: int


class ChannelNorm(nn.Module):
    """LayerNorm over channels; free of copies in channels_last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) to the same."""
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Residual(nn.Module):
    """x + conv(gelu(conv(norm(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) to the same."""
        out: Tensor = x + self.conv2(F.gelu(self.conv1(self.norm(x))))
        return out


class ConvPyramid(nn.Module):
    """Strides 4, 8, 16 bottom-up, merged top-down into one stride-4 map (Lin et al. 2017, feature pyramid networks)."""

    def __init__(self, config: ConvPyramidConfig, cameras: int) -> None:
        super().__init__()
        self.config = config
        widths, features = config.widths, config.features
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem, 3, 2, 1), nn.GELU(), nn.Conv2d(config.stem, widths[0], 3, 2, 1)
        )
        self.camera = nn.Parameter(torch.zeros(cameras, widths[0], 1, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(w) for _ in range(d))) for w, d in zip(widths, config.depths, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, 2)) for a, b in itertools.pairwise(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(w, features, 1) for w in widths)
        self.merge = nn.Sequential(
            ChannelNorm(features), nn.Conv2d(features, features, 3, padding=1), ChannelNorm(features)
        )

    def forward(self, rgb: Tensor) -> Tensor:
        """Images (B,V,3,H,W), float in -1..1, to features (B,V,C,H/4,W/4)."""
        batch, cameras = rgb.shape[:2]
        x = self.stem(rgb.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        x = x + self.camera.repeat(batch, 1, 1, 1)
        maps = []
        for level, stage in enumerate(self.stages):
            if level:
                x = self.down[level - 1](x)
            x = stage(x)
            maps.append(x)
        merged = self.lateral[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            merged = F.interpolate(merged, scale_factor=2.0) + self.lateral[level](maps[level])
        out: Tensor = self.merge(merged)
        return out.view(batch, cameras, *out.shape[1:])
