"""The benchmark's arithmetic, on stamps made up here; the processes themselves are run by `vla bench`."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from vla_core.errors import SetupError
from vla_core.records import CAPTURES
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import NS
from vla_msgs.msg import Observation as ObservationMsg
from vla_perception.bench_observation import _Ear
from vla_ros import stamps

MS = 1_000_000


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Ear]:
    """An ear on a link where captures 0, 1, 2 ... happened every 50 ms, at their stamps on the monotonic clock."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    link = f"test{random.randint(0, 10**9)}"
    box = Mailbox(link_path(link, "captures"), CAPTURES, create=True)
    record = np.zeros(1, CAPTURES)
    record["stamp_ns"][0, :100] = record["monotonic_ns"][0, :100] = (np.arange(100) + 1) * 50 * MS
    box.write(record)
    ear = _Ear(random.randint(1, 100), link, ("front",))
    yield ear
    ear.close()
    box.close(unlink=True)


def hear(ear: _Ear, monkeypatch: pytest.MonkeyPatch, stamp_ms: int, latency_ms: int) -> None:
    monkeypatch.setattr("vla_perception.bench_observation.time.monotonic_ns", lambda: (stamp_ms + latency_ms) * MS)
    message = ObservationMsg()
    message.header.stamp = stamps.to_msg(stamp_ms * MS)
    ear._on_observation(message)


def test_latency_and_drops(ear: _Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    for stamp_ms, latency_ms in ((50, 10), (100, 20), (250, 30), (300, 40)):
        hear(ear, monkeypatch, stamp_ms, latency_ms)
    result = ear.result(period_s=50 * MS / NS)
    assert (result["n"], result["drops"], result["frames_lost"]) == (4, 2, 0)
    assert (result["p50_ms"], result["max_ms"]) == (25.0, 40.0)
    assert result["rate_hz"] == 12.0


def test_unknown_stamp_and_silence_are_errors(ear: _Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="0 observations"):
        ear.result(0.05)
    with pytest.raises(SetupError, match="stamped 51000000"):
        hear(ear, monkeypatch, 51, 1)
