"""Losses of the detector, each a mean over the objects of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vla_perception.core.detector.network import STRIDE, NetworkConfig, split

_LOG_SIZE = (-2.0, 4.5)


def detection_losses(
    heads: Tensor, config: NetworkConfig, things: int, heat: Tensor, care: Tensor, boxes: Tensor, weights: Tensor,
    colours: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Losses `heat`, `box`, `size`, `colour`, scalars.

    Args:
        heads: Output of the network (B,channels,h,w).
        config: Its sizes.
        things: How many of its classes are things.
        heat, care, boxes, weights, colours: Batches of Targets.
    """
    logits, found, tints = split(heads, config)
    kinds = torch.tensor([0] * things + [1] * (config.classes - things), device=heads.device)
    count = (heat == 1.0).sum().clamp(min=1)
    focal = focal_loss(logits, heat, care[:, kinds]) / count
    overlap, size = _box_losses(found, boxes, weights)
    told = colours >= 0
    share = (weights[:, 0] * told).sum().clamp(min=1e-6)
    tint = F.cross_entropy(tints, colours.clamp(min=0), reduction="none")
    total = weights.sum().clamp(min=1e-6)
    return {"heat": focal, "box": overlap / total, "size": size / total,
            "colour": (tint * weights[:, 0] * told).sum() / share}  # fmt: skip


def focal_loss(logits: Tensor, heat: Tensor, care: Tensor) -> Tensor:
    """Zhou et al. 2019, equation 1, with alpha 2 and beta 4; summed."""
    p = torch.sigmoid(logits).clamp(1e-5, 1.0 - 1e-5)
    middle = heat == 1.0
    positive = -((1.0 - p) ** 2) * torch.log(p)
    negative = -((1.0 - heat) ** 4) * p**2 * torch.log(1.0 - p) * care
    return torch.where(middle, positive, negative).sum()


def _box_losses(found: Tensor, boxes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of 1 - GIoU (Rezatofighi et al. 2019) and of the error of the logarithm of the sizes."""
    batch, group, row, column = torch.nonzero(weights, as_tuple=True)
    weight, told, true = weights[batch, group, row, column], found[batch, group, :, row, column], boxes[
        batch, group, :, row, column] / STRIDE  # fmt: skip
    centre = torch.stack([column, row], 1) + 0.5 + told[:, :2]
    logarithm = told[:, 2:].clamp(*_LOG_SIZE)
    half = 0.5 * torch.exp(logarithm)
    low, high = centre - half, centre + half
    common = (torch.minimum(high, true[:, 2:]) - torch.maximum(low, true[:, :2])).clamp(min=0).prod(1)
    whole = (high - low).prod(1) + (true[:, 2:] - true[:, :2]).prod(1) - common
    hull = (torch.maximum(high, true[:, 2:]) - torch.minimum(low, true[:, :2])).prod(1)
    giou = common / whole - (hull - whole) / hull
    error = (told[:, 2:] - torch.log(true[:, 2:] - true[:, :2])).abs().mean(1)
    return ((1.0 - giou) * weight).sum(), (error * weight).sum()
