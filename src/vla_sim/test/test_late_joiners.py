"""Repeats for late subscribers: once each, and never without one."""

from __future__ import annotations

from vla_sim.core.late_joiners import LateJoiners


def test_one_repeat_per_newcomer() -> None:
    joiners = LateJoiners()
    joiners.published(0.0)
    assert not joiners.waiting(0, 1.0)
    repeats = []
    for tenth in range(100):
        now_s = 2.0 + tenth / 10
        listeners = 1 if tenth < 50 else 3
        if joiners.waiting(listeners, now_s):
            repeats.append(now_s)
            joiners.published(now_s)
    assert len(repeats) == 2 and 2.0 < repeats[0] < 2.6 and 7.0 < repeats[1] < 7.6


def test_a_leaver_needs_nothing_and_a_running_world_repeats_nothing() -> None:
    joiners = LateJoiners()
    for tick in range(200):
        joiners.published(tick / 20)
        assert not joiners.waiting(1 if tick < 100 else 0, tick / 20 + 0.04)
