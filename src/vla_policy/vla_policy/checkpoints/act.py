"""ACT (Zhao et al. 2023) in the layout of LeRobot's checkpoints: ResNet features, DETR encoder and decoder.

The style variable z is zero at inference (section IV-C), so the CVAE's encoder is left in the file. Sequences are
[z, state, environment, features of every view]; the chunk is regressed from one learned query per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import UnknownNameError
from vla_policy.checkpoints.files import pick
from vla_policy.checkpoints.keys import RESNET, KeyRules, all_of
from vla_policy.checkpoints.lerobot_files import ACTION, STATE, LerobotCheckpoint
from vla_policy.checkpoints.model import MODELS, CheckpointModel, Inputs
from vla_policy.core.blocks.resnet import FrozenBatchNorm, ResNet

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}

RULES = all_of(
    KeyRules(((r"^model\.", ""),), (r"model\.vae_encoder",)),
    RESNET,
    KeyRules(
        (
            (r"\.self_attn\.", ".attend_self."),
            (r"\.multihead_attn\.", ".attend_cross."),
            (r"\.linear1\.", ".up."),
            (r"\.linear2\.", ".down."),
            (r"^encoder_latent_input_proj\.", "style."),
            (r"^encoder_robot_state_input_proj\.", "state."),
            (r"^encoder_img_feat_input_proj\.", "image."),
            (r"^encoder_1d_feature_pos_embed\.weight", "place"),
            (r"^decoder_pos_embed\.weight", "query"),
            (r"^action_head\.", "out."),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class ActOptions:
    """Those of config.json that the network depends on."""

    chunk_size: int
    vision_backbone: str
    replace_final_stride_with_dilation: bool
    pre_norm: bool
    dim_model: int
    n_heads: int
    dim_feedforward: int
    feedforward_activation: str
    n_encoder_layers: int
    n_decoder_layers: int
    latent_dim: int


class _Layer(nn.Module):
    """DETR's layer (Carion et al. 2020): places are added to queries and keys, never to values."""

    def __init__(self, options: ActOptions, cross: bool) -> None:
        super().__init__()
        width = options.dim_model
        self.pre_norm, self.activation = options.pre_norm, ACTIVATIONS[options.feedforward_activation]
        self.attend_self = nn.MultiheadAttention(width, options.n_heads, batch_first=True)
        if cross:
            self.attend_cross = nn.MultiheadAttention(width, options.n_heads, batch_first=True)
        self.up, self.down = nn.Linear(width, options.dim_feedforward), nn.Linear(options.dim_feedforward, width)
        for i in range(3 if cross else 2):
            self.add_module(f"norm{i + 1}", nn.LayerNorm(width))

    def forward(self, x: Tensor, place: Tensor, context: Tensor | None = None, where: Tensor | None = None) -> Tensor:
        """x (B,M,C) at places (M,C); context (B,N,C) at places (N,C) for a decoder's layer."""

        def itself(y: Tensor) -> Tensor:
            at = y + place
            out: Tensor = self.attend_self(at, at, y, need_weights=False)[0]
            return out

        def others(y: Tensor) -> Tensor:
            assert context is not None and where is not None
            out: Tensor = self.attend_cross(y + place, context + where, context, need_weights=False)[0]
            return out

        def feed(y: Tensor) -> Tensor:
            out: Tensor = self.down(self.activation(self.up(y)))
            return out

        for i, part in enumerate((itself, feed) if context is None else (itself, others, feed)):
            norm = self.get_submodule(f"norm{i + 1}")
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


class _Stack(nn.Module):
    def __init__(self, options: ActOptions, layers: int, cross: bool, norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(options, cross) for _ in range(layers))
        self.norm = nn.LayerNorm(options.dim_model) if norm else nn.Identity()

    def forward(self, x: Tensor, place: Tensor, context: Tensor | None = None, where: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, place, context, where)
        out: Tensor = self.norm(x)
        return out


def places_2d(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Sinusoidal places (H W, C) of a feature map, rows in the first half of the channels (DETR, section A.4)."""
    half = channels // 2
    frequency = 10_000.0 ** (-2 * torch.div(torch.arange(half, device=like.device), 2, rounding_mode="floor") / half)

    def waves(count: int) -> Tensor:
        step = torch.arange(1, count + 1, device=like.device, dtype=torch.float32)
        phase = (step / (count + 1e-6) * 2 * math.pi)[:, None] * frequency
        return torch.stack([phase[:, 0::2].sin(), phase[:, 1::2].cos()], -1).flatten(1)

    rows = waves(height)[:, None].expand(-1, width, -1)
    columns = waves(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1).to(like.dtype)


@MODELS.register("act")
class Act(CheckpointModel):
    """See the module."""

    def __init__(self, options: ActOptions, state: int, actions: int) -> None:
        """Make the network.

        Raises:
            UnknownNameError: no such vision backbone or activation.
        """
        super().__init__()
        if options.feedforward_activation not in ACTIVATIONS:
            raise UnknownNameError("activation", options.feedforward_activation, ACTIVATIONS)
        width = options.dim_model
        self.options, self.steps = options, options.chunk_size
        self.noise_shape = (options.chunk_size, actions)
        self.style = nn.Linear(options.latent_dim, width)
        self.state = nn.Linear(state, width)
        self.place = nn.Parameter(torch.zeros(2, width))
        self.query = nn.Parameter(torch.zeros(options.chunk_size, width))
        self.backbone = ResNet(options.vision_backbone, FrozenBatchNorm, options.replace_final_stride_with_dilation)
        self.image = nn.Conv2d(self.backbone.channels, width, 1)
        self.encoder = _Stack(options, options.n_encoder_layers, cross=False, norm=options.pre_norm)
        self.decoder = _Stack(options, options.n_decoder_layers, cross=True, norm=True)
        self.out = nn.Linear(width, actions)

    @classmethod
    def of(cls, checkpoint: LerobotCheckpoint) -> Act:
        """The network of a checkpoint, without its weights."""
        dilated = bool(checkpoint.options.get("replace_final_stride_with_dilation", False))  # 0 and 1 occur too
        data = {**checkpoint.options, "replace_final_stride_with_dilation": dilated}
        options = pick(ActOptions, data, f"{checkpoint.name}/config.json")
        return cls(options, checkpoint.size(STATE), checkpoint.size(ACTION))

    @staticmethod
    def weights(checkpoint: LerobotCheckpoint) -> dict[str, Tensor]:
        """Tensors by our names."""
        return RULES.apply(checkpoint.tensors)

    def act(self, inputs: Inputs, noise: Tensor) -> Tensor:
        """See CheckpointModel; the noise has no influence."""
        batch, width = len(inputs.state), self.options.dim_model
        features = self.image(self.backbone(inputs.images[:, -1].flatten(0, 1)))
        height, columns = features.shape[-2:]
        grid = places_2d(height, columns, width, features)
        views = features.unflatten(0, (batch, -1)).flatten(3).transpose(2, 3)
        zero = inputs.state.new_zeros(batch, self.options.latent_dim)
        single = torch.stack([self.style(zero), self.state(inputs.state[:, -1])], 1)
        tokens = torch.cat([single, views.flatten(1, 2)], 1)
        place = torch.cat([self.place, grid.repeat(views.shape[1], 1)])
        context = self.encoder(tokens, place)
        queries = context.new_zeros(batch, self.steps, width)
        out: Tensor = self.out(self.decoder(queries, self.query, context, place))
        return out
