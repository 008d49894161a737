"""What the families of published VLMs have of their own: how images become tokens, and what stands around them.

PaliGemma (Beyer et al. 2024): SigLIP, one linear layer, images and text seen in both directions. SmolVLM (Marafioti et
al. 2025): SigLIP whose patches are shuffled into channels, chat, causal. Qwen2.5-VL (Bai et al. 2025): a vision
transformer with windows, chat, causal, rotary positions of image tokens in rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError
from vla_policy.core.blocks.decoder import DecoderConfig
from vla_policy.core.blocks.hf_loading import load_config, load_weights_into

_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text around images and instruction, with the special tokens of the model.

    Attributes:
        before: First of all. opened, closed: Before and after every image.
        begin: A begin token stands before the instruction. after: Behind the instruction.
    """

    before: str = ""
    opened: str = ""
    closed: str = ""
    begin: bool = False
    after: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A published VLM taken apart.

    Attributes:
        vision: Images (N,3,E,E), normalised, to tokens (N,P,C).
        language: Its decoder, which takes states and returns states and cache.
        table, head: Embedding and output layer; head None where it is the embedding.
        config: Of the decoder, as ours.
        prompt: See Prompt.
        bidirectional: Whether the model was trained with a prefix that sees itself in both directions.
        edge: E. grid: Rows and columns of the P tokens.
        rows_and_columns: Positions of image tokens are those of the grid, in three axes.
        mean, std: Of the colours, where no file says so.
    """

    vision: nn.Module
    language: Any
    table: nn.Embedding
    head: nn.Linear | None
    config: DecoderConfig
    prompt: Prompt
    bidirectional: bool
    edge: int
    grid: tuple[int, int]
    rows_and_columns: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


class _PaliGemmaVision(nn.Module):
    def __init__(self, tower: nn.Module, project: nn.Module) -> None:
        super().__init__()
        self.tower, self.project = tower, project

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.project(self.tower(images).last_hidden_state)
        return out


class _SmolVlmVision(nn.Module):
    def __init__(self, tower: nn.Module, connect: nn.Module) -> None:
        super().__init__()
        self.tower, self.connect = tower, connect

    def forward(self, images: Tensor) -> Tensor:
        seen = self.tower(pixel_values=images, patch_attention_mask=None).last_hidden_state
        out: Tensor = self.connect(seen)
        return out


class _QwenVision(nn.Module):
    def __init__(self, tower: Any, patch: int, merge: int, times: int) -> None:
        super().__init__()
        self.tower, self.patch, self.merge, self.times = tower, patch, merge, times

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        grid = torch.tensor([[1, height // self.patch, width // self.patch]] * count, device=images.device)
        seen = self.tower(patches(images, self.patch, self.merge, self.times), grid_thw=grid).pooler_output
        out: Tensor = seen.view(count, -1, seen.shape[-1])
        return out


def patches(images: Tensor, patch: int, merge: int, times: int) -> Tensor:
    """Images (N,3,H,W) as Qwen's encoder takes them: rows (N*P,3*times*patch^2), those of a merged square together."""
    count, channels, height, width = images.shape
    rows, columns = height // patch // merge, width // patch // merge
    x = images.view(count, channels, rows, merge, patch, columns, merge, patch).permute(0, 2, 5, 3, 6, 1, 4, 7)
    x = x.unsqueeze(6).expand(*x.shape[:6], times, *x.shape[6:])
    return x.reshape(count * rows * columns * merge**2, -1)


def _decoder(text: Any) -> DecoderConfig:
    """A transformers text configuration as ours."""
    activation = getattr(text, "hidden_activation", None) or text.hidden_act
    return DecoderConfig(
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_width=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        hidden=text.intermediate_size,
        activation="silu" if activation == "silu" else "gelu",
        rope_base=float(text.rope_parameters["rope_theta"]),
        eps=text.rms_norm_eps,
    )


def _apart(model: Any, language: Any, text: Any) -> dict[str, Any]:
    """Decoder, embedding and output layer."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    language.embed_tokens = None  # it is given states
    tied = head.weight is table.weight
    return {"language": language, "table": table, "head": None if tied else head, "config": _decoder(text)}


def _paligemma(folder: Path, config: Any, image: int, dtype: str) -> Family:
    model = load_weights_into("PaliGemmaForConditionalGeneration", folder, config, dtype)
    vision, inner = config.vision_config, model.model
    side = _only(image, vision.image_size) // vision.patch_size
    return Family(
        vision=_PaliGemmaVision(inner.vision_tower, inner.multi_modal_projector),
        **_apart(model, inner.language_model, config.text_config),
        prompt=Prompt(begin=True, after="\n"),
        bidirectional=True,
        edge=vision.image_size,
        grid=(side, side),
        rows_and_columns=False,
        mean=_HALF,
        std=_HALF,
    )


def _smolvlm(folder: Path, config: Any, image: int, dtype: str) -> Family:
    model = load_weights_into("SmolVLMForConditionalGeneration", folder, config, dtype)
    vision, inner = config.vision_config, model.model
    side = _only(image, vision.image_size) // vision.patch_size // config.scale_factor
    return Family(
        vision=_SmolVlmVision(inner.vision_model, inner.connector),
        **_apart(model, inner.text_model, config.text_config),
        prompt=Prompt(
            "<|im_start|>User:",
            "<fake_token_around_image><global-img>",
            "<fake_token_around_image>",
            after="<end_of_utterance>\nAssistant:",
        ),
        bidirectional=False,
        edge=vision.image_size,
        grid=(side, side),
        rows_and_columns=False,
        mean=_HALF,
        std=_HALF,
    )


def _qwen(folder: Path, config: Any, image: int, dtype: str) -> Family:
    model = load_weights_into("Qwen2_5_VLForConditionalGeneration", folder, config, dtype)
    vision, inner = config.vision_config, model.model
    step = vision.patch_size * vision.spatial_merge_size
    if image % step or image < step:
        raise ConfigError(f"backbone: image {image}", f"a multiple of {step} pixels", "mend the preset")
    return Family(
        vision=_QwenVision(inner.visual, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size),
        **_apart(model, inner.language_model, config.text_config),
        prompt=Prompt(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
            "<|vision_start|>",
            "<|vision_end|>",
            after="<|im_end|>\n<|im_start|>assistant\n",
        ),
        bidirectional=False,
        edge=image,
        grid=(image // step, image // step),
        rows_and_columns=True,
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
    )


def _only(image: int, edge: int) -> int:
    """The encoder's own image size, the only one that it takes.

    Raises:
        ConfigError: another one is wanted.
    """
    if image not in (0, edge):
        raise ConfigError(f"backbone: image {image}", f"0 or the model's own {edge}", "mend the preset")
    return edge


#: By transformers' model type.
FAMILIES: dict[str, Callable[[Path, Any, int, str], Family]] = {
    "paligemma": _paligemma,
    "smolvlm": _smolvlm,
    "qwen2_5_vl": _qwen,
}


def load_family(folder: Path, image: int, dtype: str) -> Family:
    """Load a published VLM and take it apart.

    Args:
        folder: Local folder with config.json, weights and tokenizer.json.
        image: Edge of the images that it shall see [pixel]; 0: its own.
        dtype: 'float32' or 'bfloat16'.

    Raises:
        WeightsError: a file is missing, or weights aren't those of this model.
        UnknownNameError: another type of model or dtype.
        ConfigError: an image size that it can't take.
    """
    config = load_config(folder, FAMILIES)
    return FAMILIES[config.model_type](folder, config, image, dtype)
