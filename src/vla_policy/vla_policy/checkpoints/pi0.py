"""pi0 (Black et al. 2024) in the layout of LeRobot's checkpoints, with openpi's names: PaliGemma and a Gemma expert.

SigLIP patches and the instruction are the prefix, seen in both directions; the state and the noisy actions are two more
blocks with the expert's weights, which read the prefix' keys and values. openpi counts flow time from the data:
x_t = t noise + (1 - t) actions, and the network says noise - actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vla_core.errors import UnknownNameError, WeightsError
from vla_policy.checkpoints.files import pick
from vla_policy.checkpoints.keys import DECODER, QKV, SIGLIP, KeyRules, all_of, fused
from vla_policy.checkpoints.lerobot_files import ACTION, LerobotCheckpoint
from vla_policy.checkpoints.model import MODELS, FlowModel, Inputs
from vla_policy.core.blocks.action_expert import ActionExpert, ActionExpertConfig
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.vit import Vit, VitConfig
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.drawing.field import Velocity
from vla_policy.core.images import padded
from vla_policy.core.systems.sizes import Sizes

#: Gemma by openpi's variants: width, layers, heads, key-value heads, head width, MLP.
GEMMA = {
    "gemma_300m": DecoderConfig(1024, 18, 8, 1, 256, 4096),
    "gemma_2b": DecoderConfig(2048, 18, 8, 1, 256, 16_384),
}
#: PaliGemma's SigLIP So400m/14.
VISION = VitConfig(width=1152, layers=27, heads=16, hidden=4304, patch=14, image=224)
VOCABULARY = 257_152

RULES = all_of(
    KeyRules(
        (
            (r"^model\.(?=paligemma_with_expert\.|state_proj|action_|time_mlp)", ""),
            (r"^paligemma_with_expert\.paligemma\.(?:model\.)?", ""),
            (r"^paligemma_with_expert\.gemma_expert\.model\.", "expert.decoder."),
            (r"^multi_modal_projector\.linear\.", "project."),
            (r"^language_model\.(?:model\.)?embed_tokens\.weight$", "embedding"),
            (r"^language_model\.(?:model\.)?", "decoder."),
            (r"^state_proj\.", "expert.state."),
            (r"^action_in_proj\.", "expert.action."),
            (r"^(?:action_)?time_mlp_in\.", "expert.mix."),
            (r"^(?:action_)?time_mlp_out\.", "expert.mix_out."),
            (r"^action_out_proj\.", "expert.velocity_out."),
        ),
        (r".*gemma_expert\.(?:lm_head|model\.embed_tokens)\.",),
    ),
    SIGLIP,
    DECODER,
)


@dataclass(frozen=True, slots=True)
class Pi0Options:
    """Those of config.json that the network depends on."""

    paligemma_variant: str
    action_expert_variant: str
    chunk_size: int
    max_state_dim: int
    max_action_dim: int
    num_inference_steps: int
    image_resolution: tuple[int, ...] = (224, 224)


@MODELS.register("pi0")
class Pi0(FlowModel):
    """See the module."""

    resizes = instructed = True

    def __init__(self, options: Pi0Options, actions: int, vision: VitConfig, vocabulary: int) -> None:
        """Make the network.

        Raises:
            UnknownNameError: no such variant of Gemma.
        """
        super().__init__()
        for variant in (options.paligemma_variant, options.action_expert_variant):
            if variant not in GEMMA:
                raise UnknownNameError("Gemma variant", variant, GEMMA)
        language, expert = GEMMA[options.paligemma_variant], GEMMA[options.action_expert_variant]
        self.options, self.actions, self.steps = options, actions, options.chunk_size
        self.samples = options.num_inference_steps
        self.noise_shape = (options.chunk_size, options.max_action_dim)
        self.vision = Vit(replace(vision, image=options.image_resolution[0]))
        self.project = nn.Linear(vision.width, language.width)
        self.embedding = nn.Parameter(torch.zeros(vocabulary, language.width))
        self.decoder = Decoder(language)
        sizes = Sizes(options.chunk_size, options.max_action_dim, options.max_state_dim, 0, 0, 0, 0, 0, 0)
        self.expert = ActionExpert(ActionExpertConfig(expert.width, expert.hidden), language, sizes)

    @classmethod
    def of(cls, checkpoint: LerobotCheckpoint) -> Pi0:
        """The network of a checkpoint, without its weights."""
        options = pick(Pi0Options, checkpoint.options, f"{checkpoint.name}/config.json")
        return cls(options, checkpoint.size(ACTION), VISION, VOCABULARY)

    @staticmethod
    def weights(checkpoint: LerobotCheckpoint) -> dict[str, Tensor]:
        """Tensors by our names. Gemma's norms scale by 1 + w; words and their output layer share one matrix.

        Raises:
            WeightsError: neither of the two is there.
        """
        out = fused(RULES.apply(checkpoint.tensors), QKV, "qkv")
        shared = out.pop("lm_head.weight", None)
        if "embedding" not in out:
            if shared is None:
                raise WeightsError(
                    f"{checkpoint.name} without embed_tokens and lm_head", "one of them", "fetch it again"
                )
            out["embedding"] = shared
        for key, tensor in out.items():
            if key.startswith(("decoder.", "expert.decoder.")) and "norm" in key:
                out[key] = 1.0 + tensor.float()
        return out

    def read(self, inputs: Inputs) -> Read:
        """Keys and values of images and instruction, once per observation."""
        batch, edge = len(inputs.state), self.vision.config.image
        images = padded(inputs.images[:, -1].flatten(0, 1), edge, edge, centred=True) * 2 - 1
        seen = self.project(self.vision(images)).unflatten(0, (batch, -1)).flatten(1, 2)
        words = self.embedding[inputs.tokens]
        prefix = torch.cat([seen, words * words.shape[-1] ** 0.5], 1)
        hidden, cache = self.decoder(prefix, torch.arange(prefix.shape[1], device=prefix.device)[None])
        return Read(hidden, torch.ones(prefix.shape[:2], dtype=torch.bool, device=prefix.device), cache)

    def velocity(self, inputs: Inputs) -> Velocity:
        """See FlowModel; openpi's flow time runs the other way."""
        read, state = self.read(inputs), inputs.state[:, -1]
        state = torch.cat([state, state.new_zeros(len(state), self.options.max_state_dim - state.shape[1])], 1)

        def backwards(x: Tensor, time: Tensor) -> Tensor:
            return -self.expert.velocity(x, 1 - time, state, read).to(x.dtype)

        return backwards
