"""What counts as an answer, and as telling something again: else a fault could end in anything and pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vla_bringup.bench.faults import is_expected
from vla_bringup.faults.fault import Answer, Fault, Outcome, Recovery, Told
from vla_bringup.faults.reports import repeated
from vla_bringup.faults.trial import _ANSWERS
from vla_core.errors import GraphError
from vla_core.types import NS


class Seen:
    """A rig in which everything has happened already."""

    def __init__(self, modes: set[str], mode: str, cause: str = "", rested_ns: int | None = None) -> None:
        self.begin_ns = NS
        self.watch = SimpleNamespace(
            modes=modes, mode=mode, braked_by={"stale_state"}, rested_ns=rested_ns, stamp_ns=3 * NS
        )
        self.safety = SimpleNamespace(stopped=bool(cause), cause=cause)
        self.executor = SimpleNamespace(mode="holding", last_error="", chunks_accepted=0)

    def until(self, done: Any, what: str) -> None:
        self.executor.chunks_accepted += 1
        if not done():
            raise GraphError("nothing of the kind", what, "")


def test_a_hold_is_a_plan_that_was_finished() -> None:
    assert _ANSWERS[Answer.HOLDS](Seen({"track", "hold"}, "hold", rested_ns=2 * NS)) == "held; executor holding"


def test_a_withdrawn_task_leaves_an_idle_executor() -> None:
    seen = Seen({"track", "hold"}, "hold", rested_ns=2 * NS)
    with pytest.raises(GraphError, match="withdrawn instruction"):
        _ANSWERS[Answer.WITHDRAWN](seen)
    seen.executor.mode = "idle"
    assert _ANSWERS[Answer.WITHDRAWN](seen) == "held; executor idle"


@pytest.mark.parametrize(
    "seen",
    [
        Seen({"track", "stop", "hold"}, "hold", rested_ns=2 * NS),
        Seen({"track", "hold"}, "hold", "contact force", rested_ns=2 * NS),
        Seen({"track"}, "track"),
    ],
    ids=["an emergency stop before it", "a latched stop", "an arm that goes on"],
)
def test_regression_an_emergency_stop_is_no_hold(seen: Any) -> None:
    """An arm that the servo had braked at once counted as one that had finished what was planned."""
    with pytest.raises(GraphError):
        _ANSWERS[Answer.HOLDS](seen)


@pytest.mark.parametrize(
    "seen",
    [
        Seen({"track", "stop"}, "track"),
        Seen({"track"}, "track", "contact force"),
        Seen({"track", "hold"}, "hold", rested_ns=2 * NS),
    ],
    ids=["an emergency stop", "a latched stop", "a rest"],
)
def test_an_arm_that_stopped_did_not_go_on(seen: Any) -> None:
    with pytest.raises(GraphError, match=r"braked by \['stale_state'\]"):
        _ANSWERS[Answer.GOES_ON](seen)


def test_an_arm_that_goes_on_goes_on() -> None:
    assert _ANSWERS[Answer.GOES_ON](Seen({"track"}, "track")) == "went on"


def warning(at_s: float, text: str, node: str = "executor_node", level: str = "WARN") -> str:
    return f"[{level}] [{at_s:.9f}] [{node}]: {text}"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ()),
        ([warning(10, "late by 0.1 s"), warning(10.2, "another")], ()),
        ([warning(10, "late by 0.1 s"), warning(10.2, "late by 1e-3 s")], ("2x executor_node: late by 0.1 s",)),
        ([warning(10, "late"), warning(13, "late")], ()),
        ([warning(10, "late"), warning(13, "late"), warning(16, "late")], ("3x executor_node: late",)),
        ([warning(10, "late"), warning(10.2, "late", level="ERROR")], ()),
        ([warning(k, "late", level="INFO") for k in range(9)], ()),
        (["ERROR link: gone"] * 2, ()),
        (["ERROR link: gone"] * 3, ("3x executor_node: link: gone",)),
        (["READY executor_node", "  File x.py, line 3"] * 5, ()),
    ],
)
def test_a_line_that_is_told_again_and_again_is_found(lines: list[str], expected: tuple[str, ...]) -> None:
    assert repeated("executor_node", lines) == expected


def test_only_who_may_repeat_itself_does() -> None:
    lines = [warning(10 + k / 10, f"got no command for {50 + k} ms; the world stands still", "x") for k in range(5)]
    assert repeated("sim_node", lines) == ()
    assert repeated("servo_node", lines) == ("5x servo_node: got no command for 50 ms; the world stands still",)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome("went on", None, (1,), True, ()), True),
        (Outcome("went on", None, (2,), True, ()), False),
        (Outcome("went on", None, (1,), False, ()), False),
        (Outcome("went on", None, (1,), True, ("jerk: 2",)), False),
        (Outcome("went on", None, (1,), True, (), ("2x executor_node: late",)), False),
    ],
)
def test_the_table_of_the_bench_counts_what_the_tests_count(outcome: Outcome, expected: bool) -> None:
    fault = Fault("x", "x", None, Answer.GOES_ON, (Told("executor_node", "x"),), Recovery.NONE)
    assert is_expected(fault, outcome) is expected
