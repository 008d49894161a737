"""Published model classes with random weights of a few thousand parameters, in local folders."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

SPECIAL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|endoftext|>",
)  # fmt: skip
TEXT = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 2,
    "eos_token_id": 1,
}  # fmt: skip
SEEING = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer(folder: Path) -> dict[str, int]:
    """One token per letter and per special word; returns their ids."""
    letters = sorted(set(string.ascii_lowercase + string.ascii_uppercase + " .:\n"))
    vocabulary = {text: i for i, text in enumerate((*SPECIAL, *letters))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.add_special_tokens(list(SPECIAL))
    made.save(str(folder / "tokenizer.json"))
    return vocabulary


def save(kind: str, folder: Path, **text: Any) -> Any:
    """Write a random model of a family to a folder, with its tokenizer; returns it."""
    import transformers as hf

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    ids = tokenizer(folder)
    made: Any
    if kind == "paligemma":
        vision = {**SEEING, "image_size": 28, "patch_size": 14, "projection_dim": 32, "vision_use_head": False}
        config = hf.PaliGemmaConfig(
            vision_config=vision, text_config={"model_type": "gemma", **TEXT, **text}, projection_dim=32,
            image_token_id=ids["<image>"], image_token_index=ids["<image>"],
        )  # fmt: skip
        made = hf.PaliGemmaForConditionalGeneration(config)
    elif kind == "smolvlm":
        vision = {**SEEING, "image_size": 32, "patch_size": 8}
        config = hf.SmolVLMConfig(
            vision_config=vision, text_config={"model_type": "llama", **TEXT, **text}, scale_factor=2,
            image_token_id=ids["<image>"], pad_token_id=0,
        )  # fmt: skip
        made = hf.SmolVLMForConditionalGeneration(config)
    else:
        vision = {
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
            "fullatt_block_indexes": [1],
        }  # fmt: skip
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
        config = hf.Qwen2_5_VLConfig(
            vision_config=vision, text_config={**TEXT, "rope_parameters": rope, **text},
            image_token_id=ids["<|image_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )  # fmt: skip
        made = hf.Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
            elif "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    made.eval().save_pretrained(folder)
    return made
