"""Residual for the rest of a chunk, from what is known now (Sendai et al., "Leave No Observation Behind: Real-time
Correction for VLA Action Chunks", 2025, A2C2): a_k + r(newest observation, a_k, k).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vla_policy.core.blocks.attention import DecoderBlock, learned


@dataclass(frozen=True, slots=True)
class ResidualHeadConfig:
    """Sizes of ResidualHead."""

    block: str
    width: int
    layers: int
    heads: int


class ResidualHead(nn.Module):
    """One pass for all steps that are left, each with its number k in the chunk that is corrected.

    Args:
        config: Sizes.
        encoder: What is known now to tokens (B,N,width).
        horizon: Steps of a chunk.
        action_width: Numbers per step.
    """

    def __init__(self, config: ResidualHeadConfig, encoder: nn.Module, horizon: int, action_width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.action = nn.Linear(action_width, config.width)
        self.step = learned(horizon, config.width)
        self.blocks = nn.ModuleList(DecoderBlock(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, action_width)

    def forward(self, actions: Tensor, first: int, known: object) -> Tensor:
        """Normalised actions (B,N,D), which are steps first..first+N-1 of their chunk, to corrected ones."""
        tokens = self.encoder(known)
        x = self.action(actions) + self.step[first : first + actions.shape[1]]
        for block in self.blocks:
            x = block(x, block.attend_cross.keys_values(tokens))  # type: ignore[union-attr, operator]
        out: Tensor = actions + self.out(self.norm(x))
        return out


def correct_chunk(head: ResidualHead, actions: Tensor, first: int, known: object, mean: Tensor, std: Tensor) -> Tensor:
    """Actions (B,N,D) in physical units, steps first.. of their chunk, corrected.

    Normalisation (mean, std (T,D)) is that of the chunk's beginning for every step: the actions are relative to the
    tool now.
    """
    mean, std = mean[: actions.shape[1]], std[: actions.shape[1]]
    out: Tensor = head((actions - mean) / std, first, known) * std + mean
    return out
