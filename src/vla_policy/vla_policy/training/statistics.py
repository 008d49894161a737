"""Normalisation from data; it becomes part of the weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.training.dataset import Dataset
from vla_policy.training.texts import TextBank

MIN_STATE_STD = 1e-3
MIN_ACTION_STD = 0.03  # 3 mm, 1.7 degrees: steps that hardly vary must not be blown up to unit noise
MIN_XYZ_STD = 0.02


def fit_statistics(model: KeypointFlow, dataset: Dataset, instructions: TextBank) -> None:
    """Set the model's normalisation buffers from the training frames."""
    frames = dataset.train[:: max(1, len(dataset.train) // 50_000)]
    labels = dataset.labels

    def put(mean: Tensor, std: Tensor, values: np.ndarray, floor: float) -> None:
        mean.copy_(torch.from_numpy(values.mean(0)))
        std.copy_(torch.from_numpy(values.std(0)).clamp(min=floor))

    put(model.action_mean, model.action_std, labels["chunk"][frames], MIN_ACTION_STD)
    put(model.fusion.state_mean, model.fusion.state_std, labels["state"][frames], MIN_STATE_STD)
    used = labels["role_used"][frames].astype(bool)
    if used.any():  # else nothing says where the roles' things are, and places stay in metres
        put(model.fusion.xyz_mean, model.fusion.xyz_std, labels["role_xyz"][frames][used], MIN_XYZ_STD)
    words = instructions.tokens[instructions.mask]
    reader = model.language
    reader.token_mean.copy_(words.mean(0))
    reader.token_std.copy_(words.std(0).clamp(min=1e-3))
    sentence = instructions.sentence
    reader.sentence_mean.copy_(sentence.mean(0))
    spread = sentence.std(0, unbiased=False).mean().clamp(min=1e-2)  # one scale for all: directions keep their meaning
    reader.sentence_std.copy_(spread.expand_as(reader.sentence_std))
