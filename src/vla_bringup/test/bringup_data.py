"""A small made-up recording, for the tests of what is computed from one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_bringup.core.recording import ChunkTrace, ControlSample, ImageSpool, Recording, StageTrace
from vla_core.types import NS

STEP_NS = NS // 20
START_NS = 2 * NS


def recording(folder: Path, seconds: int = 2) -> Recording:
    """20 Hz pictures, 5 Hz chunks, 50 Hz control, for some seconds from START_NS."""
    made = Recording(ImageSpool(folder / "spool", pytest.fail))
    for i in range(20 * seconds):
        stamp = START_NS + i * STEP_NS
        made.images.add("front", stamp, np.full((32, 48, 3), i, np.uint8))
        made.images.add("wrist", stamp, np.full((16, 16, 3), 255 - i, np.uint8))
        made.observations_ns.append(stamp)
        if i % 4 == 0:
            path = np.linspace([0.3, -0.1, 0.1], [0.5, 0.1, 0.1], 10) + 0.001 * i
            made.chunks.append(ChunkTrace(stamp, path, 0.02 + 0.001 * i, 0.0, 0.0, "reach"))
    for i in range(50 * seconds):
        tool = np.array([0.4, 0.0, 0.2 + 0.001 * i])
        made.controls.append(
            ControlSample(START_NS + i * NS // 50, np.zeros(7), np.full(7, 0.01), np.ones(7), tool,
                          {"torque_rate": i, "singularity": 0}, 100.0 + i)
        )  # fmt: skip
    made.stages += [StageTrace("waiting", START_NS, 10 * NS), StageTrace("acting", START_NS + NS, 13 * NS)]
    made.starved += [(START_NS, 0.5), (START_NS + 3 * NS // 2, 0.75), (START_NS + 5 * NS // 2, 2.0)]
    return made
