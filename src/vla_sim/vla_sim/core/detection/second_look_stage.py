"""Training of the second look: things cut out of labelled views, for vla_policy's training loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.types import Float64, UInt8
from vla_perception.core.detector.second_look import SecondLook, Square, cutting, look_by_torch
from vla_policy.training.dataset import Batch
from vla_sim.core.detection.augment import developed
from vla_sim.core.detection.shards import VOCABULARY, ViewStore

#: Weights of the losses.
LOSSES = {"class": 1.0}
_ASIDE, _LOG_SIDE = 0.08, 0.12  # how far boxes of the first network are off, of their size; standard deviations
_SMOOTHING = 0.05
_AT_ONCE = 256


class ThingStore:
    """All clear things of labelled views, by number.

    Attributes:
        classes: int64 (N,), places in the vocabulary.
    """

    def __init__(self, views: ViewStore) -> None:
        self._views = views
        self._places: list[tuple[int, int]] = []
        classes: list[int] = []
        for i in range(len(views)):
            truth = views[i].truth
            for k in np.flatnonzero(truth.clear & (truth.classes < VOCABULARY.things)).tolist():
                self._places.append((i, k))
                classes.append(int(truth.classes[k]))
        self.classes: NDArray[np.int64] = np.array(classes, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def cut(self, index: int, side: int, rng: np.random.Generator | None = None) -> UInt8:
        """A thing, uint8 (side,side,3); with `rng` as a detection might have it, perhaps mirrored, in other light."""
        i, k = self._places[index]
        view = self._views[i]
        box = view.truth.boxes[k]
        square = Square.around(box.tolist())
        if rng is None:
            return cutting(view.image, square, side)
        aside = rng.normal(0.0, _ASIDE, 2) * (box[2:] - box[:2])
        square = Square(
            square.x + aside[0], square.y + aside[1], square.side * float(np.exp(rng.normal(0.0, _LOG_SIDE)))
        )
        return developed(cutting(view.image, square, side, mirrored=bool(rng.random() < 0.5)), rng)


class SecondLookStage:
    """See vla_policy.training.stages.Stage.

    Args:
        model: Trained.
        things: To learn from.
        batch: Cuttings per step.
        mixed: Products in bfloat16.
    """

    def __init__(self, model: SecondLook, things: ThingStore, batch: int, mixed: bool) -> None:
        self.model = model.train()
        self._things, self._batch, self._mixed = things, batch, mixed

    def parameters(self) -> list[nn.Parameter]:
        """What is trained: all of it."""
        return list(self.model.parameters())

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless; every thing once before any comes again."""
        order: list[int] = []
        side = self.model.config.side
        while True:
            while len(order) < self._batch:
                order += rng.permutation(len(self._things)).tolist()
            drawn, order = order[: self._batch], order[self._batch :]
            yield {
                "cuttings": np.stack([self._things.cut(i, side, rng) for i in drawn]),
                "classes": self._things.classes[drawn],
            }

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy, labels smoothed."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._mixed):
            logits = self.model(torch.from_numpy(batch["cuttings"]))
        return {
            "class": F.cross_entropy(logits.float(), torch.from_numpy(batch["classes"]), label_smoothing=_SMOOTHING)
        }


def told(model: SecondLook, things: ThingStore) -> Float64:
    """Probabilities float64 (N,things) that a model gives the classes of things as they are; it is left evaluating."""
    look, logits = look_by_torch(model.eval()), []
    for begin in range(0, len(things), _AT_ONCE):
        part = range(begin, min(begin + _AT_ONCE, len(things)))
        logits.append(look(np.stack([things.cut(i, model.config.side) for i in part])))
    stacked = np.concatenate(logits).astype(np.float64)
    shares = np.exp(stacked - stacked.max(1, keepdims=True))
    out: Float64 = shares / shares.sum(1, keepdims=True)
    return out


def accuracy(model: SecondLook, things: ThingStore) -> float:
    """Share of things that are told right."""
    return float((told(model, things).argmax(1) == things.classes).mean())
