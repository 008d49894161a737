"""Spatial softmax (Finn et al. 2016, "Deep Spatial Autoencoders"): where each of K feature maps is strongest."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpatialSoftmax(nn.Module):
    """Features (B,C,H,W) to K expected places (B,K,2), x right and y down, -1..1.

    Args:
        channels: C.
        height, width: Of the feature map.
        keypoints: K; a 1x1 convolution makes so many maps of the C.
    """

    grid: Tensor

    def __init__(self, channels: int, height: int, width: int, keypoints: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, keypoints, 1)
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], -1).flatten(0, 1))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = torch.softmax(self.maps(features).flatten(2), -1) @ self.grid
        return out
