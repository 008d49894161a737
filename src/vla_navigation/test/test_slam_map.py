"""The reversible grid, the pose graph, the search over whole maps, and their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core import se2
from vla_core.errors import MapError
from vla_core.types import Float64
from vla_navigation.core.occupancy_grid import FREE_BELOW
from vla_navigation.core.slam import log_odds, map_file
from vla_navigation.core.slam.correlative import CELL_M, ScoreField, Window, search
from vla_navigation.core.slam.log_odds import LogOddsGrid
from vla_navigation.core.slam.loops import FLOOR
from vla_navigation.core.slam.place_map import PlaceMap
from vla_navigation.core.slam.pose_graph import Edge, PoseGraph
from vla_navigation.core.slam.scan import Sweep

PLACE = st.tuples(st.floats(0.01, 29.99), st.floats(0.01, 29.99))
TIGHT = np.diag([0.01, 0.01, 0.005]) ** 2


def fan(count: int, radius_m: float, hit: bool = True) -> Sweep:
    """Rays from the robot to a circle around it."""
    angles = np.linspace(-np.pi, np.pi, count, endpoint=False)
    return Sweep(np.zeros(2), radius_m * np.stack([np.cos(angles), np.sin(angles)], -1), np.full(count, hit))


@given(PLACE, PLACE)
def test_a_ray_marks_the_cells_that_it_passes(start: tuple[float, float], end: tuple[float, float]) -> None:
    """Against a slow reference: every sample of the line lies in a marked cell, and no cell is far from the line."""
    seen = np.zeros((30, 30), np.uint8)
    log_odds.trace(seen, *start, *end)
    samples = np.array(start) + np.linspace(0.0, 1.0, 2000)[:, None] * (np.array(end) - np.array(start))
    passed = {(int(y), int(x)) for x, y in samples} - {(int(end[1]), int(end[0]))}
    marked = {(int(y), int(x)) for y, x in np.argwhere(seen)}
    assert passed <= marked | {(int(end[1]), int(end[0]))}
    assert len(marked) <= abs(int(end[0]) - int(start[0])) + abs(int(end[1]) - int(start[1]))
    middles = np.array([(x + 0.5, y + 0.5) for y, x in marked]).reshape(-1, 2)
    gaps = np.linalg.norm(middles[:, None] - samples[None], axis=-1).min(axis=1) if len(marked) else np.zeros(0)
    assert np.all(gaps < 0.75)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(-3, 3)), min_size=2, max_size=5))
@settings(max_examples=20)
def test_what_is_taken_out_leaves_nothing_behind(poses: list[tuple[float, float, float]]) -> None:
    grid, alone, sweep = LogOddsGrid(0.1), LogOddsGrid(0.1), fan(80, 3.0)
    alone.add(sweep, np.array(poses[0]))
    for pose in poses:
        grid.add(sweep, np.array(pose))
    for pose in poses[1:]:
        grid.add(sweep, np.array(pose), -1)
    left, wanted = grid.grid(), alone.grid()
    known = np.argwhere(wanted.cells >= 0)
    there = left.to_cell(wanted.to_world(known))
    np.testing.assert_array_equal(left.cells[there[:, 0], there[:, 1]], wanted.cells[known[:, 0], known[:, 1]])
    assert np.count_nonzero(left.cells >= 0) == len(known)


def test_walls_are_occupied_the_room_is_free_and_the_rest_unknown() -> None:
    grid = LogOddsGrid(0.05)
    for _ in range(3):
        grid.add(fan(720, 2.02), np.array([1.0, -2.0, 0.3]))
    grid.add(fan(8, 6.0, hit=False), np.array([1.0, -2.0, 0.0]))
    found = grid.grid()
    cells = found.to_cell(np.array([[1.02, 0.02], [1.02, -1.0], [3.0, 0.5], [2.0, -3.0], [6.9, -2.0]]))
    value = found.cells[cells[:, 0], cells[:, 1]]
    assert value[0] > 65 and value[1] < 25 and value[2] == -1 and value[3] < 25 and 0 <= value[4] < 50


def test_what_one_sweep_saw_free_is_free() -> None:
    """Regression: a robot that had not moved yet had a map at 40 %, in which an explorer found nowhere to look from."""
    grid = LogOddsGrid(0.05)
    grid.add(fan(720, 2.02), np.zeros(3))
    found = grid.grid()
    assert 0 <= found.cells[tuple(found.to_cell(np.array([[0.5, 0.5]]))[0])] < FREE_BELOW


def test_a_map_that_would_fill_the_memory_is_refused() -> None:
    grid = LogOddsGrid(0.05)
    grid.add(fan(8, 2.0), np.zeros(3))
    with pytest.raises(MapError, match="at most 6000 a side"):
        grid.add(fan(8, 2.0), np.array([500.0, 0.0, 0.0]))


def square(place: PlaceMap | None, drift_rad: float, sides: int = 4) -> tuple[PoseGraph, Float64]:
    """A graph once round a square of 4 m with a bent odometry, and the true poses."""
    graph = place.graph if place else PoseGraph()
    truth, believed = [np.zeros(3)], [np.zeros(3)]
    for k in range(4 * sides):
        step = np.array([1.0, 0.0, np.pi / 2 if k % 4 == 3 else 0.0])
        truth.append(se2.compose(truth[-1], step))
        believed.append(se2.compose(believed[-1], step + [0.0, 0.0, drift_rad]))
    for k, pose in enumerate(believed):
        if place:
            place.add_keyframe(fan(90, 1.5), pose)
        else:
            graph.add_keyframe(pose)
        if k:
            motion = se2.between(believed[k - 1], pose)
            (place or graph).add_edge(Edge(k - 1, k, motion, np.diag([0.01, 0.01, 0.03]) ** 2, False))
    return graph, np.array(truth)


def rms_m(graph: PoseGraph, truth: Float64) -> float:
    return float(np.sqrt(((graph.poses - truth)[:, :2] ** 2).sum(axis=1).mean()))


def test_a_loop_takes_most_of_the_error_out() -> None:
    graph, truth = square(None, 0.01)
    graph.solve()
    before = rms_m(graph, truth)
    graph.add_edge(Edge(0, 16, np.zeros(3), TIGHT, True))
    for _ in range(3):
        graph.solve()
    assert rms_m(graph, truth) < 0.5 * before
    assert graph.linked(0, 16) and graph.around(0, 4) == [0, 1, 16, 2]


def test_one_wrong_loop_among_right_ones_is_outvoted() -> None:
    graph, truth = square(None, 0.0)
    for k in (4, 8, 12, 16):
        graph.add_edge(Edge(0, k, se2.between(truth[0], truth[k]), TIGHT, True))
    graph.add_edge(Edge(2, 10, np.array([0.0, 0.0, 0.0]), TIGHT, True))
    for _ in range(5):
        graph.solve()
    assert rms_m(graph, truth) < 0.05


def test_uncertainty_grows_with_the_way() -> None:
    graph, _ = square(None, 0.0)
    graph.solve()
    near, far = (np.trace(graph.covariance(k)[:2, :2]) for k in (2, 10))
    assert far > near > 0.0


def test_a_covariance_means_the_first_keyframes_axes() -> None:
    """Known along x of a keyframe only, a turned successor is known along x all the same."""
    graph = PoseGraph()
    graph.add_keyframe(np.zeros(3))
    graph.add_keyframe(np.array([1.0, 0.0, np.pi / 2]))
    graph.add_edge(Edge(0, 1, np.array([1.0, 0.0, np.pi / 2]), np.diag([0.01, 0.5, 0.01]) ** 2, False))
    graph.solve()
    own = graph.covariance(1)  # along the successor's axes: its y is minus the first one's x
    assert own[0, 0] == pytest.approx(0.25, rel=0.01) and own[1, 1] == pytest.approx(1e-4, rel=0.05)


def test_the_grid_follows_its_keyframes_in_bounded_steps() -> None:
    place = PlaceMap(0.1)
    graph, truth = square(place, 0.03)
    place.tend()
    place.add_edge(Edge(0, 16, np.zeros(3), TIGHT, True))
    steps = 0
    while place.tend():
        steps += 1
        assert steps < 100
    assert steps > 4  # not all at once
    fresh = LogOddsGrid(0.1)
    for sweep, pose in zip(place.sweeps, graph.poses, strict=True):
        fresh.add(sweep, pose)
    moved, wanted = place.grid(), fresh.grid()
    known = np.argwhere(wanted.cells >= 0)
    there = moved.to_cell(wanted.to_world(known))
    same = moved.cells[there[:, 0], there[:, 1]] == wanted.cells[known[:, 0], known[:, 1]]
    assert same.mean() > 0.95  # keyframes that moved by less than a centimetre stay as drawn
    assert len(truth) == len(place.sweeps)


def test_the_search_finds_what_trying_everything_finds() -> None:
    rng = np.random.default_rng(5)
    walls = rng.uniform(0.0, 3.0, (60, 2))
    points = se2.transform(np.array([-0.4, 0.3, 0.2]), walls)[::2] - [1.0, 1.0]
    field, window = ScoreField(walls), Window(np.array([1.0, 1.0, 0.0]), 0.8, 0.3)
    steps = search(field, points, window, 0.1, 1.0)
    for _ in range(1000):
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
            break
    step = CELL_M / max(float(np.median(np.linalg.norm(points, axis=1))), 10 * CELL_M)
    half = int(np.ceil(0.3 / step))
    best = 0.0
    for heading in np.linspace(-0.3, 0.3, 2 * half + 1):
        cells = np.floor((se2.transform(np.array([1.0, 1.0, heading]), points) - field.corner) / CELL_M).astype(int)
        for y in range(-8, 9):
            for x in range(-8, 9):
                at = cells + [x, y]
                inside = np.all((at >= 0) & (at < field.levels.shape[:0:-1]), axis=1)
                best = max(best, field.levels[0][at[inside, 1], at[inside, 0]].sum() / (255.0 * len(points)))
    assert found.score == pytest.approx(best) and found.pose is not None


def test_a_map_survives_its_file(tmp_path: Path) -> None:
    place = PlaceMap(0.1)
    square(place, 0.0)
    place.add_edge(Edge(0, 16, np.zeros(3), TIGHT + FLOOR, True))
    while place.tend():
        pass
    map_file.save(place, tmp_path / "flat")
    back = map_file.load(tmp_path / "flat", 0.1)
    np.testing.assert_allclose(back.graph.poses, place.graph.poses, atol=1e-3)
    assert [(e.start, e.end, e.loop) for e in back.graph.edges] == [(e.start, e.end, e.loop) for e in place.graph.edges]
    np.testing.assert_allclose(back.walls(), place.walls(), atol=2e-3)
    known = [np.count_nonzero(one.grid().cells >= 0) for one in (back, place)]
    assert known[0] == pytest.approx(known[1], rel=0.01)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no map"])
def test_broken_map_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "flat.npz").write_bytes(content)
    with pytest.raises(MapError, match=r"flat.npz.*fix: save the map again"):
        map_file.load(tmp_path / "flat", 0.05)


def test_a_file_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    place = PlaceMap(0.1)
    square(place, 0.0)
    place.tend()
    map_file.save(place, tmp_path / "flat")
    with np.load(tmp_path / "flat.npz") as data:
        parts = {key: data[key] for key in data.files}
    for change in ({"format": np.array("another")}, {"poses": parts["poses"][:3]}, {"joined": parts["joined"] + 90}):
        np.savez(tmp_path / "flat.npz", **parts | change)
        with pytest.raises(MapError):
            map_file.load(tmp_path / "flat", 0.1)
    with pytest.raises(MapError, match="at least one scan"):
        map_file.save(PlaceMap(0.1), tmp_path / "flat")
