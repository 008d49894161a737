"""At which frames a lockstep world waits for the policy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vla_sim.core.policy_gate import PolicyGate

FRAME = 50_000_000
PERIOD = 400_000_000


def gate(since_ns: int = 0) -> PolicyGate:
    made = PolicyGate(PERIOD)
    made.instruct("pick up the red cube", since_ns)
    return made


def test_no_instruction_no_wait() -> None:
    idle = PolicyGate(PERIOD)
    assert not idle.due(10 * FRAME, -1)
    idle.instruct("press the button", 0)
    idle.instruct("", 5 * FRAME)
    assert not idle.due(10 * FRAME, -1) and not idle.instructed


def test_first_frame_after_the_instruction_is_due() -> None:
    busy = gate(since_ns=FRAME)
    assert not busy.due(FRAME, -1)
    assert busy.due(2 * FRAME, -1)


@given(st.integers(1, 200))
def test_due_frames_are_one_period_apart(first: int) -> None:
    """Whoever answers every due frame is asked exactly every period."""
    busy, answers, asked = gate(), -1, []
    for frame in range(first * FRAME, first * FRAME + 40 * FRAME, FRAME):
        if busy.due(frame, answers):
            asked.append(frame)
            answers = frame
    assert asked == list(range(first * FRAME, first * FRAME + 40 * FRAME, PERIOD))


def test_silent_policy_is_waited_for_once() -> None:
    busy = gate()
    assert busy.due(FRAME, -1)
    busy.give_up(-1)
    assert not any(busy.due(frame, -1) for frame in range(2 * FRAME, 100 * FRAME, FRAME))
    assert not busy.due(100 * FRAME, 99 * FRAME)  # it is back: its answer counts
    assert busy.due(99 * FRAME + PERIOD, 99 * FRAME)


def test_new_instruction_forgives() -> None:
    busy = gate()
    busy.give_up(-1)
    busy.instruct("press the button", 10 * FRAME)
    assert busy.due(11 * FRAME, -1)
