"""Losses: right where they should be smallest, blind where nothing is labelled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vla_policy.core.blocks.grounding import cell_centres
from vla_policy.training.losses import heatmap_loss, masked_mean, weighted_sum
from vla_policy.training.metrics import auc


def test_heatmap_loss_is_smallest_at_the_place() -> None:
    cells = cell_centres(8)
    at = [torch.exp(-((cells - cells[k]) * 4).square().sum(-1) / 2).log()[None, None, None] for k in (20, 21, 40)]
    uv, visible = cells[20][None, None, None], torch.ones(1, 1, 1, dtype=torch.bool)
    losses = [float(heatmap_loss(logits, uv, visible, cells, 8)) for logits in at]
    assert losses[0] < losses[1] < losses[2]


def test_hidden_things_have_no_influence() -> None:
    cells, logits = cell_centres(4), torch.randn(1, 1, 2, 16, requires_grad=True)
    visible = torch.tensor([[[True, False]]])
    heatmap_loss(logits, torch.zeros(1, 1, 2, 2), visible, cells, 4).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0].abs().max() > 0 and logits.grad[0, 0, 1].abs().max() == 0
    assert float(masked_mean(torch.ones(3), torch.zeros(3))) == 0.0


def test_every_loss_needs_a_weight() -> None:
    with pytest.raises(KeyError):
        weighted_sum({"flow": torch.ones(())}, {"l1": 1.0})
    assert float(weighted_sum({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"a": 1.0, "b": 10.0})) == 32.0


def test_auc_counts_ordered_pairs() -> None:
    labels = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), labels) == 1.0
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), labels) == 0.0
    assert auc(np.zeros(4), labels) == 0.5
