"""Published vision encoders by transformers from local folders: SigLIP, CLIP, DINOv2, and two of them fused.

OpenVLA (Kim et al. 2024, section 3.1, after Karamcheti et al. 2024, Prismatic): an encoder that knows what things are
called and one that knows where their parts are look at the same image, and their patches are joined channel by channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError
from vla_policy.core.blocks.hf_loading import colours, load_config, load_weights_into
from vla_policy.core.images import padded

_HALF = (0.5, 0.5, 0.5)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
#: By model type: class, part that sees, colours where no file says so.
ENCODERS: dict[str, tuple[str, str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "siglip": ("SiglipModel", "vision_model", (_HALF, _HALF)),
    "siglip_vision_model": ("SiglipVisionModel", "", (_HALF, _HALF)),
    "clip": ("CLIPModel", "vision_model", _CLIP),
    "clip_vision_model": ("CLIPVisionModel", "", _CLIP),
    "dinov2": ("Dinov2Model", "", _IMAGENET),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "", _IMAGENET),
}


@dataclass(frozen=True, slots=True)
class HfVisionConfig:
    """Which encoders.

    Attributes:
        paths: One local folder, or two whose patches are joined.
        layer: States of which layer: -1 the last one, behind its norm; -2 the one before (OpenVLA), and so on.
        dtype: Of the weights.
    """

    paths: tuple[str, ...]
    layer: int = -1
    dtype: str = "float32"


class _Encoder(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, folder: Path, dtype: str, layer: int) -> None:
        super().__init__()
        config = load_config(folder, ENCODERS)
        name, part, usual = ENCODERS[config.model_type]
        model = load_weights_into(name, folder, config, dtype)
        self.model: Any = getattr(model, part) if part else model
        seeing = getattr(config, "vision_config", config)
        self.layer, self.edge = layer, int(seeing.image_size)
        self.extra = 0 if "siglip" in config.model_type else 1 + int(getattr(seeing, "num_register_tokens", 0))
        self.features, self.patches = int(seeing.hidden_size), (self.edge // int(seeing.patch_size)) ** 2
        if not -int(seeing.num_hidden_layers) <= layer <= -1:
            got = f"layer {layer} of {folder.name}"
            raise ConfigError(got, f"-1 .. -{seeing.num_hidden_layers}", "mend the preset")
        for key, value in zip(("mean", "std"), colours(folder, *usual), strict=True):
            self.register_buffer(key, value, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W), 0..1, to patches (N,P,C)."""
        scaled = (padded(images, self.edge, self.edge, centred=True) - self.mean) / self.std
        out = self.model(pixel_values=scaled.to(self.model.dtype), output_hidden_states=self.layer < -1)
        states: Tensor = out.last_hidden_state if self.layer == -1 else out.hidden_states[self.layer]
        return states[:, self.extra :]


class HfVision(nn.Module):
    """Images uint8 (B,V,H,W,3) to patches (B,V,P,`features`), row by row; class token and registers are left out.

    Raises:
        ConfigError: not one or two encoders, or two with different numbers of patches.
        WeightsError, UnknownNameError: see load_config and load_weights_into.
    """

    def __init__(self, config: HfVisionConfig) -> None:
        super().__init__()
        if not 1 <= len(config.paths) <= 2:
            raise ConfigError(f"{len(config.paths)} vision encoders", "one or two", "mend the preset")
        encoders = [_Encoder(Path(path), config.dtype, config.layer) for path in config.paths]
        counts = [encoder.patches for encoder in encoders]
        if len(set(counts)) > 1:
            raise ConfigError(f"encoders with {counts} patches", "as many in both", "choose other image sizes")
        self.patches = counts[0]
        self.features = sum(encoder.features for encoder in encoders)
        self.encoders = nn.ModuleList(encoders)

    def forward(self, rgb: Tensor) -> Tensor:
        """See the class."""
        images = rgb.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        seen = torch.cat([encoder(images) for encoder in self.encoders], -1)
        return seen.view(*rgb.shape[:2], *seen.shape[1:])
