"""Augmentation: labels follow the pixels."""

from __future__ import annotations

import torch

from vla_policy.core.blocks.fusion import Percept
from vla_policy.training.augment import augment, blur_some, jitter_colour, move_labels, shift_images


def test_a_mark_moves_as_the_shift_says() -> None:
    torch.manual_seed(0)
    size, rows = 32, torch.arange(16)
    rgb = torch.zeros(16, 2, size, size, 3, dtype=torch.uint8)
    rgb[:, :, 10, 20] = 255
    moved, shift = shift_images(rgb, 4)
    pixels = (shift * size / 2).round().long()
    assert pixels.abs().max() == 4 and (pixels[..., 0] != pixels[..., 1]).any()
    for view in range(2):
        assert (moved[rows, view, 10 + pixels[:, view, 1], 20 + pixels[:, view, 0]] == 255).all()
    assert (moved == 255).sum() == rgb.shape[0] * 2 * 3


def test_labels_that_leave_the_image_are_no_longer_visible() -> None:
    uv = torch.tensor([[[[0.95, 0.0], [0.0, 0.0]]]])
    moved, visible = move_labels(uv, torch.ones(1, 1, 2), torch.tensor([[[0.1, -0.2]]]))
    torch.testing.assert_close(moved, torch.tensor([[[[1.05, -0.2], [0.1, -0.2]]]]))
    assert visible.tolist() == [[[False, True]]]


def test_moving_a_percept_back_restores_the_geometry() -> None:
    torch.manual_seed(0)
    percept = Percept(torch.rand(2, 2, 4, 2), torch.rand(2, 2, 4), torch.rand(2, 2, 4, 5), torch.rand(2, 2, 3, 7))
    shift = torch.rand(2, 2, 2)
    there = percept.moved(shift)
    torch.testing.assert_close(there.uv[1, 0, 2], percept.uv[1, 0, 2] + shift[1, 0])
    for ours, expected in zip(there.moved(-shift), percept, strict=True):
        torch.testing.assert_close(ours, expected)


def test_colours_keep_their_order_and_range() -> None:
    """A red thing must stay the red one: channels are never jittered past each other."""
    torch.manual_seed(0)
    rgb = torch.zeros(64, 1, 4, 4, 3, dtype=torch.uint8)
    rgb[..., 0], rgb[..., 1] = 200, 120
    out = jitter_colour(rgb, 0.15)
    assert out.min() >= 0 and out.max() <= 255
    assert (out[..., 0] > out[..., 1]).all() and (out[..., 1] > out[..., 2]).all()
    assert out[..., 0].std() > 5
    torch.testing.assert_close(jitter_colour(rgb, 0.0), rgb.float())


def test_blur_takes_whole_frames() -> None:
    torch.manual_seed(0)
    rgb = torch.rand(40, 1, 8, 8, 3) * 255
    out = blur_some(rgb, 0.5)
    same = (out == rgb).flatten(1).all(1)
    assert 0 < same.sum() < 40
    assert out[~same].std() < rgb[~same].std()
    torch.testing.assert_close(blur_some(torch.full((2, 1, 8, 8, 3), 9.0), 1.0), torch.full((2, 1, 8, 8, 3), 9.0))


def test_no_augmentation_changes_nothing() -> None:
    rgb = torch.randint(0, 255, (3, 2, 16, 16, 3), dtype=torch.uint8)
    out, shift = augment(rgb, 0, 0.0, 0.0)
    torch.testing.assert_close(out, rgb.float())
    assert (shift == 0).all()
