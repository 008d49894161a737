"""An event is told once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vla_core.events import Events

QUIET_S = 2.0


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=40))
def test_as_many_beginnings_as_there_are_pauses(gaps_s: list[float]) -> None:
    events, now_s, begun = Events(QUIET_S), 0.0, [Events(QUIET_S).begins("x", 0.0)]
    events.begins("x", now_s)
    pauses = 0
    for gap_s in gaps_s:
        pauses += now_s + gap_s - now_s > QUIET_S
        now_s += gap_s
        begun.append(events.begins("x", now_s))
    assert sum(begun) == 1 + pauses


def test_an_event_that_goes_on_for_hours_is_told_once() -> None:
    events = Events(QUIET_S)
    assert [events.begins("flood", 0.5 * k) for k in range(10_000)].count(True) == 1


def test_events_of_different_keys_do_not_hide_each_other() -> None:
    events = Events(QUIET_S)
    assert events.begins("front", 0.0) and events.begins("wrist", 0.1) and not events.begins("front", 0.2)
