"""Encoded instructions and object names of a data set, computed once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vla_policy.core.blocks.language import Reading
from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.core.text import MiniLm


class TextBank:
    """Token states of a list of sentences; readings are made from them by index."""

    def __init__(self, sentences: Sequence[str], encoder: MiniLm, device: torch.device) -> None:
        text = encoder.encode(sentences)
        self.sentences = list(sentences)
        self.tokens = torch.from_numpy(text.tokens).to(device)
        self.mask = torch.from_numpy(text.mask).to(device)
        self.sentence = torch.from_numpy(text.sentence).to(device)
        self.lengths = self.mask.sum(1)

    def read(self, model: KeypointFlow, index: Tensor) -> Reading:
        """Reading (B,...) of sentences by index (B,); each distinct sentence is read once."""
        unique, inverse = torch.unique(index, return_inverse=True)
        longest = int(self.lengths[unique].max())
        reading = model.language(self.tokens[unique, :longest], self.mask[unique, :longest], self.sentence[unique])
        return Reading(*(part[inverse] for part in reading))

    @torch.no_grad()
    def table(self, model: KeypointFlow) -> Reading:
        """Reading of every sentence, for a frozen reader."""
        rows = torch.arange(len(self.sentences), device=self.tokens.device)
        return Reading(
            *(torch.cat(parts) for parts in zip(*(self.read(model, r) for r in rows.split(256)), strict=True))
        )
