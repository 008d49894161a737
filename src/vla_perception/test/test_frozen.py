"""A picture that is repeated while the arm moves is no picture of now."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perception_samples import MS

from vla_core.errors import ObservationError
from vla_perception.core.frozen import FrozenPicture

AFTER_S, MOTION_RAD = 0.5, 0.05


def picture(value: int) -> np.ndarray:
    return np.full(64, value, np.uint8)


def q(first: float) -> np.ndarray:
    return np.array([first, 0.3, -1.0])


def test_a_repeated_picture_is_refused_once_the_arm_has_moved() -> None:
    camera = FrozenPicture(AFTER_S, MOTION_RAD)
    for k in range(11):  # up to 0.5 s
        camera.check(50 * MS * k, picture(1), q(0.1 * k))
    with pytest.raises(ObservationError, match=r"same picture.*expected pictures of now; fix: restart"):
        camera.check(550 * MS, picture(1), q(1.1))
    with pytest.raises(ObservationError):  # the arm holds because of it: the picture is no better for that
        camera.check(9000 * MS, picture(1), q(1.1))
    camera.check(9050 * MS, picture(2), q(1.1))
    camera.check(9500 * MS, picture(2), q(2.0))


def test_a_world_that_stands_still_may_look_the_same_for_ever() -> None:
    camera = FrozenPicture(AFTER_S, MOTION_RAD)
    for k in range(200):
        camera.check(50 * MS * k, picture(1), q(0.04 * (-1) ** k / 2))


@given(st.lists(st.integers(0, 255), min_size=2, max_size=40))
def test_pictures_that_change_are_never_refused(values: list[int]) -> None:
    camera, last = FrozenPicture(0.0, 0.0), -1
    for k, value in enumerate(values):
        shown = (value + (value == last)) % 256
        camera.check(50 * MS * k, picture(shown), q(float(k)))
        last = shown


def test_motion_counts_from_when_joints_are_known() -> None:
    camera = FrozenPicture(AFTER_S, MOTION_RAD)
    camera.check(0, picture(1), np.zeros(0))
    camera.check(1000 * MS, picture(1), q(2.0))
    with pytest.raises(ObservationError):
        camera.check(1050 * MS, picture(1), q(2.1))


def test_a_clock_set_back_begins_anew() -> None:
    camera = FrozenPicture(AFTER_S, MOTION_RAD)
    camera.check(10_000 * MS, picture(1), q(0.0))
    camera.check(1000 * MS, picture(1), q(1.0))
    camera.check(1400 * MS, picture(1), q(2.0))
