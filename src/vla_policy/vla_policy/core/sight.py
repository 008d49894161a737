"""What a system is given of one observation: what frozen eyes make of the images, the words, and the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Sight(NamedTuple):
    """One batch row per observation; B rows, V views, K object names, L words.

    Attributes:
        pooled: (B,V,K,C) features at the place where each taught name lights up.
        uv: (B,V,K,2) that place in the image, -1..1, x right, y down.
        presence: (B,V,K) probability that the thing is in view.
        xyz: (B,K,3) where it is in the robot base frame [m], as far as it can be seen.
        generic: (B,V,G,C+2) pooled features and mean position of learned queries.
        text: (B,L,W) token states of the instruction, whitened; zero where there is none.
        text_mask: (B,L) bool.
        sentence: (B,W2) sentence embedding of the instruction, whitened.
        state: (B,S) state features (`processors.StateFeatures`), whitened.
        tool: (B,3) tool position in the robot base frame [m].
        fine: (B,V,C,h,w) feature map of the first encoder, for systems with a vision block of their own.
        semantic: (B,V,K,C2) a second encoder's features at the same places, for systems with two (blocks/semantic.py).
        rgb: uint8 (B,V,H,W,3) the images, for systems with a published vision-language model (blocks/hf_vlm.py).
        instruction: uint8 (B,N) the instruction in UTF-8, zeros behind its end, for the same.
    """

    pooled: Tensor
    uv: Tensor
    presence: Tensor
    xyz: Tensor
    generic: Tensor
    text: Tensor
    text_mask: Tensor
    sentence: Tensor
    state: Tensor
    tool: Tensor
    fine: Tensor | None = None
    semantic: Tensor | None = None
    rgb: Tensor | None = None
    instruction: Tensor | None = None

    def rows(self, index: Tensor | slice) -> Sight:
        """Some of the batch's rows."""
        return Sight(*(None if part is None else part[index] for part in self))  # type: ignore[arg-type]

    @classmethod
    def stacked(cls, sights: Sequence[Sight]) -> Sight:
        """The rows of several sights of the same instruction, one after the other."""
        parts = zip(*sights, strict=True)
        return cls(*(None if part[0] is None else torch.cat(part) for part in parts))  # type: ignore[arg-type]

    def repeated(self, times: int) -> Sight:
        """The whole batch so many times, one after the other."""
        parts = (None if p is None else p.repeat(times, *(1,) * (p.dim() - 1)) for p in self)
        return Sight(*parts)  # type: ignore[arg-type]


def written(texts: Sequence[str]) -> Tensor:
    """Texts as `Sight.instruction` (B,N); inverse of `spoken`."""
    rows = [list(text.encode()) for text in texts]
    longest = max((len(row) for row in rows), default=0)
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.uint8)


def spoken(instruction: Tensor) -> tuple[str, ...]:
    """The texts of `Sight.instruction` (B,N)."""
    return tuple(bytes(row).rstrip(b"\0").decode() for row in instruction.tolist())
