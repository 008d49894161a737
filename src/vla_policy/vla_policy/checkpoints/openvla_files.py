"""The Hugging Face folder of an OpenVLA: config.json, sharded weights, preprocessor_config.json, and what OFT adds.

OFT keeps its action head and state projector in .pt files beside the shards (`action_head--150000_checkpoint.pt`,
`proprio_projector--...`) and the statistics of its data set in dataset_statistics.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vla_core.errors import PolicyError, UnknownNameError, WeightsError
from vla_policy.checkpoints.files import pick, read_json, read_model
from vla_policy.checkpoints.keys import DECODER, KeyRules, all_of
from vla_policy.checkpoints.openvla import OpenVlaSizes
from vla_policy.core.blocks.decoder import DecoderConfig

_RESIDUAL = r"^head\.model\.mlp_resnet_blocks\.(\d)\.ffn\."
_BLOCK = r"^(vision\.\d+\.layers\.\d+)\."
RULES = all_of(
    KeyRules(
        (
            (r"^vision_backbone\.featurizer\.", "vision.0."),
            (r"^vision_backbone\.fused_featurizer\.", "vision.1."),
            (r"^(vision\.\d+)\.blocks\.", r"\1.layers."),
            (r"^(vision\.\d+)\.patch_embed\.proj\.", r"\1.patch."),
            (r"^(vision\.\d+)\.pos_embed$", r"\1.place"),
            (r"^(vision\.\d+)\.cls_token$", r"\1.class_token"),
            (r"^(vision\.\d+)\.reg_token$", r"\1.registers"),
            (_BLOCK + r"norm1\.", r"\1.norm_attention."),
            (_BLOCK + r"norm2\.", r"\1.norm_mlp."),
            (_BLOCK + r"attn\.qkv\.", r"\1.qkv."),
            (_BLOCK + r"attn\.proj\.", r"\1.out."),
            (_BLOCK + r"mlp\.fc1\.", r"\1.up."),
            (_BLOCK + r"mlp\.fc2\.", r"\1.down."),
            (_BLOCK + r"ls1\.(?:scale_factor|gamma)$", r"\1.scale_attention"),
            (_BLOCK + r"ls2\.(?:scale_factor|gamma)$", r"\1.scale_mlp"),
            (r"^projector\.fc1\.", "project.0."),
            (r"^projector\.fc2\.", "project.1."),
            (r"^projector\.fc3\.", "project.2."),
            (r"^language_model\.model\.embed_tokens\.weight$", "embedding"),
            (r"^language_model\.lm_head\.", "speak."),
            (r"^language_model\.model\.", "decoder."),
            (r"^proprio\.fc1\.", "state.0."),
            (r"^proprio\.fc2\.", "state.1."),
            (r"^head\.model\.layer_norm1\.", "head.mlp.0."),
            (r"^head\.model\.fc1\.", "head.mlp.1."),
            (_RESIDUAL + r"0\.", lambda m: f"head.mlp.{3 + int(m[1])}.step.0."),
            (_RESIDUAL + r"1\.", lambda m: f"head.mlp.{3 + int(m[1])}.step.1."),
            (r"^head\.model\.layer_norm2\.", "head.mlp.5."),
            (r"^head\.model\.fc2\.", "head.mlp.6."),
        ),
        (r"vision_backbone\.(?:fused_)?featurizer\.(?:norm|attn_pool|fc_norm)\.", r".*\.rotary_emb\.inv_freq$"),
    ),
    DECODER,
)
#: Parts that OFT may add, and what we make of them.
PARTS = {"action_head": "head", "proprio_projector": "proprio", "vision_backbone": "", "noisy_action_projector": ""}
BOUNDS = {"q99": ("q01", "q99"), "minmax": ("min", "max")}


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """Of `text_config`; what isn't there has the defaults of transformers' LlamaConfig."""

    vocab_size: int = 32_000
    hidden_size: int = 4096
    intermediate_size: int = 11_008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 0
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    model_type: str = "llama"

    def decoder(self) -> DecoderConfig:
        """As our Decoder.

        Raises:
            UnknownNameError: another language model than a Llama.
        """
        if self.model_type != "llama":
            raise UnknownNameError("language model", self.model_type, ("llama",))
        heads = self.num_attention_heads
        return DecoderConfig(
            self.hidden_size,
            self.num_hidden_layers,
            heads,
            self.num_key_value_heads or heads,
            self.hidden_size // heads,
            self.intermediate_size,
            "silu",
            self.rope_theta,
            self.rms_norm_eps,
        )


@dataclass(frozen=True, slots=True)
class OpenVlaCheckpoint:
    """What a folder holds.

    Attributes:
        name: Of the folder, for messages.
        sizes: Of the network.
        means, stds: Of the colours, per encoder, (3,).
        resizing: 'resize-naive', 'letterbox' or 'resize-crop'.
        statistics: By data set, then 'action' and 'proprio', then name: mean, std, min, max, q01, q99, mask.
        tensors: By our names.
    """

    name: str
    sizes: OpenVlaSizes
    means: tuple[tuple[float, ...], ...]
    stds: tuple[tuple[float, ...], ...]
    resizing: str
    statistics: dict[str, dict[str, dict[str, list[float]]]]
    tensors: dict[str, Tensor] = field(repr=False)

    def bounds(self, data: str, kind: str, what: str) -> tuple[Tensor, Tensor, Tensor]:
        """Low and high bounds (D,), and which numbers are scaled, bool (D,).

        Args:
            data: Data set; empty where there is only one.
            kind: Key of BOUNDS.
            what: 'action' or 'proprio'.

        Raises:
            UnknownNameError: no such data set or kind of bounds.
            WeightsError: it has no such statistics.
        """
        chosen = dataset(self.statistics, data)
        if kind not in BOUNDS:
            raise UnknownNameError("kind of bounds", kind, BOUNDS)
        numbers = self.statistics[chosen].get(what, {})
        low, high = BOUNDS[kind]
        if low not in numbers or high not in numbers:
            got = f"{self.name}: statistics of {chosen} without {what} {low} and {high}"
            raise WeightsError(got, "both", "choose other `model: bounds`, or fetch dataset_statistics.json")
        mask = torch.tensor(numbers.get("mask", [True] * len(numbers[low])), dtype=torch.bool)
        return torch.tensor(numbers[low]), torch.tensor(numbers[high]), mask


def dataset(statistics: Mapping[str, Any], name: str) -> str:
    """The named data set, or the only one.

    Raises:
        UnknownNameError: no such data set, or several and no name.
    """
    if not name and len(statistics) == 1:
        return next(iter(statistics))
    if name not in statistics:
        raise UnknownNameError("data set", name, statistics)
    return name


def read_openvla(folder: Path, data: str, steps: int) -> OpenVlaCheckpoint:
    """Read a folder.

    Args:
        folder: Of the checkpoint.
        data: Data set whose actions it shall draw; empty where there is only one.
        steps: Of OFT's chunk, which no file tells; 0 for OpenVLA.

    Raises:
        WeightsError: a file is missing, corrupt or of another kind of model.
        UnknownNameError: no such data set or language model.
        PolicyError: it needs a part that isn't served here.
    """
    config, colours = read_json(folder / "config.json"), read_json(folder / "preprocessor_config.json")
    lost = [key for key in ("timm_model_ids", "image_sizes", "text_config") if key not in config]
    if lost or config.get("model_type") not in ("openvla", "prismatic"):
        got = f"{folder.name}/config.json of a '{config.get('model_type')}' without {lost}"
        raise WeightsError(got, "the configuration of an OpenVLA", "choose a folder in OpenVLA's layout")
    own = folder / "dataset_statistics.json"
    statistics = read_json(own) if own.is_file() else dict(config.get("norm_stats") or {})
    tensors = read_model(folder)
    parts = _parts(folder)
    if steps == 0 and parts:
        raise PolicyError(f"{folder.name} with {sorted(parts)}", "an OFT's `model: chunk`", "write its length there")
    text = pick(LlamaOptions, config["text_config"], f"{folder.name}/config.json: text_config")
    state = parts["proprio_projector"]["fc1.weight"].shape[1] if "proprio_projector" in parts else 0
    actions = statistics[dataset(statistics, data)]["action"]["q01"]
    sizes = OpenVlaSizes(
        vision=tuple(config["timm_model_ids"]),
        images=tuple(config["image_sizes"]),
        language=text.decoder(),
        vocabulary=text.vocab_size,
        words=text.vocab_size - int(config.get("pad_to_multiple_of", 64)),
        bins=int(config.get("n_action_bins", 256)),
        actions=len(actions),
        steps=steps,
        state=state,
        regresses="action_head" in parts,
    )
    for part, prefix in PARTS.items():
        tensors |= {f"{prefix}.{key}": tensor for key, tensor in parts.get(part, {}).items()}
    crops = colours.get("tvf_normalize_params") or [
        {"mean": mean, "std": std} for mean, std in zip(colours["means"], colours["stds"], strict=True)
    ]
    return OpenVlaCheckpoint(
        name=folder.name,
        sizes=sizes,
        means=tuple(tuple(entry["mean"]) for entry in crops),
        stds=tuple(tuple(entry["std"]) for entry in crops),
        resizing=str(colours.get("image_resize_strategy", config.get("image_resize_strategy", "resize-naive"))),
        statistics=statistics,
        tensors=_named(tensors),
    )


def _parts(folder: Path) -> dict[str, dict[str, Tensor]]:
    """OFT's .pt files by part.

    Raises:
        PolicyError: FiLM or a diffusion head, which aren't served here.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for path in sorted(folder.glob("*--*checkpoint.pt")):
        part = path.name.partition("--")[0]
        if not PARTS.get(part):
            known = ", ".join(name for name, ours in PARTS.items() if ours)
            raise PolicyError(f"{folder.name} with {path.name}", f"only {known}", "choose a checkpoint without it")
        loaded: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
        found[part] = {key.removeprefix("module."): tensor for key, tensor in loaded.items()}
    return found


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By our names, without the layer of each encoder that nobody asks."""
    named = RULES.apply(tensors)
    places = {key: re.match(r"^vision\.(\d+)\.layers\.(\d+)\.", key) for key in named}
    last: dict[str, int] = {}
    for match in places.values():
        if match:
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    out = {}
    for key, tensor in named.items():
        match = places[key]
        if match and int(match[2]) == last[match[1]]:
            continue
        single = re.match(r"^vision\.\d+\.(?:place|class_token|registers)$", key)
        out[key] = tensor[0] if single and tensor.dim() == 3 else tensor
    return out
