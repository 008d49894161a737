"""Labelled views: boxes are those of the pixels, training never looks into a held-out flat, a seed is a picture."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from vla_core.errors import UnknownNameError
from vla_sim.core.flat import views
from vla_sim.core.flat.floor import HELD_OUT_LAYOUTS
from vla_sim.core.flat.furniture import KINDS
from vla_sim.core.flat.things import CATEGORIES, HELD_OUT_PAIRS
from vla_sim.core.flat.views import CLASSES, CLEAR_FURNITURE_PX, CLEAR_THING_PX, ViewMaker


@pytest.fixture(scope="module")
def maker() -> Iterator[ViewMaker]:
    made = ViewMaker()
    yield made
    made.close()


def test_classes_are_things_then_furniture_each_once() -> None:
    assert (*CATEGORIES, *KINDS) == CLASSES and len(set(CLASSES)) == len(CLASSES)
    assert [views.class_index(name) for name in CLASSES] == list(range(len(CLASSES)))
    with pytest.raises(UnknownNameError, match="mug"):
        views.class_index("spoon")


def test_boxes_are_tight_around_the_pixels_that_rays_say_are_the_thing(maker: ViewMaker) -> None:
    """Rays through pixels know nothing of the segmentation: what they meet inside is the labelled body."""
    checked = 0
    for view in maker.draw(5, front=4, wrist=3, more=12):
        world, camera = maker.world, maker.world.data.camera(view.camera)
        matrix = np.linalg.inv(maker._cameras.intrinsics(view.camera))
        geoms = maker._cameras.geoms(view.camera)
        for label in view.labels:
            x0, y0, x1, y1 = label.box
            own = np.array([world.model.body(b).name for b in world.model.geom_bodyid])
            index = [i for i, t in enumerate(world.plan.things) if (t.category, t.colour) == (label.name, label.colour)]
            names = {f"thing{i}" for i in index} or {n for n in own if n.startswith(label.name + "/")}
            mask = np.isin(geoms, np.flatnonzero(np.isin(own, list(names))))
            inside = mask[y0:y1, x0:x1]
            assert inside.any(0)[[0, -1]].all() and inside.any(1)[[0, -1]].all(), "tight on all four sides"
            assert label.pixels <= np.count_nonzero(inside)
            assert label.clear == (label.pixels >= (CLEAR_THING_PX if label.colour else CLEAR_FURNITURE_PX))
            rows, columns = np.nonzero(inside)
            eroded = [(r, c) for r, c in zip(rows + y0, columns + x0, strict=True)
                      if mask[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].all()]  # fmt: skip
            for row, column in eroded[:: max(1, len(eroded) // 4)][:4]:
                ray = matrix @ [column + 0.5, row + 0.5, 1.0]
                direction = camera.xmat.reshape(3, 3) @ [ray[0], -ray[1], -ray[2]]
                met, groups = np.zeros(1, np.int32), np.array([1, 1, 1, 0, 0, 0], np.uint8)
                mujoco.mj_ray(world.model, world.data, camera.xpos, direction / np.linalg.norm(direction), groups, 1,
                              -1, met)  # fmt: skip
                assert own[met[0]] in names
                checked += 1
    assert checked > 30


def test_one_box_per_body_and_all_within_the_picture(maker: ViewMaker) -> None:
    for view in maker.draw(6, front=6, wrist=2, more=12):
        height, width = view.image.shape[:2]
        things = [(label.name, label.colour) for label in view.labels if label.colour]
        assert len(set(things)) == len(things)
        for label in view.labels:
            x0, y0, x1, y1 = label.box
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
            assert 0 < label.pixels <= (x1 - x0) * (y1 - y0)
            assert (label.name in CATEGORIES) == (label.colour != "")


def test_a_seed_is_a_picture(maker: ViewMaker) -> None:
    first = [(v.image, v.labels) for v in maker.draw(7, front=2, wrist=1)]
    list(maker.draw(8, front=1, wrist=0))
    again = [(v.image, v.labels) for v in maker.draw(7, front=2, wrist=1)]
    assert [labels for _, labels in first] == [labels for _, labels in again] and len(first) == 3
    for (one, _), (other, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0][0], first[1][0])


@pytest.mark.parametrize("seed", range(6))
def test_training_views_are_of_training_flats_and_pairs(maker: ViewMaker, seed: int) -> None:
    """Flats to evaluate in are an odd number of centimetres wide."""
    next(maker.draw(seed, front=1, wrist=0, more=30))
    plan = maker.world.plan
    assert plan.split == "train" and round(100 * plan.floor.outline.x1) % 2 == 0
    assert plan.floor.layout not in HELD_OUT_LAYOUTS
    assert not {(t.colour, t.category) for t in plan.things} & set(HELD_OUT_PAIRS)
    assert len(plan.things) > 14
    next(maker.draw(seed, "heldout_flat", front=1, wrist=0))
    assert round(100 * maker.world.plan.floor.outline.x1) % 2 == 1


def test_the_robot_stands_in_free_space_and_looks_at_things(maker: ViewMaker) -> None:
    labelled = 0
    for view in maker.draw(3, front=8, wrist=0, more=20):
        world = maker.world
        x, y, _ = world.base_pose()
        assert all(placed.rect.distance(x, y) > 0.22 for placed in world.plan.furniture)
        assert not any(wall.grown(0.2).contains(x, y) for wall in world.plan.floor.walls)
        labelled += sum(label.clear and label.colour != "" for label in view.labels)
    assert labelled >= 8


def test_an_unknown_split_is_refused(maker: ViewMaker) -> None:
    with pytest.raises(UnknownNameError, match="heldout_flat"):
        next(maker.draw(0, "test"))
