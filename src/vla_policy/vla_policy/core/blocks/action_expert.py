"""Action expert: a decoder of its own width that reads a backbone's keys and values layer by layer.

Black et al. 2024, pi0, section IV and appendix B: the robot's state and the noisy actions are two more blocks of the
backbone's sequence with weights of their own. The backbone never sees them, so its keys and values are computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_policy.core.blocks.decoder import Decoder, DecoderConfig, block_mask, repeated
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class ActionExpertConfig:
    """A preset's `expert` section; layers, heads and head width are the backbone's."""

    width: int
    hidden: int


def moment(time: Tensor, width: int) -> Tensor:
    """Sine and cosine embedding (...,width) of flow times (...), periods 4e-3 .. 4 (pi0, appendix B)."""
    # Phases reach 1600, of which float32 keeps only three decimals.
    period = 4e-3 * (4.0 / 4e-3) ** torch.linspace(0, 1, width // 2, dtype=torch.float64, device=time.device)
    phase = 2 * torch.pi * time[..., None].double() / period
    return torch.cat([phase.sin(), phase.cos()], -1).to(time.dtype)


class ActionExpert(nn.Module):
    """Velocity field of a chunk, given a read prefix."""

    def __init__(self, config: ActionExpertConfig, backbone: DecoderConfig, sizes: Sizes) -> None:
        super().__init__()
        self.width, self.horizon = config.width, sizes.horizon
        width = config.width
        self.decoder = Decoder(
            DecoderConfig(width, backbone.layers, backbone.heads, backbone.kv_heads, backbone.head_width,
                          config.hidden, backbone.activation, backbone.rope_base)
        )  # fmt: skip
        self.state = nn.Linear(sizes.state, width)
        self.action = nn.Linear(sizes.action_width, width)
        self.mix = nn.Linear(2 * width, width)
        self.mix_out = nn.Linear(width, width)
        self.velocity_out = nn.Linear(width, sizes.action_width)

    def velocity(self, actions: Tensor, time: Tensor, state: Tensor, read: Read) -> Tensor:
        """Velocity (B,T,D).

        Args:
            actions: (B,T,D) noisy, normalised. B is the prefix's batch or a multiple of it.
            time: (B,T) flow time, 0 noise .. 1 data; steps at 1 are given, the others continue them.
            state: (B',S) normalised state features of the prefix's batch B'.
            read: The prefix (B').
        """
        times = len(actions) // len(state)
        embedded = torch.cat([self.action(actions), moment(time, self.width)], -1)
        noisy = self.mix_out(F.silu(self.mix(embedded)))
        x = torch.cat([self.state(state).repeat(times, 1)[:, None], noisy], 1)
        prefix, count = read.valid.shape[1], x.shape[1]
        place = torch.arange(prefix + count, device=x.device)
        blocks = (place >= prefix).long() + (place > prefix)  # prefix 0, state 1, actions 2
        valid = torch.cat([read.valid, read.valid.new_ones(len(state), count)], 1).repeat(times, 1)
        positions = torch.arange(prefix, prefix + count, device=x.device)[None]
        cache = read.cache if times == 1 else repeated(read.cache, times)
        hidden, _ = self.decoder(x, positions, block_mask(blocks, valid, count), cache)
        out: Tensor = self.velocity_out(hidden[:, 1:])
        return out
