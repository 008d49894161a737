"""Sights of a whole data set: the frozen eyes look once at every frame, and what they saw is kept on disk."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vla_policy.core.eyes import Eyes, Seen, Told
from vla_policy.core.sight import Sight, written
from vla_policy.training.augment import augment
from vla_policy.training.dataset import Dataset, prefetched
from vla_policy.training.precision import bfloat16_pays

_PRECISION = {
    "pooled": np.float16, "uv": np.float32, "presence": np.float16, "xyz": np.float32, "generic": np.float16,
    "fine": np.float16, "semantic": np.float16,
}  # fmt: skip
_OPTIONAL = ("fine", "semantic")


class SightBank:
    """All frames of a data set as the eyes see them, slightly disturbed, so that systems meet the eyes' errors.

    Args:
        eyes: Frozen.
        dataset: Frames.
        sentences: All that may stand where the instruction stands: instructions and questions.
        folder: Where arrays are kept; used again while neither eyes nor data change.
        augmentation: Arguments of `augment`.
        needs: What else there must be, see System.needs; `fine` takes 64 KiB per frame.
        device: Where sights are wanted.
    """

    def __init__(
        self, eyes: Eyes, dataset: Dataset, sentences: list[str], folder: Path, augmentation: dict[str, Any],
        needs: frozenset[str], device: torch.device,
    ) -> None:  # fmt: skip
        self._eyes, self._dataset, self._device = eyes, dataset, device
        eyes.provide(needs)
        names = [name for name in _PRECISION if name in needs or name not in _OPTIONAL]
        folder.mkdir(parents=True, exist_ok=True)
        stamp = hashlib.sha256(
            str([eyes.mark, augmentation, *((s.path.name, len(s)) for s in dataset.shards)]).encode()
        )
        with _alone(folder):
            mark, missing = folder / "fingerprint", [n for n in names if not (folder / f"{n}.npy").is_file()]
            same = mark.is_file() and mark.read_text() == stamp.hexdigest()
            if missing or not same:
                mark.unlink(missing_ok=True)
                self._look(folder, missing if same else names, augmentation)
                mark.write_text(stamp.hexdigest())
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        told = [eyes.tell(sentences[i : i + 256]) for i in range(0, len(sentences), 256)]
        longest = max(part.text.shape[1] for part in told)
        self._text = torch.cat([_padded(part.text, longest) for part in told]).to(device)
        self._mask = torch.cat([_padded(part.text_mask, longest) for part in told]).to(device)
        self._sentence = torch.cat([part.sentence for part in told]).to(device)
        self._shown, self._written = "rgb" in needs, written(sentences).to(device)
        self.place = {sentence: i for i, sentence in enumerate(sentences)}
        self._reading = told[0].reading  # only its type is needed: systems don't read it

    def sight(self, index: NDArray[np.int64], sentence: NDArray[np.int64]) -> Sight:
        """Of frames (B,) under sentences (B,), by their places in `sentences`."""
        arrays, device = self._arrays, self._device
        rows = {n: torch.from_numpy(arrays[n][index].astype(np.float32)).to(device) for n in arrays}
        state = torch.from_numpy(self._dataset.labels["state"][index]).to(device)
        chosen = torch.from_numpy(sentence).to(device)
        mask = self._mask[chosen]
        longest = int(mask.sum(1).max())
        told = Told(self._text[chosen, :longest], mask[:, :longest], self._sentence[chosen], self._reading)
        seen = Seen(**({"fine": None} | rows))
        sight = self._eyes.sight(seen, told, state)
        if not self._shown:
            return sight
        rgb = torch.from_numpy(self._dataset.images(index)).to(device)
        return sight._replace(rgb=rgb, instruction=self._written[chosen])

    @torch.no_grad()
    def _look(self, folder: Path, names: list[str], augmentation: dict[str, Any], size: int = 64) -> None:
        dataset, look, device = self._dataset, self._eyes.look, self._device
        look.to(device)
        out: dict[str, Any] = {}
        mixed = bfloat16_pays(device)
        began, total = time.monotonic(), len(dataset)
        pieces = [np.arange(s, min(s + size, total)) for s in range(0, total, size)]
        torch.manual_seed(0)
        with prefetched(dataset.batch(piece) for piece in pieces) as batches:
            for count, (piece, labels) in enumerate(zip(pieces, batches, strict=False)):
                rgb, shift = augment(torch.from_numpy(labels["rgb"]).to(device), **augmentation)
                state = torch.from_numpy(labels["state"]).to(device)
                seen = look.see(look.model.see(rgb, mixed), state, shift, rgb)
                for name in names:
                    rows = getattr(seen, name).float().cpu().numpy()
                    if name not in out:
                        shape = (total, *rows.shape[1:])
                        out[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", _PRECISION[name], shape)
                    out[name][piece] = rows
                if count % 50 == 49:
                    rate = (piece[-1] + 1) / (time.monotonic() - began)
                    print(f"sights {piece[-1] + 1}/{total} frames, {rate:.0f}/s", flush=True)
        for array in out.values():
            array.flush()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Several trainings may begin on the same data; one of them looks, the others wait."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _padded(part: Tensor, length: int) -> Tensor:
    """(N,L,...) to (N,length,...) with zeros."""
    missing = part.new_zeros(part.shape[0], length - part.shape[1], *part.shape[2:])
    return torch.cat([part, missing], 1)
