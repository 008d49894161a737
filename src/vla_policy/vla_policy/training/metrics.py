"""Open-loop figures that predict closed-loop success: where it looks, where it thinks things are, where it goes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.core.processors import POSITION_SCALE_M, JointsRelative
from vla_policy.training.dataset import Dataset
from vla_policy.training.texts import TextBank

JUDGED_STEP = 8


def auc(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve (Mann-Whitney) of rows of both classes."""
    positive, negative = scores[labels], scores[~labels]
    difference = positive[:, None] - negative[None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@torch.no_grad()
def evaluate(
    model: KeypointFlow,
    dataset: Dataset,
    frames: NDArray[np.int64],
    texts: TextBank,
    views: tuple[str, ...],
    steps: int,
) -> dict[str, float]:
    """Errors of the whole model on un-augmented frames.

    Returns:
        uv_px_<view>, uv_px_<view>_p90: position error of visible roles [pixel], median and 90th percentile;
        presence: accuracy; xyz_cm: mean error of the places of visible roles; flow_cm, l1_cm: mean position error of
        the chunk at step 8; flow_deg: rotation error there, of joint positions the length of their error (with
        l1_deg, and no cm); grip: accuracy of the gripper's side at step 8;
        progress: mean error; success_auc, success_accuracy. What no frame tells, such as places of objects where
        nobody labelled them, is left out.
    """
    device = texts.tokens.device
    collected: dict[str, list[NDArray[np.floating]]] = {}

    def collect(name: str, values: torch.Tensor) -> None:
        collected.setdefault(name, []).append(values.float().cpu().numpy().ravel())

    by_joints = isinstance(dataset.transform, JointsRelative)
    generator = torch.Generator().manual_seed(0)
    for piece in np.array_split(frames, max(1, len(frames) // 64)):
        batch = {k: torch.from_numpy(v).to(device) for k, v in dataset.batch(piece).items()}
        reading = texts.read(model, batch["instruction"])
        condition, percept, keys_values = model.encode(batch["rgb"], reading, batch["state"])
        visible = batch["role_visible"].bool()
        pixels = (percept.uv - batch["role_uv"]).norm(dim=-1) * (model.config.image / 2)
        for i, view in enumerate(views):
            collect(f"uv_px_{view}", pixels[:, i][visible[:, i]])
        if dataset.tells_places:
            collect("presence", (percept.presence > 0) == visible)
        known = batch["role_used"].bool() & visible.any(1)
        place = condition.role_xyz * model.fusion.xyz_std + model.fusion.xyz_mean
        collect("xyz_cm", (place - batch["role_xyz"]).norm(dim=-1)[known] * 100)
        target = batch["chunk"][:, JUDGED_STEP]
        noise = torch.randn(batch["chunk"].shape, generator=generator).to(device)
        for head, chunk in (("flow", model.sample(keys_values, noise, steps)), ("l1", model.regress(keys_values))):
            error = chunk[:, JUDGED_STEP] - target
            turned = error[:, :-1] if by_joints else error[:, 3:6]
            if not by_joints:
                collect(f"{head}_cm", error[:, :3].norm(dim=-1) * POSITION_SCALE_M * 100)
            if by_joints or head == "flow":
                collect(f"{head}_deg", torch.rad2deg(turned.norm(dim=-1)))
            if head == "flow":
                collect("grip", (chunk[:, JUDGED_STEP, -1] > 0) == (target[:, -1] > 0))
        told = batch["progress"].isfinite()
        collect("progress", (condition.progress - batch["progress"]).abs()[told])
        collect("success_logit", condition.success)
        collect("success_label", batch["success"])
    values = {name: np.concatenate(parts) for name, parts in collected.items()}
    labels, logits = values.pop("success_label") > 0.5, values.pop("success_logit")
    out: dict[str, float] = {}
    for name, array in values.items():
        if not len(array):
            continue
        out[name] = float(np.median(array) if name.startswith("uv_px") else array.mean())
        if name.startswith("uv_px"):
            out[f"{name}_p90"] = float(np.percentile(array, 90))
    if labels.any() and not labels.all():
        out["success_auc"] = auc(logits, labels)
    return {**out, "success_accuracy": float(((logits > 0) == labels).mean())}
