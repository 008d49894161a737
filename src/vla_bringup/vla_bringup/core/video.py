"""The film of a run: both cameras side by side, the chunk drawn into the first, instruction and stage as text."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vla_bringup.core.overlay import CHUNK_RGB, TRAIL_RGB, Pinhole, draw_path, draw_text, enlarge
from vla_bringup.core.recording import Recording
from vla_core.types import NS, UInt8

FPS = 20
HEIGHT = 480
_TRAIL_NS = 3 * NS
_BEFORE_NS = NS  # of a goal that is shown


def write_video(
    path: Path, recording: Recording, cameras: tuple[str, ...], model: Pinhole | None, instruction: str
) -> int:
    """Encode H.264 at 20 frames per second of the ROS clock.

    Args:
        path: `.mp4` file.
        recording: Of the run.
        cameras: Left to right; time runs by the first one's pictures.
        model: The first camera, for the overlay; None: no overlay.
        instruction: First line of text.

    Returns:
        Number of frames; 0 writes no file.
    """
    count = 0
    container = None
    for frame in frames(recording, cameras, model, instruction):
        if container is None:
            container = av.open(str(path), "w")
            stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "21", "preset": "veryfast"})
            stream.height, stream.width = frame.shape[0], frame.shape[1]
            stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        count += 1
    if container is not None:
        container.mux(stream.encode(None))
        container.close()
    return count


def frames(recording: Recording, cameras: tuple[str, ...], model: Pinhole | None, instruction: str) -> Iterator[UInt8]:
    """Pictures of the film, uint8 (480,W,3), W even."""
    stamps = recording.images.stamps_ns(cameras[0])
    if not stamps:
        return
    begin_ns = stamps[0]
    if recording.stages:  # a world with a robot that drives doesn't wait for its first goal: nobody needs to see that
        begin_ns = max(begin_ns, recording.stages[0].stamp_ns - _BEFORE_NS)
    for stamp_ns in range(begin_ns, stamps[-1] + 1, NS // FPS):
        yield compose(recording, cameras, model, instruction, stamp_ns)


def compose(
    recording: Recording, cameras: tuple[str, ...], model: Pinhole | None, instruction: str, stamp_ns: int
) -> UInt8:
    """One picture of the film, as known at `stamp_ns`."""
    views = []
    for camera in cameras:
        image = recording.images.at(camera, stamp_ns)
        black = np.zeros((HEIGHT, HEIGHT, 3), np.uint8)
        views.append(enlarge(image, HEIGHT) if image is not None else black)
    chunk = recording.chunk_at(stamp_ns)
    if model is not None:
        draw_path(views[0], model, recording.tool_path_m(stamp_ns - _TRAIL_NS, stamp_ns), TRAIL_RGB)
        if chunk is not None and chunk.path_m is not None:
            draw_path(views[0], model, chunk.path_m, CHUNK_RGB, dots=True)
    picture = np.concatenate(views, axis=1)
    picture = np.ascontiguousarray(picture[:, : picture.shape[1] // 2 * 2])
    draw_text(picture, instruction, 22)
    start_ns = recording.stages[0].stamp_ns if recording.stages else stamp_ns
    words = [f"{(stamp_ns - start_ns) / NS:5.1f} s", recording.stage_at(stamp_ns)]
    if chunk is not None:
        words += [chunk.subtask, f"progress {chunk.progress:.2f}", f"success estimate {chunk.success_estimate:.2f}"]
    draw_text(picture, "   ".join(word for word in words if word), HEIGHT - 10)
    return picture
