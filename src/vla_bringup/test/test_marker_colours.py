"""rviz and the console draw the same paths in the same colours."""

from __future__ import annotations

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from vla_bringup.console.page import _DOTS, _PATHS
from vla_control.markers import Markers


def markers() -> dict[str, Marker]:
    return {marker.ns: marker for marker in Markers("base").message(1, *np.zeros((4, 3, 3))).markers}


def test_both_know_the_same_paths_and_draw_the_same_ones_as_dots() -> None:
    assert list(markers()) == list(_PATHS)
    assert [name for name, marker in markers().items() if marker.type == Marker.SPHERE_LIST] == list(_DOTS)


@pytest.mark.parametrize("name", _PATHS)
def test_a_path_has_one_colour(name: str) -> None:
    colour = markers()[name].color
    np.testing.assert_allclose(np.array(_PATHS[name]) / 255, [colour.r, colour.g, colour.b], atol=0.01)
