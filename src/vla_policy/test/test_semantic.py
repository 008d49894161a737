"""The second encoder: ImageNet's features at places in an image."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F
from toy_demonstrations import INSTRUCTIONS, NAMES, observation

from vla_core.contract import Contract
from vla_core.errors import SetupError
from vla_policy.core.blocks.semantic import FEATURES, STRIDE, Semantic
from vla_policy.core.eyes import Eyes
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.vocabulary import Vocabulary
from vla_policy.training.dataset import Dataset
from vla_policy.training.sights import SightBank


@pytest.fixture(scope="module")
def semantic() -> Semantic:
    return Semantic()


def picture(seed: int = 0) -> torch.Tensor:
    """Two views (1,2,64,64,3) of smooth colours."""
    small = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (255 * F.interpolate(small, (64, 64), mode="bilinear")).permute(0, 2, 3, 1)[None]


def centre(row: int, column: int) -> list[float]:
    """Of a cell of the feature map of 64x64 images."""
    return [((cell + 0.5) * STRIDE / 64) * 2 - 1 for cell in (column, row)]


@torch.no_grad()
def test_features_are_those_of_the_cell_where_the_thing_is(semantic: Semantic) -> None:
    """x right, y down, every view its own image."""
    rgb = picture()
    cells = semantic.map(rgb)
    assert cells.shape == (1, 2, FEATURES, 4, 4)
    uv = torch.tensor([centre(0, 3), centre(2, 1)]).expand(1, 2, -1, -1)
    found = semantic(rgb, uv)
    expected = torch.stack([cells[..., 0, 3], cells[..., 2, 1]], 2)
    torch.testing.assert_close(found, F.layer_norm(expected, (FEATURES,)))
    assert not torch.allclose(found[:, 0], found[:, 1])


@torch.no_grad()
def test_a_thing_keeps_its_features_where_it_moves(semantic: Semantic) -> None:
    """Moved by one cell, a thing on a plain ground is nearer to itself than to another thing in its place."""

    def scene(colour: tuple[int, int, int], column: int) -> torch.Tensor:
        rgb = torch.full((1, 1, 64, 64, 3), 90.0)
        rgb[0, 0, 20:28, 16 * column + 4 : 16 * column + 12] = torch.tensor(colour).float()
        return semantic(rgb, torch.tensor(centre(1, column)).expand(1, 1, 1, 2)).flatten()

    red, moved, blue = scene((200, 30, 30), 1), scene((200, 30, 30), 2), scene((30, 30, 200), 1)
    assert (red - moved).norm() < 0.5 * (red - blue).norm()


def test_it_is_frozen_and_uint8_images_are_the_same_as_floats(semantic: Semantic) -> None:
    assert not semantic.training and not any(p.requires_grad for p in semantic.parameters())
    rgb, uv = picture().round(), torch.zeros(1, 2, 1, 2)
    torch.testing.assert_close(semantic(rgb.to(torch.uint8), uv), semantic(rgb, uv))


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="efficientnet-lite-pytorch"):
        Semantic()


@pytest.fixture(scope="module")
def eyes(contract: Contract, preset_file: Path) -> Eyes:
    torch.manual_seed(0)
    model = KeypointFlow(configure(yaml.safe_load(preset_file.read_text())["model"], contract))
    return Eyes(model, Vocabulary.from_corpus(INSTRUCTIONS, NAMES), contract, "toy")


def test_only_systems_that_need_it_have_it_seen_and_kept(
    eyes: Eyes, contract: Contract, data: Path, tmp_path: Path
) -> None:
    """The robot's graph and the bank agree; what the bank had before isn't looked at again."""
    still = {"shift_px": 0, "colour": 0.0, "blur_probability": 0.0}
    dataset, device = Dataset(data, contract), torch.device("cpu")

    def bank(needs: frozenset[str]) -> SightBank:
        return SightBank(eyes, dataset, list(dataset.instructions), tmp_path, still, needs, device)

    row = np.array([3])
    seen = observation(contract)
    assert bank(frozenset()).sight(row, row * 0).semantic is None
    assert not (tmp_path / "semantic.npy").exists()
    before = (tmp_path / "pooled.npy").stat().st_mtime_ns
    kept = bank(frozenset({"semantic"})).sight(row, row * 0).semantic
    assert kept is not None and (tmp_path / "pooled.npy").stat().st_mtime_ns == before
    frame = dataset.batch(row)
    again = replace(seen, rgb=frame["rgb"][0], state=dataset.labels["raw_state"][3])
    sight = eyes.observe(again)[0]
    assert sight.semantic is not None and sight.semantic.shape == (1, 2, len(NAMES), eyes.sizes.semantic)
    torch.testing.assert_close(sight.semantic, kept, atol=0.05, rtol=0.05)


@torch.no_grad()
def test_where_an_image_was_shifted_features_come_from_the_shifted_place(eyes: Eyes) -> None:
    eyes.provide(frozenset({"semantic"}))
    rgb, shift = torch.rand(1, 2, 32, 32, 3) * 255, torch.tensor([[[0.25, -0.125], [0.0, 0.5]]])
    seen = eyes.look.see(eyes.look.model.see(rgb), torch.zeros(1, eyes.sizes.state), shift, rgb)
    assert eyes.look.semantic is not None and seen.semantic is not None
    torch.testing.assert_close(seen.semantic, eyes.look.semantic(rgb, seen.uv + shift[:, :, None]))
