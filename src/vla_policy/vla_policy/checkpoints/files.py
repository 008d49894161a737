"""Reads the files of a published checkpoint: JSON, and weights in one or several .safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vla_core.errors import WeightsError
from vla_policy.core.preset import parse

T = TypeVar("T")

_FETCH = "fetch the checkpoint's folder again, with all its files"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WeightsError: no such file, or not a JSON object.
    """
    if not path.is_file():
        raise WeightsError(f"no file {path}", f"a checkpoint's {path.name}", _FETCH)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {' '.join(str(error).split())}", "a JSON object", _FETCH) from error
    if not isinstance(data, dict):
        raise WeightsError(f"{path} holding {type(data).__name__}", "a JSON object", _FETCH)
    return data


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read one .safetensors file; dtypes are kept.

    Raises:
        WeightsError: missing or corrupt.
    """
    if not path.is_file():
        raise WeightsError(f"no file {path}", "a .safetensors file", _FETCH)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: {' '.join(str(error).split())}", "an intact .safetensors file", _FETCH) from error


def read_model(folder: Path) -> dict[str, Tensor]:
    """Tensors of `model.safetensors`, or of all shards that `model.safetensors.index.json` names.

    Raises:
        WeightsError: a file is missing or corrupt, or a shard lacks what the index promises.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return read_tensors(folder / "model.safetensors")
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise WeightsError(f"{index} without weight_map", "a Hugging Face index", _FETCH)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        tensors |= read_tensors(folder / shard)
    lost = sorted(set(places) - set(tensors))
    if lost:
        raise WeightsError(f"shards without {len(lost)} tensors such as {lost[0]}", "all tensors of the index", _FETCH)
    return tensors


def pick(kind: type[T], data: dict[str, Any], where: str) -> T:
    """Fill a dataclass with those of a foreign configuration's options that it knows; null stands for its default.

    Raises:
        ConfigError: an option is missing or of a wrong type.
    """
    known: Sequence[str] = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    return parse(kind, {name: data[name] for name in known if data.get(name) is not None}, where)
