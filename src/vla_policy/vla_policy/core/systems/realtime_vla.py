"""Realtime-VLA (Ma et al. 2025, "Running VLAs at Real-time Speed"): pi0, faster, with the same answers.

The graph is simplified without changing its result (blocks/folded.py), all shapes are static, and the whole way from
what is seen to the chunk is recorded once and replayed: a CUDA graph on a GPU, OpenVINO on a CPU (static_graph.py). It
trains as pi0 and reads pi0's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import PolicyError
from vla_policy.core.blocks.folded import FoldedExpert
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.static_graph import AUTO, Static, static
from vla_policy.core.systems.pi0 import Pi0, Pi0Config
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn

_SEEN = ("pooled", "uv", "presence", "xyz", "generic", "text", "text_mask", "state", "tool")


@dataclass(frozen=True, slots=True)
class RealtimeVlaConfig(Pi0Config):
    """As Pi0Config.

    Attributes:
        words: Places of the instruction's tokens; shorter ones are padded.
        graph: How the graph is run, see static_graph.KINDS.
    """

    words: int
    graph: str = AUTO


class Replayed(nn.Module):
    """Everything between a sight of one row and its chunk."""

    def __init__(self, see: nn.Module, expert: FoldedExpert, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.see, self.expert, self.fields = see, expert, fields

    def forward(self, noise: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        """The chunk (1,T,D); `parts` are the named fields of a Sight."""
        given = dict(zip(self.fields, parts, strict=True))
        sight = Sight(**dict.fromkeys(Sight._fields) | given)  # type: ignore[arg-type]
        tokens, valid = self.see(sight)
        chunk: Tensor = self.expert(tokens, valid, sight.state, first, noise)
        return chunk


class RealtimeVla(Pi0):
    """See the module. Execution strategies that steer the field, and batches, take pi0's own way."""

    _static: Static | None
    _prefix: int

    def __init__(self, config: RealtimeVlaConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self._words, self._kind, self._static = config.words, config.graph, None
        film = ("sentence",) if self.backbone.see.config.film else ()
        self._fields = (*_SEEN, *film, *sorted(self.backbone.needs))

    def train(self, mode: bool = True) -> RealtimeVla:
        """As nn.Module; forgets the graph, since weights change."""
        self._static = None
        super().train(mode)
        return self

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """As pi0; a single row by the recorded graph.

        Raises:
            PolicyError: an instruction of more tokens than there are places.
        """
        if len(noise) > 1:
            return super().draw(sight, noise)
        missing = self._words - sight.text.shape[1]
        if missing < 0:
            got = f"an instruction of {sight.text.shape[1]} tokens"
            raise PolicyError(got, f"at most {self._words}", "say it shorter, or enlarge model: words")
        padded = sight._replace(
            text=F.pad(sight.text, (0, 0, 0, missing)), text_mask=F.pad(sight.text_mask, (0, missing))
        )
        if self._static is None:
            self._static = self._record(padded, noise)
        return Drawn(self._static(self._inputs(padded, noise, missing)), self.config.steps)

    def _record(self, sight: Sight, noise: Tensor) -> Static:
        prefix = self.backbone.see(sight)[0].shape[1]
        expert = FoldedExpert(self.backbone.decoder, self.expert, self.config.steps, prefix)
        self._prefix = prefix
        return static(Replayed(self.backbone.see, expert, self._fields), self._inputs(sight, noise, 0), self._kind)

    def _inputs(self, sight: Sight, noise: Tensor, missing: int) -> tuple[Tensor, ...]:
        first = torch.tensor([self._prefix - missing], device=noise.device)
        return noise, first, *(getattr(sight, name) for name in self._fields)


@SYSTEMS.register("realtime_vla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> RealtimeVla:
    return RealtimeVla(parse(RealtimeVlaConfig, {**model, **decoding}, "preset"), sizes)
