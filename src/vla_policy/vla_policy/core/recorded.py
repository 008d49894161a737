"""Chunks of a system by a static graph: recorded at the first draw, replayed for every sight and instruction.

An instruction's tokens stand in as many places as the longest one has; empty places are masked and take no position, so
that the answers are those of `System.draw`. On a CPU the graph is OpenVINO's (static_graph.py).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import PolicyError
from vla_policy.core.sight import Sight
from vla_policy.core.static_graph import AUTO, Static, static
from vla_policy.core.systems.system import Drawn, System


class Recorded:
    """Draws of one observation.

    Args:
        system: A static one.
        words: Places of an instruction's tokens.
        kind: How the graph is run, see static_graph.KINDS.

    Raises:
        PolicyError: a system that can't be recorded.
    """

    def __init__(self, system: System, words: int, kind: str = AUTO) -> None:
        if not system.recordable:
            got = f"a graph of {type(system).__name__}"
            raise PolicyError(got, "a static system", "let it run in torch (backend 'auto' or 'torch')")
        self.system, self.words, self.kind = system, words, kind
        self._rest: _Rest | None = None
        self._graph: Static | None = None
        self._changes = -1

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """As System.draw, noise (1,T,D); records at first, and anew after weights could have changed.

        Raises:
            PolicyError: an instruction of more tokens than there are places.
        """
        sight = self._padded(sight)
        prelude = self.system.prelude(sight, noise)
        fields = tuple(name for name in Sight._fields if getattr(sight, name) is not None)
        inputs = noise, *(getattr(sight, name) for name in fields), *prelude.tensors
        if self._rest is None or self._graph is None or self._changes != self.system.changes:
            self._changes, self._rest = self.system.changes, _Rest(self.system, fields)
            with warnings.catch_warnings():  # of every shape that becomes a constant, as it shall
                warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
                self._graph = static(self._rest, inputs, self.kind)
        return Drawn(self._graph(inputs), prelude.passes + self._rest.passes, prelude.text)

    def _padded(self, sight: Sight) -> Sight:
        missing = self.words - sight.text.shape[1]
        if missing < 0:
            got = f"an instruction of {sight.text.shape[1]} tokens"
            raise PolicyError(got, f"at most {self.words}", "say it shorter")
        text, mask = F.pad(sight.text, (0, 0, 0, missing)), F.pad(sight.text_mask, (0, missing))
        return sight._replace(text=text, text_mask=mask)


class _Rest(nn.Module):
    """Everything behind the prelude.

    Attributes:
        passes: Of the last call.
    """

    def __init__(self, system: System, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.system, self.fields, self.passes = system, fields, 0

    def forward(self, noise: Tensor, *parts: Tensor) -> Tensor:
        """The chunk (1,T,D); `parts` are the named fields of a Sight, then the prelude's tensors."""
        count = len(self.fields)
        given = dict(zip(self.fields, parts[:count], strict=True))
        sight = Sight(**dict.fromkeys(Sight._fields) | given)  # type: ignore[arg-type]
        drawn = self.system.draw_behind(sight, noise, parts[count:])
        self.passes = drawn.passes
        return drawn.chunk
