"""Training of the second look: things cut out of views, and that it learns to tell them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vla_perception.core.detector.detection import Truth
from vla_perception.core.detector.second_look import SecondLook, SecondLookConfig
from vla_sim.core.detection.second_look_stage import SecondLookStage, ThingStore, accuracy, told
from vla_sim.core.detection.shards import VOCABULARY, StoredView

SIDE = 16


class Drawn:
    """Views that are drawn, not rendered: category 0 lies down, category 1 stands, furniture fills the picture."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> StoredView:
        rng = np.random.default_rng(index)
        image = np.full((60, 80, 3), 90, np.uint8)
        boxes, classes = [[0, 0, 80, 60]], [VOCABULARY.things]
        for k in range(2):
            half = (9, 3) if k == 0 else (3, 9)
            x, y = int(rng.integers(12, 28)) + 40 * k, int(rng.integers(12, 48))
            boxes.append([x - half[0], y - half[1], x + half[0], y + half[1]])
            classes.append(k)
            image[y - half[1] : y + half[1], x - half[0] : x + half[0]] = (200, 40, 40)
        clear = np.array([True, True, index % 4 > 0])
        truth = Truth(np.array(boxes, np.float32), np.array(classes), np.array([-1, 0, 0]), clear)
        return StoredView("front", image, truth, np.array([4800, 216, 216]))


@pytest.fixture
def things() -> ThingStore:
    return ThingStore(Drawn())


def test_only_clear_things_are_cut_out(things: ThingStore) -> None:
    assert len(things) == 12 + 9 and things.classes.tolist().count(1) == 9
    lying, standing = (things.cut(int(np.flatnonzero(things.classes == k)[0]), SIDE).astype(int) for k in (0, 1))
    red = [(cut[..., 0] > 150) & (cut[..., 1] < 80) for cut in (lying, standing)]
    assert red[0].any(0).sum() > 2 * red[0].any(1).sum() and red[1].any(1).sum() > 2 * red[1].any(0).sum()
    rng = np.random.default_rng(0)
    varied = [things.cut(0, SIDE, rng) for _ in range(4)]
    assert all(one.shape == (SIDE, SIDE, 3) and one.dtype == np.uint8 for one in varied)
    assert len({one.tobytes() for one in varied}) == 4


def test_a_step_makes_the_loss_smaller_and_in_the_end_it_tells_them_apart(things: ThingStore) -> None:
    torch.manual_seed(0)
    model = SecondLook(SecondLookConfig(SIDE, (8, 8, 16, 16), VOCABULARY.things))
    stage = SecondLookStage(model, things, 32, mixed=False)
    optimiser = torch.optim.AdamW(stage.parameters(), lr=5e-3)
    losses, rows = [], stage.batches(np.random.default_rng(0))
    for _ in range(40):
        loss = stage.losses(next(rows))["class"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    shares = told(model, things)
    assert shares.shape == (len(things), VOCABULARY.things)
    np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-6)
    assert accuracy(model, things) > 0.95
