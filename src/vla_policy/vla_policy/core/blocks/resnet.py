"""Residual networks (He et al. 2016) as ACT and Diffusion Policy put them in front: up to the last feature map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import UnknownNameError

#: Blocks per stage, and whether they are bottlenecks (He et al. 2016, table 1).
DEPTHS: dict[str, tuple[tuple[int, ...], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of a bottleneck's channels
STRIDE = 32

#: Channels to a norm.
Norm = Callable[[int], nn.Module]


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and scale are constants (Carion et al. 2020, DETR)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) to the same."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def group_norm(channels: int) -> nn.Module:
    """Groups of 16 channels, as in Diffusion Policy (Chi et al. 2023, section III-B)."""
    return nn.GroupNorm(channels // 16, channels)


class _Part(nn.Module):
    """Convolution and norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, norm: Norm, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.norm = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.convolution(x))
        return out


class _Block(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of 1x1, 3x3, 1x1, beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, bottleneck: bool, norm: Norm) -> None:
        super().__init__()
        outputs = width * EXPANSION if bottleneck else width
        if bottleneck:
            parts = [
                _Part(inputs, width, 1, 1, norm),
                _Part(width, width, 3, stride, norm, dilation),
                _Part(width, outputs, 1, 1, norm),
            ]
        else:
            parts = [_Part(inputs, width, 3, stride, norm), _Part(width, width, 3, 1, norm)]
        self.parts = nn.ModuleDict({str(i + 1): part for i, part in enumerate(parts)})
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _Part(inputs, outputs, 1, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y, last = x, len(self.parts)
        for name, part in self.parts.items():
            y = part(y) if name == str(last) else F.relu(part(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """Images (B,3,H,W) to features (B,`channels`,H/32,W/32), H/16 and W/16 where the last stage is dilated.

    Args:
        name: Key of DEPTHS.
        norm: Makes the norm of so many channels.
        dilated: The last stage keeps the resolution and dilates its convolutions instead (DETR-DC5).

    Raises:
        UnknownNameError: no such network, or one of basic blocks, which can't be dilated.
    """

    def __init__(self, name: str, norm: Norm, dilated: bool = False) -> None:
        super().__init__()
        known = [key for key, (_, bottleneck) in DEPTHS.items() if bottleneck or not dilated]
        if name not in known:
            raise UnknownNameError("dilated vision backbone" if dilated else "vision backbone", name, known)
        depths, bottleneck = DEPTHS[name]
        self.stem = _Part(3, WIDTHS[0], 7, 2, norm)
        self.channels, stages = WIDTHS[0], []
        for stage, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
            flat = dilated and stage == len(WIDTHS) - 1
            blocks = []
            for i in range(depth):
                stride = 2 if i == 0 and stage > 0 and not flat else 1
                blocks.append(_Block(self.channels, width, stride, 2 if flat and i > 0 else 1, bottleneck, norm))
                self.channels = width * EXPANSION if bottleneck else width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.stages(F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1))
        return out
