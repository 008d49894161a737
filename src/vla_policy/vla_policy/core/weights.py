"""Weight files: one .safetensors with weights, normalisation and what they were made for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vla_core.errors import WeightsError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a weight file says about itself.

    Attributes:
        policy: Name of the policy factory.
        preset: Name of the preset that it was trained as.
        contract_hash: Contract that observations and actions follow.
        model: The preset's `model` section: sizes of every block.
        vocabulary: Words that were taught, see `core/vocabulary.py`.
        training: Free notes: data, steps, metrics.
        notes: What the model keeps beside tensors, by block.
        format: Version of this layout.
    """

    policy: str
    preset: str
    contract_hash: str
    model: dict[str, Any]
    vocabulary: dict[str, Any]
    training: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def save_weights(path: Path, model: nn.Module, metadata: Metadata, half: bool = True) -> None:
    """Write a model's parameters and buffers.

    Args:
        path: Target; its folder is created.
        model: Its persistent state is saved.
        metadata: What it was made for.
        half: Parameters in float16; buffers, which hold the normalisation, always stay float32.
    """
    parameters = {name for name, _ in model.named_parameters()}
    tensors = {
        name: value.detach().cpu().to(torch.float16 if half and name in parameters else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(tensors, {key: json.dumps(value) for key, value in asdict(metadata).items()}))
    partial.replace(path)


def load_weights(path: Path, contract_hash: str) -> tuple[dict[str, Tensor], Metadata]:
    """Read a weight file that belongs to the given contract.

    Raises:
        WeightsError: missing or corrupt, of another format version, or made for another contract.
    """
    tensors, metadata = read_weights(path)
    if metadata.contract_hash != contract_hash:
        got = f"{path.name} for contract {metadata.contract_hash}"
        raise WeightsError(got, f"contract {contract_hash}", "choose the preset made for this contract, or train again")
    return tensors, metadata


def read_weights(path: Path) -> tuple[dict[str, Tensor], Metadata]:
    """Read a weight file of any contract.

    Raises:
        WeightsError: missing or corrupt, or of another format version.
    """
    retrain = "train again, or fetch the weight file again"
    if not path.is_file():
        raise WeightsError(f"no file {path}", "a weight file", "run ./vla train")
    try:
        with safe_open(path, framework="pt") as file:
            notes = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        metadata = Metadata(**notes)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path.name}: {reason}", "an intact policy weight file", retrain) from error
    if metadata.format != FORMAT:
        raise WeightsError(f"{path.name} of format {metadata.format}", f"format {FORMAT}", retrain)
    return tensors, metadata


def fill(model: nn.Module, tensors: Mapping[str, Tensor], source: str, assign: bool = False) -> None:
    """Load tensors into a model, all of them and nothing else.

    Args:
        model: Takes them.
        tensors: By the model's names.
        source: Name for messages.
        assign: They become the model's parameters instead of being copied: for a model on the meta device.

    Raises:
        WeightsError: keys are missing, unexpected or of another shape; lists them by group.
    """
    expected = model.state_dict()
    missing = expected.keys() - tensors.keys()
    unexpected = tensors.keys() - expected.keys()
    misshapen = {k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape}
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    found = [f"{len(keys)} {kind} ({_groups(keys)})" for kind, keys in faults.items() if keys]
    if found:
        raise WeightsError(f"{source} with keys {'; '.join(found)}", "this preset's model", "use the preset's own file")
    model.load_state_dict(dict(tensors), assign=assign)


def fill_parts(model: nn.Module, tensors: Mapping[str, Tensor], parts: Iterable[str], source: str) -> None:
    """Load whole parts of a model from another model's tensors, and leave the rest as it is.

    Args:
        model: Takes them.
        tensors: By the other model's names.
        parts: Attributes of both models, such as 'vision'.
        source: Name for messages.

    Raises:
        WeightsError: a part is in neither model, or its keys are missing, unexpected or of another shape.
    """
    expected, chosen = model.state_dict(), dict[str, Tensor]()
    for part in parts:
        found = {key: value for key, value in tensors.items() if key.startswith(f"{part}.")}
        wanted = {key: value for key, value in expected.items() if key.startswith(f"{part}.")}
        if not wanted or {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in wanted.items()}:
            got = f"part '{part}' of {source} with {len(found)} tensors"
            raise WeightsError(got, f"this model's {len(wanted)} of the same shapes", "begin with parts built alike")
        chosen |= found
    model.load_state_dict({**expected, **chosen})


def _groups(keys: Iterable[str]) -> str:
    counts = Counter(".".join(key.split(".")[:2]) for key in keys)
    return ", ".join(f"{group} x{count}" for group, count in sorted(counts.items()))
