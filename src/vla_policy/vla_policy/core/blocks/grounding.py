"""Where in the images is what a query describes: heatmap, sub-cell position, presence, local features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

WINDOW_CELLS = 1.5  # standard deviation of the window around the peak


class Located(NamedTuple):
    """One row per view and query.

    Attributes:
        logits: (B,V,R,N) heatmap over the N = h*w cells, before softmax.
        uv: (B,V,R,2) position in the image, -1..1, x right, y down.
        presence: (B,V,R) logit of being visible in this view.
        pooled: (B,V,R,C) features at the place.
    """

    logits: Tensor
    uv: Tensor
    presence: Tensor
    pooled: Tensor


def cell_centres(size: int) -> Tensor:
    """Centres (size*size,2) of the cells of a square map, -1..1, x right, y down, row-major."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def window(logits: Tensor, cells: Tensor, size: int) -> Tensor:
    """Softmax around the highest peak only, so that a second, lower peak can't pull the mean between both.

    Args:
        logits: (...,N).
        cells: (N,2) cell centres.
        size: Cells per side.

    Returns:
        Weights (...,N) that sum to 1.
    """
    top = (logits >= logits.amax(-1, keepdim=True)).to(logits.dtype)
    centre = (top / top.sum(-1, keepdim=True)) @ cells
    distance = ((cells - centre[..., None, :]) * (size / 2)).square().sum(-1)
    return torch.softmax(logits - distance.detach() / (2 * WINDOW_CELLS**2), -1)


class Grounding(nn.Module):
    """Match queries with text-independent features (late fusion: features can be shared between instructions)."""

    cells: Tensor

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.scale = features**-0.5
        self.offset = nn.Linear(features, 2)
        self.presence = nn.Linear(2 + features, 1)
        self.register_buffer("cells", cell_centres(size), persistent=False)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, features: Tensor, queries: Tensor) -> Located:
        """Features (B,V,C,h,w) and queries (B,R,C), float32."""
        flat = features.flatten(3)
        logits = queries[:, None] @ flat * self.scale
        weights = window(logits, self.cells, self.size)
        by_cell = flat.transpose(2, 3)
        pooled = weights @ by_cell
        place = self.cells + torch.tanh(self.offset(by_cell)) * (2.0 / self.size)
        uv = weights @ place
        evidence = torch.stack([logits.amax(-1), torch.logsumexp(logits, -1)], -1)
        agreement = queries[:, None] * pooled * self.scale
        presence = self.presence(torch.cat([evidence, agreement], -1))[..., 0]
        return Located(logits, uv, presence, pooled)
