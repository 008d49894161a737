"""Run the frozen vision and language once over all frames and keep what the action side needs, on disk."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_policy.core.blocks.fusion import Percept
from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.training.augment import augment
from vla_policy.training.dataset import Dataset, prefetched
from vla_policy.training.precision import bfloat16_pays
from vla_policy.training.texts import TextBank

FROZEN = ("vision", "language", "grounding", "generic")
PRECISION = {"uv": np.float32, "presence": np.float16, "pooled": np.float16, "generic": np.float16}


def fingerprint(model: KeypointFlow, dataset: Dataset) -> str:
    """Changes whenever cached percepts would: with the frozen weights or with the data."""
    digest = hashlib.sha256(str([(s.path.name, len(s)) for s in dataset.shards]).encode())
    for name in FROZEN:
        for tensor in getattr(model, name).state_dict().values():
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def featurise(
    model: KeypointFlow,
    dataset: Dataset,
    instructions: TextBank,
    folder: Path,
    augmentation: dict[str, Any],
    batch: int = 64,
) -> dict[str, NDArray[Any]]:
    """Percepts of all frames, one array (N,...) per field of Percept, in dataset order.

    Every frame is augmented once, so that the action side meets the grounding errors that it will meet later.
    An earlier result is used again when neither the frozen weights nor the data have changed.

    Args:
        model: Its frozen parts are used as they are.
        dataset: Frames.
        instructions: The data set's instructions.
        folder: Where the arrays are kept.
        augmentation: Arguments of `augment`.
        batch: Frames per forward pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark, stamp = folder / "fingerprint", fingerprint(model, dataset)
    if not (mark.is_file() and mark.read_text() == stamp):
        mark.unlink(missing_ok=True)
        _compute(model, dataset, instructions, folder, augmentation, batch)
        mark.write_text(stamp)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in PRECISION}


def _compute(
    model: KeypointFlow, dataset: Dataset, texts: TextBank, folder: Path, augmentation: dict[str, Any], size: int
) -> None:
    device = texts.tokens.device
    table, mixed = texts.table(model), bfloat16_pays(device)
    out: dict[str, Any] = {}
    began = time.monotonic()
    pieces = [np.arange(s, min(s + size, len(dataset))) for s in range(0, len(dataset), size)]
    with prefetched(dataset.batch(piece) for piece in pieces) as batches:
        for count, (piece, labels) in enumerate(zip(pieces, batches, strict=False)):
            rgb, shift = augment(torch.from_numpy(labels["rgb"]).to(device), **augmentation)
            index = torch.from_numpy(labels["instruction"]).to(device)
            reading = type(table)(*(part[index] for part in table))
            percept, _ = model.perceive(model.see(rgb, mixed), reading)
            for name, values in percept.moved(-shift)._asdict().items():
                rows = values.cpu().numpy()
                if name not in out:
                    shape = (len(dataset), *rows.shape[1:])
                    out[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", PRECISION[name], shape)
                out[name][piece] = rows
            if count % 50 == 49:
                rate = (piece[-1] + 1) / (time.monotonic() - began)
                print(f"featurise {piece[-1] + 1}/{len(dataset)} frames, {rate:.0f}/s", flush=True)
    for array in out.values():
        array.flush()


def percept_rows(percepts: dict[str, NDArray[Any]], index: NDArray[np.int64], device: torch.device) -> Percept:
    """Cached percepts of the given frames, float32."""
    return Percept(
        **{name: torch.from_numpy(array[index].astype(np.float32)).to(device) for name, array in percepts.items()}
    )
