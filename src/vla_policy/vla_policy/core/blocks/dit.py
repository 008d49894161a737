"""Diffusion transformer over a chunk's steps (Peebles & Xie 2023, DiT): a condition modulates every block.

adaLN-zero (section 3.2): each branch f of a block, attention or MLP, is run as

    x + gate * f((1 + scale) * norm(x) + shift)

where shift, scale and gate are linear in the condition and zero at first, so that every block begins as the identity.
What doesn't fit into one vector is attended to as context, in a branch of its own (the paper's cross-attention block).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from vla_policy.core.blocks.action_expert import moment
from vla_policy.core.blocks.attention import Attention, learned
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class DitConfig:
    """A preset's `dit` section.

    Attributes:
        width, layers, heads: Of the transformer.
        hidden: Width of its MLPs.
    """

    width: int
    layers: int
    heads: int
    hidden: int


class Context(NamedTuple):
    """What all blocks attend to, computed once per observation.

    Attributes:
        keys_values: (2,B,H,N,E) per block.
        mask: bool (B,1,1,N), True where attending is allowed.
    """

    keys_values: tuple[Tensor, ...]
    mask: Tensor

    def repeated(self, times: int) -> Context:
        """Of a batch that is repeated as a whole so many times."""
        return Context(tuple(kv.repeat(1, times, 1, 1, 1) for kv in self.keys_values), self.mask.repeat(times, 1, 1, 1))


class Modulation(nn.Module):
    """Shift, scale and gate of some branches, zero at first; (B,C) or one condition per step, (B,T,C)."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts, self.to_all = parts, nn.Linear(width, parts * width)
        nn.init.zeros_(self.to_all.weight)
        nn.init.zeros_(self.to_all.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """(B,C) or (B,T,C) to `parts` times (B,1,C) or (B,T,C)."""
        condition = condition[:, None] if condition.dim() == 2 else condition
        parts: tuple[Tensor, ...] = self.to_all(F.silu(condition)).chunk(self.parts, -1)
        return parts


class DitBlock(nn.Module):
    """Attention among the steps, attention to the context where there is one, MLP; each modulated and gated."""

    def __init__(self, config: DitConfig, crossed: bool) -> None:
        super().__init__()
        width = config.width
        self.attend_self = Attention(width, config.heads)
        self.attend_cross = Attention(width, config.heads) if crossed else None
        self.mlp = nn.Sequential(nn.Linear(width, config.hidden), nn.GELU("tanh"), nn.Linear(config.hidden, width))
        self.modulation = Modulation(width, 9 if crossed else 6)

    def forward(self, x: Tensor, condition: Tensor, keys_values: Tensor | None, mask: Tensor | None) -> Tensor:
        """x (B,T,C), condition (B,C) or (B,T,C), keys and values of the context for a block that attends to one."""
        parts = self.modulation(condition)
        y = modulated(x, *parts[:2])
        x = x + parts[2] * self.attend_self(y, self.attend_self.keys_values(y))
        if self.attend_cross is not None:
            assert keys_values is not None, "see Dit.read"
            x = x + parts[8] * self.attend_cross(modulated(x, *parts[6:8]), keys_values, mask)
        out: Tensor = x + parts[5] * self.mlp(modulated(x, *parts[3:5]))
        return out


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without parameters of its own, then scale and shift."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class DitTrunk(nn.Module):
    """Blocks on embedded steps, without action embedding and head.

    Args:
        config: Sizes.
        condition: Width of the pooled condition.
        context: Width of the context's tokens; 0: no block attends to a context.
    """

    def __init__(self, config: DitConfig, condition: int, context: int = 0) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(condition, width)
        self.context_in = nn.Linear(context, width) if context else None
        self.blocks = nn.ModuleList(DitBlock(config, context > 0) for _ in range(config.layers))

    def read(self, tokens: Tensor, valid: Tensor) -> Context:
        """Context tokens (B,N,context) and which are valid, bool (B,N): keys and values for every block."""
        assert self.context_in is not None, "made without a context"
        tokens = self.context_in(tokens)
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        keys_values = tuple(b.attend_cross.keys_values(tokens) for b in self.blocks)  # type: ignore[union-attr, operator]
        return Context(keys_values, valid[:, None, None])

    def modulating(self, time: Tensor, condition: Tensor) -> Tensor:
        """Time (B,) or (B,T) and condition (B,condition) as the vector that modulates, (B,C) or (B,T,C)."""
        moments: Tensor = self.time(moment(time, self.config.width))
        given: Tensor = self.condition(condition)
        return moments + (given[:, None] if moments.dim() == 3 else given)

    def forward(self, x: Tensor, modulating: Tensor, context: Context | None = None) -> Tensor:
        """Embedded steps (B,T,C) to the same."""
        for i, block in enumerate(self.blocks):
            kept = (None, None) if context is None else (context.keys_values[i], context.mask)
            x = block(x, modulating, *kept)
        return x


class DitOut(nn.Module):
    """Last layer: modulated norm, then a projection that is zero at first."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 2)
        self.out = nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, modulating: Tensor) -> Tensor:
        """(B,T,C) to (B,T,outputs)."""
        shift, scale = self.modulation(modulating)
        out: Tensor = self.out(modulated(x, shift, scale))
        return out


class Dit(nn.Module):
    """Noise, data or velocity of a noisy chunk; for diffusion and flow matching alike.

    Args:
        config: Sizes of the transformer.
        sizes: Of the chunk.
        condition, context: See DitTrunk.
    """

    def __init__(self, config: DitConfig, sizes: Sizes, condition: int, context: int = 0) -> None:
        super().__init__()
        self.trunk = DitTrunk(config, condition, context)
        self.action = nn.Linear(sizes.action_width, config.width)
        self.step = learned(1, sizes.horizon, config.width)
        self.out = DitOut(config.width, sizes.action_width)

    def read(self, tokens: Tensor, valid: Tensor) -> Context:
        """See DitTrunk."""
        return self.trunk.read(tokens, valid)

    def forward(self, actions: Tensor, time: Tensor, condition: Tensor, context: Context | None = None) -> Tensor:
        """What the network says, (B,T,D).

        Args:
            actions: (B,T,D) noisy, normalised.
            time: (B,), or (B,T) one per step, 0..1 of the process.
            condition: (B,condition) pooled.
            context: What `read` made of B rows.
        """
        modulating = self.trunk.modulating(time, condition)
        x = self.trunk(self.action(actions) + self.step, modulating, context)
        out: Tensor = self.out(x, modulating)
        return out
