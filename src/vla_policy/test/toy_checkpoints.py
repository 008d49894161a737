"""Writes tiny checkpoints in the layout of their authors, from what their own code said of one.

`golden/lerobot_*.json` was made with LeRobot 0.6.2 (commit 7427f318): a policy with the `config.json` given there was
built, its parameters set by `weight` below, `save_pretrained` called for policy and processors, and `actions` is what
preprocessor, predict_action_chunk and postprocessor made of `pictures_and_state` with seed 2 (before it seed 3, where
the policy has a history), noise `RandomState(4)`, and the `task`. `tensors` are all names and shapes of
model.safetensors.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return data


def weight(name: str, shape: list[int]) -> torch.Tensor:
    """The same numbers for the same name, whatever the version of numpy or torch (NEP 19: a frozen stream)."""
    if name.endswith(".num_batches_tracked"):
        return torch.tensor(0)
    drawn = np.resize(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(5003), shape)
    if name.endswith(".running_var"):
        drawn = 1 + 0.2 * np.abs(drawn)
    elif len(shape) > 1:
        drawn = drawn / math.sqrt(max(1, math.prod(shape[1:])))
    else:
        drawn = name.endswith(".weight") + 0.1 * drawn
    return torch.from_numpy(drawn.astype(np.float32))


def write(name: str, folder: Path) -> dict[str, Any]:
    """Write `golden/<name>.json` as the folder that it was made from; returns what it holds."""
    data = golden(name)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in data["files"].items():
        (folder / file).write_text(json.dumps(content))
    for file, content in data.get("tokenizer", {}).items():
        (folder / "tokenizer").mkdir(exist_ok=True)
        (folder / "tokenizer" / file).write_text(json.dumps(content))
    for file, content in data["statistics"].items():
        save_file({key: torch.tensor(value) for key, value in content.items()}, folder / file)
    save_file({key: weight(key, shape) for key, shape in data["tensors"].items()}, folder / "model.safetensors")
    return data


def pictures_and_state(seed: int, views: int = 2) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Images (V,40,56,3) and a state (5,)."""
    draw = np.random.RandomState(seed)
    rgb = np.stack([draw.randint(0, 256, (40, 56, 3)) for _ in range(views)])
    return rgb.astype(np.uint8), draw.standard_normal(5).astype(np.float32)


def write_openvla(folder: Path, oft: bool) -> dict[str, Any]:
    """Write `golden/openvla.json`: two shards and their index; with OFT's .pt files where wanted.

    It was made with OpenVLA's and OFT's modules (timm 0.9.16) around transformers' Llama: with a causal mask and only
    action tokens allowed for `action`, with OFT's full mask for `chunk` (L1 head) and `discrete` (no head).
    """
    data = golden("openvla")
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in {**data["files"], **data["tokenizer"]}.items():
        (folder / file).write_text(json.dumps(content))
    tensors = {key: weight(key, shape) for key, shape in data["tensors"].items()}
    places = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(sorted(tensors))}
    for shard in set(places.values()):
        save_file({key: tensors[key] for key in tensors if places[key] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for file, shapes in data["parts"].items() if oft else ():
        torch.save({f"module.{key}": weight(key, shape) for key, shape in shapes.items()}, folder / file)
    return data
