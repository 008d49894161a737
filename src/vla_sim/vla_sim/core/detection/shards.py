"""Labelled views on disk: a folder per shard with memory-mapped pictures, made once and gone on with after a break.

    NAME/recipe.json, NAME/shard_0000/{front.npy, wrist.npy, labels.npz}

A shard appears under its name only when it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError
from vla_core.types import UInt8
from vla_perception.core.detector.detection import Truth, Vocabulary
from vla_sim.core.flat.views import CLASSES, COLOURS, THINGS, LabelledView, ViewMaker, class_index

#: Names as the language of instructions has them: "dining table".
VOCABULARY = Vocabulary(tuple(name.replace("_", " ") for name in CLASSES), COLOURS, THINGS)
CAMERAS = ("front", "wrist")
FLATS_PER_SHARD = 6
_LABELS = ("boxes", "classes", "colours", "clear", "pixels")


@dataclass(frozen=True, slots=True)
class ViewRecipe:
    """Which views.

    Attributes:
        split: Of the flats, see `errands.SPLITS`.
        first_seed, flats: Seeds of the flats are first_seed, first_seed + 1, ...
        front, wrist: Views of a flat by each camera.
        more: More things than an errand's flat has, see ViewMaker.
    """

    split: str
    first_seed: int
    flats: int
    front: int
    wrist: int
    more: int


def make_shards(folder: Path, recipe: ViewRecipe, progress: Callable[[int, int], None]) -> None:
    """Make what is missing of a recipe's views.

    Args:
        folder: Where; it is created.
        recipe: Which.
        progress: Told how many flats are done, and of how many, after each.

    Raises:
        ConfigError: the folder holds the views of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "recipe.json"
    if note.is_file():
        there = json.loads(note.read_text(encoding="utf-8"))
        if there != asdict(recipe):
            raise ConfigError(f"views of {there} in {folder.name}", f"{asdict(recipe)}", "take another --out folder")
    note.write_text(json.dumps(asdict(recipe)), encoding="utf-8")
    shards = [range(i, min(i + FLATS_PER_SHARD, recipe.flats)) for i in range(0, recipe.flats, FLATS_PER_SHARD)]
    targets = [folder / f"shard_{i:04d}" for i in range(len(shards))]
    if all(target.is_dir() for target in targets):
        return
    maker = ViewMaker()
    try:
        for flats, target in zip(shards, targets, strict=True):
            if not target.is_dir():
                _make_shard(target, recipe, flats, maker, progress)
            progress(flats[-1] + 1, recipe.flats)
    finally:
        maker.close()


def _make_shard(
    target: Path, recipe: ViewRecipe, flats: Iterable[int], maker: ViewMaker, progress: Callable[[int, int], None]
) -> None:
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    views: list[LabelledView] = []
    for flat in flats:
        seed = recipe.first_seed + flat
        views += maker.draw(seed, recipe.split, recipe.front, recipe.wrist, recipe.more)
        progress(flat + 1, recipe.flats)
    labels: dict[str, np.ndarray] = {}
    for camera in CAMERAS:
        own = [view for view in views if view.camera == camera]
        if own:
            np.save(partial / f"{camera}.npy", np.stack([view.image for view in own]))
        every = [label for view in own for label in view.labels]
        labels[f"{camera}_counts"] = np.array([len(view.labels) for view in own], np.int64)
        labels[f"{camera}_boxes"] = np.array([label.box for label in every], np.float32).reshape(-1, 4)
        labels[f"{camera}_classes"] = np.array([class_index(label.name) for label in every], np.int64)
        labels[f"{camera}_colours"] = np.array([_colour(label.colour) for label in every], np.int64)
        labels[f"{camera}_clear"] = np.array([label.clear for label in every], bool)
        labels[f"{camera}_pixels"] = np.array([label.pixels for label in every], np.int64)
    np.savez(partial / "labels.npz", **labels)  # type: ignore[arg-type]
    partial.replace(target)


def _colour(name: str) -> int:
    return COLOURS.index(name) if name else -1


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view: picture uint8 (H,W,3), not copied; truth; and how many pixels show each object, int64 (N,)."""

    camera: str
    image: UInt8
    truth: Truth
    pixels: NDArray[np.int64]


class ViewStore:
    """All views of a folder of shards, by number.

    Raises:
        ConfigError: there are none.
    """

    def __init__(self, folder: Path) -> None:
        self._views: list[tuple[str, UInt8, int, dict[str, np.ndarray]]] = []
        for shard in sorted(folder.glob("shard_????")):
            with np.load(shard / "labels.npz") as labels:
                for camera in CAMERAS:
                    ends = np.cumsum(labels[f"{camera}_counts"])
                    if not len(ends):
                        continue
                    images = np.load(shard / f"{camera}.npy", mmap_mode="r")
                    columns = {name: labels[f"{camera}_{name}"] for name in _LABELS}
                    for i, (begin, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
                        rows = {name: column[begin:end] for name, column in columns.items()}
                        self._views.append((camera, images, i, rows))
        if not self._views:
            raise ConfigError(f"no shards in {folder}", "labelled views", "make them first: see make_shards")

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> StoredView:
        camera, images, i, rows = self._views[index]
        truth = Truth(rows["boxes"], rows["classes"], rows["colours"], rows["clear"])
        return StoredView(camera, images[i], truth, rows["pixels"])
