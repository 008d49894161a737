"""Matching by stamp: deterministic, complete, never mixed, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import UnknownNameError
from vla_perception.core.sync import Matched, StampSynchronizer

MS = 1_000_000
SOURCES = ("front", "wrist", "joints")


def synchronizer(max_skew_ms: int = 30) -> StampSynchronizer[int]:
    return StampSynchronizer("front", ("wrist", "joints"), max_skew_ms * MS, 250 * MS, 1000 * MS)


def feed(sync: StampSynchronizer[int], events: list[tuple[str, int]]) -> list[Matched[int]]:
    """Push (source, stamp in ms); the item is the stamp."""
    return [matched for source, ms in events for matched in sync.push(source, ms * MS, ms)]


def interleave(streams: dict[str, list[int]], delays: dict[str, list[int]]) -> list[tuple[str, int]]:
    """Arrival order of streams [ms] with a delay [ms] per sample; a source never overtakes itself."""
    arrivals = []
    for rank, (source, stamps) in enumerate(streams.items()):
        latest = 0
        for index, ms in enumerate(stamps):
            latest = max(latest, ms + delays[source][index % len(delays[source])])
            arrivals.append((latest, rank, index, source, ms))
    return [(source, ms) for *_, source, ms in sorted(arrivals)]


delay_lists = st.fixed_dictionaries({s: st.lists(st.integers(0, 120), min_size=1, max_size=12) for s in SOURCES})


@given(delay_lists)
def test_lockstep_sets_are_all_found_whatever_the_arrival_order(delays: dict[str, list[int]]) -> None:
    streams = {"front": list(range(0, 1001, 50)), "wrist": list(range(0, 1001, 50)), "joints": list(range(0, 1001, 10))}
    sync = synchronizer()
    sets = feed(sync, interleave(streams, delays))
    assert [matched.reference_ns // MS for matched in sets] == streams["front"]
    assert all(set(matched.items.values()) == {matched.oldest_ns // MS} for matched in sets)
    assert (sync.matched, sync.unmatched) == (len(sets), 0)


@given(delay_lists, st.integers(0, 33), st.integers(0, 9), st.lists(st.integers(0, 2), min_size=1, max_size=9))
def test_free_running_sources_give_the_same_sets_in_any_arrival_order(
    delays: dict[str, list[int]], phase: int, joint_phase: int, jitter: list[int]
) -> None:
    streams = {
        "front": list(range(0, 1200, 33)),
        "wrist": [ms + jitter[i % len(jitter)] for i, ms in enumerate(range(phase, 1200, 33))],
        "joints": list(range(joint_phase, 1400, 10)),
    }
    prompt = {source: [0] for source in SOURCES}
    as_they_come = feed(synchronizer(), interleave(streams, delays))
    at_once = feed(synchronizer(), interleave(streams, prompt))
    common = min(len(as_they_come), len(at_once))
    assert as_they_come[:common] == at_once[:common]
    assert all(max(m.items.values()) - min(m.items.values()) <= 30 for m in as_they_come)


@given(st.lists(st.tuples(st.sampled_from(SOURCES), st.integers(0, 600)), max_size=200))
def test_whatever_comes_sets_are_within_the_skew(events: list[tuple[str, int]]) -> None:
    sync = synchronizer(20)
    for matched in feed(sync, events):
        assert set(matched.items) == set(SOURCES)
        assert max(matched.items.values()) - min(matched.items.values()) <= 20
        assert matched.oldest_ns == min(matched.items.values()) * MS


def test_waits_for_the_joint_state_of_the_same_instant() -> None:
    """Regression: taking the newest joint state on arrival paired images with the sample 10 ms before theirs."""
    sync = synchronizer()
    assert feed(sync, [("joints", ms) for ms in range(0, 100, 10)] + [("front", 100), ("wrist", 100)]) == []
    (matched,) = feed(sync, [("joints", 100)])
    assert dict(matched.items) == {"front": 100, "wrist": 100, "joints": 100}


def test_does_not_wait_when_nothing_nearer_can_come() -> None:
    sync = synchronizer()
    feed(sync, [("joints", ms) for ms in range(0, 100, 10)])
    (matched,) = feed(sync, [("wrist", 92), ("front", 92)])
    assert matched.items["joints"] == 90


def test_lost_partner_costs_its_set_only() -> None:
    sync = synchronizer()
    events = [(s, ms) for ms in range(0, 300, 50) for s in ("joints", "wrist", "front") if (s, ms) != ("wrist", 100)]
    assert [m.reference_ns // MS for m in feed(sync, events)] == [0, 50, 150, 200, 250]
    assert sync.unmatched == 1


def test_silent_partner_does_not_fill_the_memory() -> None:
    sync = synchronizer()
    feed(sync, [("front", ms) for ms in range(0, 100_000, 50)])
    assert sync.matched == 0
    assert sync.unmatched == 2000 - 6  # what is younger than the window still waits


def test_late_and_repeated_stamps_are_refused_and_counted() -> None:
    sync = synchronizer()
    feed(sync, [("joints", 10), ("joints", 10), ("joints", 5), ("joints", 20)])
    assert (sync.statistics("joints").count, sync.statistics("joints").late) == (2, 2)


def test_clock_set_back_starts_anew() -> None:
    sync = synchronizer()
    once = [(source, ms) for ms in range(0, 200, 50) for source in ("joints", "wrist", "front")]
    before = feed(sync, [(source, ms + 60_000) for source, ms in once])
    after = feed(sync, once)
    assert len(before) == len(after) == 4
    assert sync.statistics("front").newest_ns == 150 * MS


def test_statistics_count_gaps_and_rate() -> None:
    sync = synchronizer()
    feed(sync, [("joints", ms) for ms in range(0, 1000, 10) if not 500 <= ms < 530])
    statistics = sync.statistics("joints")
    assert statistics.lost == 3
    assert statistics.rate_hz == pytest.approx(100)
    assert sync.statistics("wrist").newest_ns is None


def test_unknown_source_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="front, joints, wrist"):
        synchronizer().push("left", 0, 0)
