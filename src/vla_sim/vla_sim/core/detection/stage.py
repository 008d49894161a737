"""One training step of the detector, for vla_policy's training loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from vla_perception.core.detector.decode import Calibration, decode
from vla_perception.core.detector.flat import padded
from vla_perception.core.detector.losses import detection_losses
from vla_perception.core.detector.network import Network
from vla_perception.core.detector.precision import Judge
from vla_perception.core.detector.second_look import SecondLook, look_by_torch, looked_again
from vla_perception.core.detector.targets import encode
from vla_policy.training.dataset import Batch
from vla_sim.core.detection.augment import CANVAS, augmented
from vla_sim.core.detection.shards import VOCABULARY, StoredView, ViewStore

#: Weights of the losses.
LOSSES = {"heat": 1.0, "box": 2.0, "size": 0.3, "colour": 0.5}
_LEAST_SCORE = 0.02  # of what is looked at for average precision


class DetectorStage:
    """See vla_policy.training.stages.Stage.

    Args:
        model: Trained.
        views: To learn from.
        batch: Pictures per step.
        mixed: Products in bfloat16.
    """

    def __init__(self, model: Network, views: ViewStore, batch: int, mixed: bool) -> None:
        self.model = model.train()
        self._views, self._batch, self._mixed = views, batch, mixed

    def parameters(self) -> list[nn.Parameter]:
        """What is trained: all of it."""
        return list(self.model.parameters())

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless; every view once before any comes again."""
        size = CANVAS[1], CANVAS[0]
        order: list[int] = []
        while True:
            while len(order) < self._batch:
                order += rng.permutation(len(self._views)).tolist()
            drawn, order = order[: self._batch], order[self._batch :]
            pairs = [augmented(self._views[i], rng) for i in drawn]
            targets = [encode(truth, VOCABULARY, size) for _, truth in pairs]
            fields = ("heat", "care", "boxes", "weights", "colours")
            rows = {name: np.stack([getattr(one, name) for one in targets]) for name in fields}
            yield {"rgb": np.stack([image for image, _ in pairs]), **rows}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See detection_losses."""
        rows = {name: torch.from_numpy(values) for name, values in batch.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=self._mixed):
            heads = self.model(rows.pop("rgb"))
        return detection_losses(heads.float(), self.model.config, VOCABULARY.things, **rows)


@torch.no_grad()
def judged(
    model: nn.Module,
    views: list[StoredView],
    calibration: Calibration | None = None,
    second: SecondLook | None = None,
) -> Judge:
    """Compare what a model finds in views with their truth; a second look, if any, tells what the things are."""
    model.eval()
    judge = Judge(VOCABULARY)
    for view in views:
        heads = model(torch.from_numpy(padded(view.image))[None])[0].float().numpy()
        size = view.image.shape[1], view.image.shape[0]
        found = decode(heads, VOCABULARY, size, _LEAST_SCORE, calibration or Calibration())
        if second is not None:
            found = looked_again(view.image, found, VOCABULARY, second.config, look_by_torch(second.eval()))
        judge.add(found, view.truth)
    return judge
