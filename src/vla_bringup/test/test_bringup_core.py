"""Recording, summary, latency join, overlay, film and plot."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import av
import numpy as np
import pytest
from bringup_data import START_NS, STEP_NS, recording
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla_bringup.core.latency import LatencyWatch, join
from vla_bringup.core.overlay import Pinhole, draw_path, draw_text, enlarge, rotation_matrix
from vla_bringup.core.plot import write_plot
from vla_bringup.core.recording import ImageSpool, StageTrace
from vla_bringup.core.summary import Span, dropped, limits, rate_hz, summarise
from vla_bringup.core.video import HEIGHT, compose, frames, write_video
from vla_core.records import CAPTURES, LIMITS, STATUS
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import NS

CAMERA = Pinhole(  # one metre above the origin of the base frame, looking down, image x along base x
    np.array([[100.0, 0.0, 24.0], [0.0, 100.0, 16.0], [0.0, 0.0, 1.0]]),
    (48, 32),
    np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]),
    np.array([0.4, 0.0, 1.0]),
)


def test_spool_gives_back_what_it_was_given_and_leaves_no_file(tmp_path: Path) -> None:
    made = recording(tmp_path)
    stamp = START_NS + 7 * STEP_NS
    assert np.array_equal(made.images.read("wrist", stamp), np.full((16, 16, 3), 248, np.uint8))
    newest = made.images.at("front", stamp + STEP_NS - 1)
    assert newest is not None and newest.shape == (32, 48, 3) and newest[0, 0, 0] == 7
    assert made.images.at("front", START_NS - 1) is None
    made.images.close()
    assert list(tmp_path.iterdir()) == []


def test_regression_a_full_disk_ends_the_film_and_not_the_run(tmp_path: Path) -> None:
    """The error ended the thread that watches the run; the robot went on unwatched until a timeout."""
    warned: list[str] = []
    spool, frame = ImageSpool(tmp_path / "spool", warned.append), np.full((16, 16, 3), 5, np.uint8)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 * frame.nbytes + 100, limit[1]))
        for k in range(30):
            spool.add("front", k, frame + np.uint8(k))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    kept = spool.stamps_ns("front")
    assert len(warned) == 1 and "the film ends early: File too large" in warned[0]
    assert kept == list(range(17)), "seven eighths of the twenty that there was room for"
    assert (tmp_path / "spool").stat().st_size <= 18 * frame.nbytes
    assert (spool.read("front", 16) == 21).all()
    spool.close()


def test_a_disk_that_is_full_from_the_beginning_leaves_no_film(tmp_path: Path) -> None:
    (tmp_path / "spool").symlink_to("/dev/full")
    warned: list[str] = []
    spool = ImageSpool(tmp_path / "spool", warned.append)
    for k in range(3):
        spool.add("front", k, np.zeros((16, 16, 3), np.uint8))
    assert spool.stamps_ns("front") == [] and len(warned) == 1 and "No space left on device" in warned[0]
    spool.close()


def test_recording_looks_up_by_time(tmp_path: Path) -> None:
    made = recording(tmp_path)
    assert made.chunk_at(START_NS - 1) is None
    chunk = made.chunk_at(START_NS + 5 * STEP_NS)
    assert chunk is not None and chunk.stamp_ns == START_NS + 4 * STEP_NS
    assert [made.stage_at(START_NS + d) for d in (-1, 0, NS)] == ["", "waiting", "acting"]
    assert made.tool_path_m(START_NS, START_NS + NS // 10).shape == (6, 3)


def test_summary_of_a_run(tmp_path: Path) -> None:
    made = recording(tmp_path, seconds=3)
    del made.observations_ns[45], made.observations_ns[25], made.observations_ns[5]  # after, in and before the span
    span = Span(START_NS + NS, START_NS + 2 * NS, 11 * NS, 15 * NS)
    result = summarise(made, span, made.images.stamps_ns("front"), [40.0, 50.0, 60.0], {"torque_rate": 49})
    assert (result["wall_s"], result["sim_s"], result["real_time_factor"]) == (4.0, 1.0, 0.25)
    assert (result["observation_hz"], result["chunk_hz"]) == (19.0, 5.0)
    assert result["inference_ms"] == {"p50": 50.0, "p95": 59.0}
    assert result["image_to_torque_ms"]["p50"] == 50.0
    assert result["dropped_frames"] == 1 and result["starved_s"] == 0.25
    assert result["limits_hit"] == {"torque_rate": 100 - 49} and result["max_jerk"] == 200.0
    assert result["stages"][1] == {"stage": "acting", "sim_s": 0.0, "wall_s": 2.0}


def test_summary_of_a_run_in_which_nothing_came(tmp_path: Path) -> None:
    made = recording(tmp_path, seconds=0)
    result = summarise(made, Span(NS, 2 * NS, 0, NS), [], [], {})
    assert result["inference_ms"] == {"p50": None, "p95": None}
    assert (result["observation_hz"], result["dropped_frames"], result["max_jerk"]) == (0.0, 0, None)


def test_rates_drops_and_limits() -> None:
    assert rate_hz([0, NS // 2, NS, NS]) == 2.0 and rate_hz([5]) == 0.0
    ms = 1_000_000
    pictures = [i * 50 * ms for i in range(6)]
    assert dropped(pictures, [50 * ms, 150 * ms, 200 * ms]) == 1, "at 100 ms; before and after nobody looked"
    assert dropped(pictures, [40 * ms, 90 * ms, 140 * ms, 200 * ms]) == 0, "joint states 10 ms older"
    assert dropped(pictures[:3], [0, 50 * ms, 100 * ms, 150 * ms]) == 0, "a picture that was not noted is no drop"
    assert dropped(pictures, []) == 6
    assert limits({"a": 5, "b": 2, "c": 0}, {"b": 2}) == {"a": 5}


def test_latency_joins_an_observation_with_the_picture_that_it_is_made_of() -> None:
    captured = {100 * NS: 1_000_000, 100 * NS + STEP_NS: 2_000_000}
    older_joint_state = 100 * NS + STEP_NS - 10_000_000
    applied = {100 * NS: 31_000_000, older_joint_state: 44_000_000, 100 * NS + 3 * STEP_NS: 9}
    assert join(captured, applied) == [30.0, 42.0]


def test_latency_watch_reads_the_link() -> None:
    link = f"test{os.getpid()}w"
    captures, status = (
        Mailbox(link_path(link, n), d, create=True) for n, d in (("captures", CAPTURES), ("status", STATUS))
    )
    watch = LatencyWatch(link)
    try:
        pictures, newest = np.zeros(1, CAPTURES), np.zeros(1, STATUS)
        for i in range(300):  # more than the ring holds
            slot = i % 256
            pictures["stamp_ns"][0, slot], pictures["monotonic_ns"][0, slot] = (i + 1) * STEP_NS, i * 1_000_000
            pictures["next"] += 1
        newest["answers_ns"], newest["applied_monotonic_ns"] = 200 * STEP_NS, 199_000_000 + 25_000_000
        newest["limit_counts"][0, LIMITS.index("safety_stop")] = 3
        captures.write(pictures)
        status.write(newest)
        for _ in range(1000):
            if watch.image_to_torque_ms():
                break
            time.sleep(0.01)
        assert watch.image_to_torque_ms() == [25.0]
        assert watch.image_to_torque_ms(from_ns=201 * STEP_NS) == []
        assert watch.captured_ns == [(i + 1) * STEP_NS for i in range(44, 300)]
        assert limits(watch.limit_counts(), {}) == {"safety_stop": 3}
    finally:
        watch.close()
        captures.close(unlink=True)
        status.close(unlink=True)


def test_projection_of_known_points() -> None:
    pixels = CAMERA.project(np.array([[0.4, 0.0, 0.0], [0.5, 0.1, 0.5], [0.4, 0.0, 2.0]]))
    assert np.allclose(pixels[0], [24.0, 16.0]) and np.allclose(pixels[1], [44.0, -4.0])
    assert np.isnan(pixels[2]).all()


@given(arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotation_matrix_is_a_rotation(q: np.ndarray) -> None:
    R = rotation_matrix(q / np.linalg.norm(q))
    assert np.allclose(R @ R.T, np.eye(3)) and np.isclose(np.linalg.det(R), 1.0)


def test_path_is_drawn_where_it_is_seen_and_survives_points_behind() -> None:
    picture = enlarge(np.zeros((32, 48, 3), np.uint8), 320)
    draw_path(picture, CAMERA, np.array([[0.4, 0.0, 0.0], [0.4, 0.0, 3.0]]), (255, 0, 0), dots=True)
    assert tuple(picture[160, 240]) == (255, 0, 0)
    assert np.count_nonzero(picture) < 300


def test_text_changes_only_its_band() -> None:
    picture = np.full((100, 200, 3), 90, np.uint8)
    draw_text(picture, "put the red cube in the blue bowl", 30)
    changed = np.flatnonzero((picture != 90).any(axis=(1, 2)))
    assert changed.min() >= 8 and changed.max() <= 45


def test_film_shows_both_cameras_with_overlay_and_has_every_frame(tmp_path: Path) -> None:
    made = recording(tmp_path)
    bare = compose(made, ("front", "wrist"), None, "do it", START_NS + NS)
    drawn = compose(made, ("front", "wrist"), CAMERA, "do it", START_NS + NS)
    assert bare.shape == (HEIGHT, HEIGHT * 48 // 32 + HEIGHT, 3)
    where = np.flatnonzero((bare != drawn).any(axis=(0, 2)))
    assert len(where) > 0 and where.max() < HEIGHT * 48 // 32, "the overlay belongs to the first camera"
    path = tmp_path / "video.mp4"
    assert write_video(path, made, ("front", "wrist"), CAMERA, "do it") == 40
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", 20.0)
        assert sum(1 for _ in film.decode(stream)) == 40


def test_no_pictures_no_film(tmp_path: Path) -> None:
    made = recording(tmp_path, seconds=0)
    assert write_video(tmp_path / "video.mp4", made, ("front",), None, "do it") == 0
    assert not (tmp_path / "video.mp4").exists()


def test_film_leaves_out_what_was_long_before_the_goal(tmp_path: Path) -> None:
    made = recording(tmp_path, seconds=3)
    first = made.images.stamps_ns("front")[0]
    made.stages[:] = [StageTrace("explore", first + 2 * NS, 0)]
    assert sum(1 for _ in frames(made, ("front", "wrist"), None, "do it")) == 40, "from a second before it"


@pytest.mark.filterwarnings("error:Glyph")
def test_plot_of_an_instruction_that_no_font_here_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a demo told in Chinese filled the terminal with warnings, and the title was boxes."""
    monkeypatch.setattr("vla_bringup.core.lettering._CHINESE", ())
    write_plot(tmp_path / "plot.png", recording(tmp_path, 2), START_NS, [40.0], "把红色的球拿过来")
    assert (tmp_path / "plot.png").is_file()


@pytest.mark.parametrize("seconds", [0, 2])
def test_plot_is_written(tmp_path: Path, seconds: int) -> None:
    write_plot(tmp_path / "plot.png", recording(tmp_path, seconds), START_NS, [40.0] * seconds, "do it")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
