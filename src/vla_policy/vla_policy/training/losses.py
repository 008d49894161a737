"""Training losses, each a mean over what is labelled."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from vla_policy.core import flow
from vla_policy.core.blocks.fusion import Condition
from vla_policy.core.blocks.grounding import Located
from vla_policy.core.models.keypoint_flow import KeypointFlow

TARGET_SIGMA_CELLS = 1.0


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask is 1; 0 where nothing is labelled."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1.0)


def heatmap_loss(logits: Tensor, uv: Tensor, visible: Tensor, cells: Tensor, size: int) -> Tensor:
    """Cross-entropy of heatmaps (B,V,Q,N) with a Gaussian around each place (B,V,Q,2) that is visible (B,V,Q)."""
    distance = ((cells - uv[..., None, :]) * (size / 2)).square().sum(-1)
    target = torch.softmax(-0.5 * distance / TARGET_SIGMA_CELLS**2, -1)
    return masked_mean(-(target * torch.log_softmax(logits, -1)).sum(-1), visible)


def grounding_losses(located: Located, uv: Tensor, visible: Tensor, model: KeypointFlow) -> dict[str, Tensor]:
    """Heatmap, presence and position losses for places uv (B,V,Q,2), visible bool (B,V,Q)."""
    grounding = model.grounding
    return {
        "heat": heatmap_loss(located.logits, uv, visible, grounding.cells, grounding.size),
        "uv": masked_mean((located.uv - uv).abs().sum(-1), visible),
        "presence": F.binary_cross_entropy_with_logits(located.presence, visible.float()),
    }


def action_losses(
    model: KeypointFlow,
    condition: Condition,
    batch: Mapping[str, Tensor],
    flow_samples: int,
    prefix_steps: int,
    mixed: bool,
) -> dict[str, Tensor]:
    """Losses of everything behind the percept: flow, regression, 3-D places, progress, success.

    The flow is also taught to continue a given prefix of up to `prefix_steps` steps, or of as many as the batch says
    (`training/disturbed_rows.py`); given steps bear no loss, nor do those that a chunk from a future state has no label
    for (`training/future_rows.py`).
    """
    data = (batch["chunk"] - model.action_mean) / model.action_std
    known = batch.get("known", torch.ones(data.shape[:2], dtype=torch.bool, device=data.device))
    keys_values = model.keys_values(condition, batch.get("ahead"))
    regressed = model.head.regress(keys_values, mixed)
    repeated = data.repeat(flow_samples, 1, 1)
    given = flow.sample_prefix(len(repeated), data.shape[1], prefix_steps, data.device)
    if "given" in batch:
        given = torch.arange(data.shape[1], device=data.device) < batch["given"].repeat(flow_samples)[:, None]
    time = torch.where(given, 1.0, flow.sample_time(len(repeated), data.device)[:, None])
    point, velocity = flow.path(repeated, torch.randn_like(repeated), time)
    predicted = model.head.velocity(point, time, keys_values.repeat(1, 1, flow_samples, 1, 1, 1), mixed)
    place = (batch["role_xyz"] - model.fusion.xyz_mean) / model.fusion.xyz_std
    located = batch["role_used"].bool() & batch["role_visible"].bool().any(1)
    return {
        "flow": masked_mean((predicted - velocity).square().mean(-1), ~given & known.repeat(flow_samples, 1)),
        "l1": masked_mean((regressed - data).abs().mean(-1), known),
        "xyz": masked_mean((condition.role_xyz - place.nan_to_num()).abs().sum(-1), located),
        # a single state has no progress (NaN): nothing to learn there
        "progress": masked_mean(
            (condition.progress - batch["progress"].nan_to_num()).abs(), ~batch["progress"].isnan()
        ),
        "success": F.binary_cross_entropy_with_logits(condition.success, batch["success"].float()),
    }


def correction_losses(corrected: Tensor, base: Tensor, wanted: Tensor, std: Tensor) -> dict[str, Tensor]:
    """L1 of what is left of a chunk (B,N,D) in units of std (T,D), after and before the correction (A2C2)."""
    std = std[: base.shape[1]]
    before = ((base - wanted) / std).abs().mean().detach()
    return {"l1": ((corrected - wanted) / std).abs().mean(), "l1_before": before}


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of weight * loss; every loss must have a weight (KeyError otherwise)."""
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()
