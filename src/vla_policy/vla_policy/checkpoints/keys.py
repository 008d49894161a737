"""From the parameter names of a published checkpoint to ours, by rules that can be read.

Nothing is skipped silently: a name that no rule drops or turns into one of ours is 'unexpected' for
`core.weights.fill`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: As for `re.sub`.
Replacement = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class KeyRules:
    """Rules for names.

    Attributes:
        rename: (pattern, replacement) pairs of `re.sub`, applied one after the other.
        drop: Patterns that, at the start of a name, mean that inference doesn't need it.
    """

    rename: tuple[tuple[str, Replacement], ...] = ()
    drop: tuple[str, ...] = ()

    def name(self, key: str) -> str | None:
        """Our name for `key`; None: dropped."""
        if any(re.match(pattern, key) for pattern in self.drop):
            return None
        for pattern, replacement in self.rename:
            key = re.sub(pattern, replacement, key)
        return key

    def apply(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors under our names."""
        named = {self.name(key): tensor for key, tensor in tensors.items()}
        return {key: tensor for key, tensor in named.items() if key is not None}


#: torchvision's residual networks, behind any prefix, to `core/blocks/resnet.py`.
RESNET = KeyRules(
    (
        (r"\bbackbone\.conv1\.", "backbone.stem.convolution."),
        (r"\bbackbone\.bn1\.", "backbone.stem.norm."),
        (r"\bbackbone\.layer1\.", "backbone.stages.0."),
        (r"\bbackbone\.layer2\.", "backbone.stages.1."),
        (r"\bbackbone\.layer3\.", "backbone.stages.2."),
        (r"\bbackbone\.layer4\.", "backbone.stages.3."),
        (r"(stages\.\d+\.\d+)\.conv(\d)\.", r"\1.parts.\2.convolution."),
        (r"(stages\.\d+\.\d+)\.bn(\d)\.", r"\1.parts.\2.norm."),
        (r"(stages\.\d+\.\d+)\.downsample\.0\.", r"\1.shortcut.convolution."),
        (r"(stages\.\d+\.\d+)\.downsample\.1\.", r"\1.shortcut.norm."),
    ),
    (r".*\.num_batches_tracked$",),
)

#: SigLIP as transformers names it, behind `vision_tower.` or `vision_model.`, to `core/blocks/vit.py` as `vision.`.
SIGLIP = KeyRules(
    (
        (r"\bvision_(?:tower\.vision_model|tower|model)\.", "vision."),
        (r"\bvision\.embeddings\.patch_embedding\.", "vision.patch."),
        (r"\bvision\.embeddings\.position_embedding\.weight$", "vision.place"),
        (r"\bvision\.encoder\.layers\.", "vision.layers."),
        (r"\bvision\.post_layernorm\.", "vision.norm."),
        (r"\b(vision\.layers\.\d+)\.layer_norm1\.", r"\1.norm_attention."),
        (r"\b(vision\.layers\.\d+)\.layer_norm2\.", r"\1.norm_mlp."),
        (r"\b(vision\.layers\.\d+)\.self_attn\.out_proj\.", r"\1.out."),
        (r"\b(vision\.layers\.\d+)\.self_attn\.", r"\1."),
        (r"\b(vision\.layers\.\d+)\.mlp\.fc1\.", r"\1.up."),
        (r"\b(vision\.layers\.\d+)\.mlp\.fc2\.", r"\1.down."),
    )
)
QKV = ("q_proj", "k_proj", "v_proj")

#: Gemma and Llama as transformers names their layers, behind any prefix, to `core/blocks/decoder.py`.
DECODER = KeyRules(
    (
        (r"(layers\.\d+)\.input_layernorm\.", r"\1.norm_attention."),
        (r"(layers\.\d+)\.post_attention_layernorm\.", r"\1.norm_mlp."),
        (r"(layers\.\d+)\.self_attn\.q_proj\.", r"\1.query."),
        (r"(layers\.\d+)\.self_attn\.k_proj\.", r"\1.key."),
        (r"(layers\.\d+)\.self_attn\.v_proj\.", r"\1.value."),
        (r"(layers\.\d+)\.self_attn\.o_proj\.", r"\1.out."),
        (r"(layers\.\d+)\.mlp\.(gate|up|down)_proj\.", r"\1.\2."),
    )
)


def fused(tensors: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """Rows of several projections as one: `a.q_proj.weight`, `a.k_proj.weight`, ... to `a.qkv.weight`.

    Args:
        tensors: All tensors.
        parts: Last names of the modules that become one, in their order.
        whole: Last name of that one.
    """
    out = dict(tensors)
    first = re.compile(rf"^(.*\.){re.escape(parts[0])}\.(\w+)$")
    for key in tensors:
        match = first.match(key)
        if match:
            names = [f"{match[1]}{part}.{match[2]}" for part in parts]
            if all(name in out for name in names):
                out[f"{match[1]}{whole}.{match[2]}"] = torch.cat([out.pop(name) for name in names])
    return out


def all_of(*rules: KeyRules) -> KeyRules:
    """Rules one after the other; what any of them drops is dropped by its original name."""
    return KeyRules(tuple(pair for rule in rules for pair in rule.rename), _flat(rule.drop for rule in rules))


def _flat(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(entry for group in groups for entry in group)
