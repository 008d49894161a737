"""Residual networks: sizes of what comes out, norms that are constants. Their numbers are tested with checkpoints."""

from __future__ import annotations

import pytest
import torch

from vla_core.errors import UnknownNameError
from vla_policy.core.blocks.resnet import FrozenBatchNorm, ResNet, group_norm


@pytest.mark.parametrize(
    ("name", "dilated", "channels", "stride", "millions"),
    [("resnet18", False, 512, 32, 11.2), ("resnet50", False, 2048, 32, 23.5), ("resnet50", True, 2048, 16, 23.5)],
)
def test_sizes(name: str, dilated: bool, channels: int, stride: int, millions: float) -> None:
    """Parameters as published, without the classifier (He et al. 2016; torchvision)."""
    with torch.device("meta"):
        network = ResNet(name, group_norm, dilated)
        out = network(torch.empty(1, 3, 96, 128))
    assert out.shape == (1, channels, 96 // stride, 128 // stride)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_basic_blocks_cannot_be_dilated() -> None:
    with torch.device("meta"), pytest.raises(UnknownNameError, match="resnet101, resnet152, resnet50"):
        ResNet("resnet18", group_norm, dilated=True)


def test_a_frozen_batch_norm_is_a_batch_norm_that_does_not_learn() -> None:
    frozen, usual = FrozenBatchNorm(4), torch.nn.BatchNorm2d(4)
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = torch.rand(4) + 0.5
        getattr(frozen, name).copy_(value)
        with torch.no_grad():
            getattr(usual, name).copy_(value)
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(frozen(x), usual.eval()(x))
    assert not list(frozen.parameters())
