"""Thinning by stamps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_perception.core.rate import RateGate

MS = 1_000_000
SECOND = 1000 * MS


def passed(stamps: list[int]) -> list[int]:
    gate = RateGate(50 * MS, SECOND)
    return [stamp for stamp in stamps if gate.passes(stamp)]


@pytest.mark.parametrize("source_hz", [25, 30, 50, 60, 90, 200])
def test_faster_sources_are_thinned_to_the_rate(source_hz: int) -> None:
    stamps = [round(i * SECOND / source_hz) for i in range(10 * source_hz)]
    assert len(passed(stamps)) == pytest.approx(200, abs=2)


@pytest.mark.parametrize("source_hz", [5, 15, 19, 20])
def test_slower_sources_pass_whole(source_hz: int) -> None:
    stamps = [round(i * SECOND / source_hz) for i in range(10 * source_hz)]
    assert passed(stamps) == stamps


@given(st.integers(0, 10**19 // 10), st.lists(st.integers(-6 * MS, 6 * MS), min_size=2, max_size=100))
def test_jitter_at_the_nominal_rate_loses_nothing(start: int, jitter: list[int]) -> None:
    stamps = [start + 10 * MS + i * 50 * MS + j for i, j in enumerate(jitter)]
    assert passed(stamps) == stamps


def test_no_burst_after_a_gap() -> None:
    stamps = [0, 50 * MS] + [5 * SECOND + i * 10 * MS for i in range(100)]
    late = passed(stamps)[2:]
    assert len(late) == 20 or len(late) == 21


def test_clock_set_back_passes() -> None:
    gate = RateGate(50 * MS, SECOND)
    assert [gate.passes(stamp) for stamp in (100 * SECOND, 0, 10 * MS, 50 * MS)] == [True, True, False, True]
