"""SmolVLA (Shukor et al. 2025) in the layout of LeRobot's checkpoints: the first layers of SmolVLM2 and an expert.

Images, instruction and state are the backbone's prefix; nobody but the state sees the state. The expert
(`core/blocks/interleaved_expert.py`) draws the chunk by flow matching, with flow time counted as in pi0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import PolicyError, UnknownNameError
from vla_policy.checkpoints.files import pick, read_json
from vla_policy.checkpoints.keys import DECODER, QKV, SIGLIP, KeyRules, all_of, fused
from vla_policy.checkpoints.lerobot_files import ACTION, LerobotCheckpoint
from vla_policy.checkpoints.model import MODELS, FlowModel, Inputs
from vla_policy.core.blocks.action_expert import moment
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig, block_mask
from vla_policy.core.blocks.interleaved_expert import InterleavedExpert
from vla_policy.core.blocks.vit import Vit, VitConfig
from vla_policy.core.drawing.field import Velocity
from vla_policy.core.images import padded


@dataclass(frozen=True, slots=True)
class SmolVlmSizes:
    """Of a SmolVLM.

    Attributes:
        vision: Its SigLIP. language: All layers of its Llama, with the rotary base that SmolVLA uses.
        shuffle: So many patches in both directions become one token.
        vocabulary: Tokens.
    """

    vision: VitConfig
    language: DecoderConfig
    shuffle: int
    vocabulary: int


#: By LeRobot's `vlm_model_name`.
SMOLVLM = {
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": SmolVlmSizes(
        VitConfig(width=768, layers=12, heads=12, hidden=3072, patch=16, image=512),
        DecoderConfig(960, 32, 15, 5, 64, 2560, "silu", eps=1e-5),
        shuffle=4,
        vocabulary=49_280,
    )
}

RULES = all_of(
    KeyRules(
        (
            (r"^model\.vlm_with_expert\.vlm\.model\.", ""),
            (r"^model\.vlm_with_expert\.lm_expert\.", "expert."),
            (r"^model\.(?=state_proj|action_)", ""),
            (r"^connector\.modality_projection\.proj\.", "project."),
            (r"^text_model\.embed_tokens\.weight$", "embedding"),
            (r"^text_model\.", "decoder."),
            (r"^state_proj\.", "state."),
            (r"^action_in_proj\.", "action."),
            (r"^action_time_mlp_in\.", "mix."),
            (r"^action_time_mlp_out\.", "mix_out."),
            (r"^action_out_proj\.", "velocity_out."),
        ),
        (r"model\.vlm_with_expert\.vlm\.lm_head\.",),
    ),
    SIGLIP,
    DECODER,
)


@dataclass(frozen=True, slots=True)
class SmolVlaOptions:
    """Those of config.json that the network depends on."""

    chunk_size: int
    max_state_dim: int
    max_action_dim: int
    num_steps: int
    vlm_model_name: str
    attention_mode: str
    num_expert_layers: int
    num_vlm_layers: int
    self_attn_every_n_layers: int
    expert_width_multiplier: float
    add_image_special_tokens: bool
    adapt_to_pi_aloha: bool
    min_period: float
    max_period: float
    resize_imgs_with_padding: tuple[int, ...] = ()

    def check(self, image: int) -> SmolVlaOptions:
        """Return self.

        Args:
            image: Edge of the vision encoder's images [pixel].

        Raises:
            PolicyError: an option that isn't served here.
        """
        got = []
        if self.attention_mode != "cross_attn":
            got.append(f"attention_mode {self.attention_mode}")
        if self.add_image_special_tokens:
            got.append("add_image_special_tokens")
        if self.adapt_to_pi_aloha:
            got.append("adapt_to_pi_aloha")
        if tuple(self.resize_imgs_with_padding) != (image, image):
            got.append(f"resize_imgs_with_padding {list(self.resize_imgs_with_padding)}")
        if (self.min_period, self.max_period) != (4e-3, 4.0):
            got.append(f"periods {self.min_period}..{self.max_period}")
        if got:
            expected = f"attention_mode cross_attn, {image}-pixel images, periods 0.004..4, no conversions"
            raise PolicyError(f"a SmolVLA with {', '.join(got)}", expected, "choose another checkpoint")
        return self


def expert_hidden(width: int) -> int:
    """Width of the expert's MLP: two thirds of four times its width, rounded up to multiples of 256."""
    return -(-4 * (2 * width // 3) // 256) * 256


def smolvlm_sizes(name: str) -> SmolVlmSizes:
    """By name, or from config.json of a local folder.

    Raises:
        UnknownNameError: neither.
    """
    if name in SMOLVLM:
        return SMOLVLM[name]
    if not (Path(name) / "config.json").is_file():
        raise UnknownNameError("VLM without a local folder", name, SMOLVLM)
    config = read_json(Path(name) / "config.json")
    vision, text = config["vision_config"], config["text_config"]
    heads = int(text["num_attention_heads"])
    return SmolVlmSizes(
        VitConfig(
            width=vision["hidden_size"],
            layers=vision["num_hidden_layers"],
            heads=vision["num_attention_heads"],
            hidden=vision["intermediate_size"],
            patch=vision["patch_size"],
            image=vision["image_size"],
        ),
        DecoderConfig(
            text["hidden_size"],
            text["num_hidden_layers"],
            heads,
            text["num_key_value_heads"],
            text.get("head_dim") or text["hidden_size"] // heads,
            text["intermediate_size"],
            "silu",
            eps=text["rms_norm_eps"],
        ),
        config["scale_factor"],
        text["vocab_size"],
    )


@MODELS.register("smolvla")
class SmolVla(FlowModel):
    """See the module."""

    resizes = instructed = True

    def __init__(self, options: SmolVlaOptions, actions: int, sizes: SmolVlmSizes) -> None:
        """Make the network.

        Raises:
            PolicyError: see SmolVlaOptions.check.
        """
        super().__init__()
        self.options, self.sizes, self.actions = options.check(sizes.vision.image), sizes, actions
        self.samples = options.num_steps
        self.steps, self.noise_shape = options.chunk_size, (options.chunk_size, options.max_action_dim)
        whole = sizes.language
        layers = options.num_vlm_layers if options.num_vlm_layers > 0 else whole.layers

        def part(width: int, count: int, hidden: int) -> DecoderConfig:
            return DecoderConfig(
                width, count, whole.heads, whole.kv_heads, whole.head_width, hidden, "silu", whole.rope_base, whole.eps
            )

        language = part(whole.width, layers, whole.hidden)
        width = int(whole.width * options.expert_width_multiplier)
        count = options.num_expert_layers if options.num_expert_layers > 0 else layers
        self.vision = Vit(sizes.vision)
        self.project = nn.Linear(sizes.vision.width * sizes.shuffle**2, language.width, bias=False)
        self.embedding = nn.Parameter(torch.zeros(sizes.vocabulary, language.width))
        self.decoder = Decoder(language)
        self.state = nn.Linear(options.max_state_dim, language.width)
        self.expert = InterleavedExpert(
            part(width, count, expert_hidden(width)), language, options.self_attn_every_n_layers
        )
        self.action = nn.Linear(options.max_action_dim, width)
        self.mix, self.mix_out = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.velocity_out = nn.Linear(width, options.max_action_dim)

    @classmethod
    def of(cls, checkpoint: LerobotCheckpoint) -> SmolVla:
        """The network of a checkpoint, without its weights."""
        options = pick(SmolVlaOptions, checkpoint.options, f"{checkpoint.name}/config.json")
        return cls(options, checkpoint.size(ACTION), smolvlm_sizes(options.vlm_model_name))

    @staticmethod
    def weights(checkpoint: LerobotCheckpoint) -> dict[str, Tensor]:
        """Tensors by our names."""
        return fused(RULES.apply(checkpoint.tensors), QKV, "qkv")

    def see(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W), 0..1, to tokens (N,P,C)."""
        edge, shuffle = self.sizes.vision.image, self.sizes.shuffle
        patches = self.vision(padded(images, edge, edge, centred=False) * 2 - 1)
        side = edge // self.sizes.vision.patch // shuffle
        batch, _, width = patches.shape
        blocks = patches.view(batch, side, shuffle, side, shuffle, width).transpose(2, 3)
        tokens: Tensor = self.project(blocks.reshape(batch, side * side, -1))
        return tokens

    def velocity(self, inputs: Inputs) -> Velocity:
        """See FlowModel; openpi's flow time runs the other way."""
        batch = len(inputs.state)
        views = self.see(inputs.images[:, -1].flatten(0, 1))
        seen = views.reshape(batch, -1, views.shape[-1])
        state = inputs.state[:, -1]
        state = F.pad(state, (0, self.options.max_state_dim - state.shape[1]))
        scale = seen.shape[-1] ** 0.5
        prefix = torch.cat([seen * scale, self.embedding[inputs.tokens] * scale, self.state(state)[:, None]], 1)
        count = prefix.shape[1]
        valid = torch.ones(batch, count, dtype=torch.bool, device=prefix.device)
        blocks = torch.tensor([0] * (count - 1) + [1], device=prefix.device)
        _, cache = self.decoder(prefix, torch.arange(count, device=prefix.device)[None], block_mask(blocks, valid))

        def backwards(x: Tensor, time: Tensor) -> Tensor:
            action = self.action(x)
            noisy = self.mix_out(F.silu(self.mix(torch.cat([action, moment(1 - time, action.shape[-1])], -1))))
            out: Tensor = -self.velocity_out(self.expert(noisy, cache, valid)).to(x.dtype)
            return out

        return backwards
