"""Demonstrations as training batches: labels in memory, images read from disk by a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_policy.core.processors import action_transform, state_features
from vla_policy.training.shards import FRAME_ARRAYS, Shard, open_shards

Batch = dict[str, NDArray[Any]]


class Dataset:
    """All frames of a folder of shards, addressed by one index.

    Attributes:
        labels: Arrays over all N frames; `instruction` and `obj_name` index into `instructions` and `object_names`;
            `raw_state` holds state vectors, `state` their features, `chunk` relative actions (`core/processors.py`).
        transform: Of the actions.
        tells_places: Whether anybody labelled where things are.
        train, held_out: Frame indices. Held out: all episodes of the last shard, or, when there is only one, its last
            tenth of episodes.
    """

    def __init__(self, folder: Path, contract: Contract, views: int | None = None) -> None:
        """Open and check the data.

        Raises:
            ConfigError: no shards, broken shards, or shapes that don't fit the contract.
        """
        self.shards = open_shards(folder)
        _check_contract(self.shards[0], contract)
        self.starts = np.cumsum([0, *(len(s) for s in self.shards)])
        self.instructions, instruction = _merge_strings(self.shards, "instructions", "instruction")
        self.object_names, obj_name = _merge_strings(self.shards, "object_names", "obj_name")
        self.families, family = _merge_strings(self.shards, "families", "family")
        self.labels: Batch = {
            name: np.concatenate([s.frames[name] for s in self.shards]) for name in FRAME_ARRAYS if name != "rgb"
        }
        self.labels |= {"instruction": instruction, "obj_name": obj_name, "family": family}
        state = self.labels["state"]
        self.transform = action_transform(contract)
        self.labels["chunk"] = self.transform.forward(self.labels["chunk"], state)
        self.labels |= {"raw_state": state, "state": state_features(contract).forward(state)}
        bad = [n for n in ("state", "chunk") if not np.isfinite(self.labels[n]).all()]
        if bad:
            raise ConfigError(f"NaN or infinity in {bad}", "finite labels", "write the data set again")
        self.tells_places = bool(self.labels["role_used"].any())
        self.train, self.held_out = self._split()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        frames = np.arange(len(self))
        last = frames >= self.starts[-2]
        if len(self.shards) > 1:
            return frames[~last], frames[last]
        episodes = np.unique(self.labels["episode"])
        held = np.isin(self.labels["episode"], episodes[-max(1, len(episodes) // 10) :])
        return frames[~held], frames[held]

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images (B,V,H,W,3) of the given frames."""
        out = np.empty((len(indices), *self.shards[0].rgb.shape[1:]), np.uint8)
        owner = np.searchsorted(self.starts, indices, side="right") - 1
        for i in np.argsort(indices):
            out[i] = self.shards[owner[i]].rgb[indices[i] - self.starts[owner[i]]]
        return out

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Labels and images of the given frames."""
        return {"rgb": self.images(indices), **{name: array[indices] for name, array in self.labels.items()}}


def _check_contract(shard: Shard, contract: Contract) -> None:
    camera = contract.cameras[0]
    got = (shard.rgb.shape[1:4], shard.frames["state"].shape[1], shard.frames["chunk"].shape[1:])
    expected = (
        (len(contract.cameras), camera.height, camera.width),
        len(contract.state_names),
        (contract.horizon, len(contract.action_names)),
    )
    if got != expected:
        raise ConfigError(f"{shard.path.name} with (images, state, chunk) {got}", f"{expected}", "generate data again")


def _merge_strings(shards: list[Shard], strings: str, index: str) -> tuple[list[str], NDArray[np.int64]]:
    """One list of all shards' strings, and every frame's index into it (-1 stays -1)."""
    names = sorted({n for s in shards for n in s.strings[strings]})
    place = {name: i for i, name in enumerate(names)}
    parts = []
    for shard in shards:
        table = np.array([*(place[n] for n in shard.strings[strings]), -1], np.int64)
        parts.append(table[shard.frames[index]])
    return names, np.concatenate(parts)


def shuffled(frames: NDArray[np.int64], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Endless batches of indices; every frame comes once per epoch."""
    size = min(size, len(frames))
    while True:
        order = rng.permutation(frames)
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]


@contextmanager
def prefetched(source: Iterator[Batch], depth: int = 3) -> Iterator[Iterator[Batch]]:
    """Run `source` in a background thread, up to `depth` items ahead. Its exceptions reach the consumer."""
    ready: queue.Queue[Batch | Exception] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: Batch | Exception) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for item in source:
                offer(item)
                if stop.is_set():
                    return
        except Exception as error:
            offer(error)

    def drain() -> Iterator[Batch]:
        while True:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        yield drain()
    finally:
        stop.set()
        thread.join()
