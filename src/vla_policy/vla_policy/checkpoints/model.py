"""What a policy of a published checkpoint is fed, and what every such network offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Inputs(NamedTuple):
    """B answers, each from N observations (oldest first) of V views.

    Attributes:
        images: (B,N,V,3,H,W), normalised as the checkpoint wants.
        present: bool (V,); an absent view is black and masked.
        state: (B,N,S), normalised.
        tokens: (B,L) int64 of the instruction; empty where the policy takes none.
        token_mask: (B,L) bool.
    """

    images: Tensor
    present: Tensor
    state: Tensor
    tokens: Tensor
    token_mask: Tensor


class CheckpointModel(nn.Module, ABC):
    """Draws normalised chunks.

    Attributes:
        history: Observations N that it looks at, one action step apart.
        noise_shape: (T',D') of the noise that a chunk is drawn from.
        steps: T, rows of a chunk from the newest observation on.
        resizes: It takes images of any size.
        instructed: It reads the instruction.
    """

    history = 1
    noise_shape: tuple[int, int]
    steps: int
    resizes = False
    instructed = False

    @abstractmethod
    def act(self, inputs: Inputs, noise: Tensor) -> Tensor:
        """Inputs and noise (B,T',D') to normalised actions (B,T,D)."""
