"""The grid's coordinates, and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vla_core.errors import MapError
from vla_core.types import Float64
from vla_navigation.core.occupancy_grid import OccupancyGrid

ORIGIN = st.tuples(st.floats(-20.0, 20.0), st.floats(-20.0, 20.0), st.floats(-3.0, 3.0)).map(np.array)
TRINARY = arrays.arrays(
    np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([-1, 0, 100])
)


@given(ORIGIN, st.floats(0.01, 0.5), st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1))
def test_cells_lie_where_their_middles_are(origin: Float64, resolution_m: float, cells: list[tuple[int, int]]) -> None:
    grid = OccupancyGrid(resolution_m, origin, np.zeros((20, 30), np.int8))
    there = grid.to_world(np.array(cells))
    np.testing.assert_array_equal(grid.to_cell(there), np.array(cells))
    inside = [0 <= row < 20 and 0 <= column < 30 for row, column in cells]
    assert grid.contains(np.array(cells)).tolist() == inside


def test_rows_go_along_y() -> None:
    grid = OccupancyGrid(0.5, np.array([1.0, 2.0, 0.0]), np.zeros((4, 3), np.int8))
    np.testing.assert_allclose(grid.to_world(np.array([[3, 0]])), [[1.25, 3.75]])


@settings(max_examples=10)
@given(TRINARY)
def test_files_give_the_same_map_back(tmp_path_factory: pytest.TempPathFactory, cells: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("map") / "flat"
    OccupancyGrid(0.05, np.array([-1.5, 2.0, 0.25]), cells).save(path)
    back = OccupancyGrid.load(path)
    np.testing.assert_array_equal(back.cells, cells)
    assert back.resolution_m == 0.05 and back.origin.tolist() == [-1.5, 2.0, 0.25]


def test_the_files_are_those_of_the_map_server(tmp_path: Path) -> None:
    """The picture's first row is the map's last; black is occupied, 254 free, 205 unknown."""
    OccupancyGrid(0.05, np.zeros(3), np.array([[0, 100], [-1, 50]], np.int8)).save(tmp_path / "flat")
    assert (tmp_path / "flat.pgm").read_bytes() == b"P5\n2 2\n255\n" + bytes([205, 205, 254, 0])
    head = yaml.safe_load((tmp_path / "flat.yaml").read_text(encoding="utf-8"))
    assert head["image"] == "flat.pgm" and head["origin"] == [0.0, 0.0, 0.0] and head["negate"] == 0


def test_a_picture_with_comments_is_read(tmp_path: Path) -> None:
    OccupancyGrid(0.05, np.zeros(3), np.array([[0, 100]], np.int8)).save(tmp_path / "flat")
    (tmp_path / "flat.pgm").write_bytes(b"P5 # by hand\n# another\n2 1\n255\n" + bytes([254, 0]))
    assert OccupancyGrid.load(tmp_path / "flat").cells.tolist() == [[0, 100]]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("flat.pgm", b"P6\n1 1\n255\n123", "a binary PGM"),
        ("flat.pgm", b"P5\n5 5\n255\n123", "3 pixels in flat.pgm; expected 5 x 5"),
        ("flat.yaml", b"image: flat.pgm\n", "KeyError 'negate'"),
        ("flat.yaml", b"image: no.pgm\nnegate: 0\n", "No such file"),
        ("flat.yaml", b"image: flat.pgm\nmode: scale\n", "mode 'trinary'"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    OccupancyGrid(0.05, np.zeros(3), np.zeros((1, 1), np.int8)).save(tmp_path / "flat")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MapError, match=match):
        OccupancyGrid.load(tmp_path / "flat")


def test_missing_files_and_folders_are_errors_of_the_map(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"flat\.yaml"):
        OccupancyGrid.load(tmp_path / "flat")
    with pytest.raises(MapError, match="a folder to write to"):
        OccupancyGrid(0.05, np.zeros(3), np.zeros((1, 1), np.int8)).save(tmp_path / "no" / "flat")


def test_cells_of_another_type_are_refused() -> None:
    with pytest.raises(MapError, match="int8"):
        OccupancyGrid(0.05, np.zeros(3), np.zeros((2, 2), np.uint8))  # type: ignore[arg-type]
