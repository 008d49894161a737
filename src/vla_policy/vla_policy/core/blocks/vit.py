"""Vision transformer (Dosovitskiy et al. 2021) with what SigLIP (Zhai et al. 2023) and DINOv2 (Oquab et al. 2024) vary.

SigLIP has patches only; DINOv2 a class token, registers (Darcet et al. 2024) and a learned scale behind every branch
(Touvron et al. 2021, LayerScale). Patches come out, whatever else went in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class VitConfig:
    """Sizes of a Vit.

    Attributes:
        width, layers, heads, hidden: Of the transformer; hidden is that of the MLP.
        patch, image: Edge of a patch and of the square image [pixel].
        activation: 'gelu' or 'gelu_tanh'.
        class_token, registers, layer_scale: See the module.
        norm: Of the states that come out; False: those of the last layer as they are.
        eps: Of the norms.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    patch: int
    image: int
    activation: str = "gelu_tanh"
    class_token: bool = False
    registers: int = 0
    layer_scale: bool = False
    norm: bool = True
    eps: float = 1e-6

    def check(self) -> VitConfig:
        """Return self.

        Raises:
            ConfigError: heads that don't divide the width, an image smaller than a patch, or an unknown activation.
        """
        if self.width % self.heads or self.image < self.patch or self.activation not in _ACTIVATIONS:
            got = f"width {self.width}, {self.heads} heads, {self.image}-pixel images of {self.patch}-pixel patches"
            expected = f"heads that divide the width, an image of patches, activation {', '.join(_ACTIVATIONS)}"
            raise ConfigError(f"{got}, '{self.activation}'", expected, "mend the configuration")
        return self

    @property
    def patches(self) -> int:
        """How many an image has."""
        return (self.image // self.patch) ** 2


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "gelu_tanh": _gelu_tanh}


class _Layer(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width, self.heads, self.activation = config.width, config.heads, _ACTIVATIONS[config.activation]
        self.norm_attention = nn.LayerNorm(width, config.eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, config.eps)
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        if config.layer_scale:
            self.scale_attention = nn.Parameter(torch.full((width,), 1e-5))
            self.scale_mlp = nn.Parameter(torch.full((width,), 1e-5))
        self.scaled = config.layer_scale

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        x = x + (self.scale_attention * y if self.scaled else y)
        y = self.down(self.activation(self.up(self.norm_mlp(x))))
        out: Tensor = x + (self.scale_mlp * y if self.scaled else y)
        return out


class Vit(nn.Module):
    """Images (B,3,H,W), scaled as the encoder was trained, to patches (B,P,C), row by row.

    Raises:
        ConfigError: see VitConfig.check.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config.check()
        width = config.width
        self.patch = nn.Conv2d(3, width, config.patch, config.patch)
        self.place = nn.Parameter(0.02 * torch.randn(config.patches, width))
        if config.class_token:
            self.class_token = nn.Parameter(torch.zeros(1, width))
        if config.registers:
            self.registers = nn.Parameter(torch.zeros(config.registers, width))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, config.eps) if config.norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = self.patch(images).flatten(2).transpose(1, 2) + self.place
        first: list[Tensor] = [self.class_token] if self.config.class_token else []
        first += [self.registers] if self.config.registers else []
        extra = sum(len(part) for part in first)
        if extra:
            x = torch.cat([torch.cat(first).expand(len(x), -1, -1), x], 1)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x[:, extra:])
        return out
