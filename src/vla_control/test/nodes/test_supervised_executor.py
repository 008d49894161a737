"""The executor among its neighbours: stops, resets, instructions, restarts. Records are made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.supervised_executor import SupervisedExecutor
from vla_core.errors import ChunkError
from vla_core.records import MODES, STATE, STATUS

MS = 1_000_000
START = 1000 * MS


class Bench:
    """A supervised executor, and the records that robot and servo would write."""

    def __init__(self, robot, contract) -> None:
        self.executor = SupervisedExecutor(ChunkExecutor(robot, contract, ExecutorParameters.from_config()))
        self.home = robot.config.home_rad
        self.state, self.status = np.zeros(1, STATE), np.zeros(1, STATUS)
        self.state["stamp_ns"] = self.state["epoch_ns"] = START
        self.state["q"][0, :7], self.state["gripper_width"] = self.home, 0.04

    @property
    def now_ns(self) -> int:
        return int(self.state["stamp_ns"][0])

    def servo(self, mode: str, q=None) -> None:
        """The servo says something now."""
        self.status["stamp_ns"], self.status["mode"] = self.now_ns, MODES.index(mode)
        self.status["q_target"][0, :7] = self.home if q is None else q
        self.status["gripper_target"] = 0.04

    def later(self, ms: int, mode: str | None = "hold", q=None) -> bool:
        self.state["stamp_ns"] += ms * MS
        if mode is not None:
            self.servo(mode, q)
        return self.executor.follow(self.state, self.status)


@pytest.fixture
def bench(robot, contract) -> Bench:
    bench = Bench(robot, contract)
    bench.servo("hold")
    bench.status["stamp_ns"] = 0  # not there yet
    assert bench.executor.follow(bench.state, bench.status)
    return bench


def plan(bench: Bench) -> tuple[int, int, float]:
    """Sequence, number of knots, answered [ms since the start]."""
    record = bench.executor.record
    return int(record["sequence"][0]), int(record["count"][0]), (int(record["answers_ns"][0]) - START) / MS


def test_begins_with_a_hold_where_the_arm_is(bench) -> None:
    assert plan(bench)[:2] == (0, 1)
    assert np.array_equal(bench.executor.record["q"][0, 0, :7], bench.home)
    assert bench.executor.state().mode == "idle"


@pytest.mark.parametrize("field", ["q", "gripper_width"])
def test_regression_a_state_that_is_not_a_number_is_no_place_to_begin(robot, contract, make_chunk, field) -> None:
    """The plan held NaN, the servo took it over, and the torque was NaN until the next reset."""
    bench = Bench(robot, contract)
    bench.servo("hold")
    bench.status["stamp_ns"] = 0
    good = bench.state.copy()
    bench.state[field] = np.nan
    assert not bench.executor.follow(bench.state, bench.status)
    assert not bench.executor.ready and int(bench.executor.record["count"][0]) == 0
    assert bench.executor.state().mode == "idle"
    with pytest.raises(ChunkError, match="before the first good joint state"):
        bench.executor.accept(make_chunk(bench.now_ns))
    bench.state[:] = good
    assert bench.later(10, None)
    assert np.array_equal(bench.executor.record["q"][0, 0, :7], bench.home)
    bench.state["q"] = np.nan
    assert not bench.later(10, None)  # nor one to sag to
    bench.state["epoch_ns"] = bench.now_ns
    assert not bench.later(10, None)  # nor one to be reset to
    bench.state["q"] = good["q"] + 0.1
    assert bench.later(10, None)
    record = bench.executor.record
    assert np.isfinite(record["q"]).all() and int(record["start_ns"][0]) >= int(bench.state["epoch_ns"][0])


def test_regression_a_stop_does_not_end_at_a_target_that_is_not_a_number(bench) -> None:
    bench.later(100, "stop")
    assert not bench.later(50, "hold", np.full(7, np.nan))
    assert bench.executor.state().mode == "stopped"
    assert bench.later(50, "hold")
    assert np.array_equal(bench.executor.record["q"][0, 0, :7], bench.home)


def test_holds_where_the_arm_sags_until_there_is_a_servo(bench) -> None:
    assert not bench.later(10, None)
    bench.state["q"][0, 1] += 0.01
    assert bench.later(10, None)
    assert bench.executor.record["q"][0, 0, 1] == bench.state["q"][0, 1]
    bench.state["q"][0, 1] += 0.01
    assert not bench.later(10, "hold")  # the servo's target counts from now on


def test_an_accepted_chunk_becomes_the_plan(bench, make_chunk) -> None:
    bench.later(100)
    bench.executor.accept(make_chunk(bench.now_ns - 50 * MS, sequence=5))
    sequence, count, answered_ms = plan(bench)
    assert sequence == 5 and count > 20 and answered_ms == 50
    assert bench.executor.state().chunks_accepted == 1


def test_a_rejected_chunk_counts_as_answered_and_leaves_the_motion(bench, make_chunk) -> None:
    """Regression: a lockstep world waited for its policy timeout after every rejected chunk."""
    bench.later(100)
    bench.executor.accept(make_chunk(bench.now_ns, sequence=5))
    motion = bench.executor.record.copy()
    bench.later(100, "track")
    chunk = make_chunk(bench.now_ns, sequence=6)
    chunk.actions[3, 2] = np.nan
    with pytest.raises(ChunkError, match="aren't finite"):
        bench.executor.accept(chunk)
    state = bench.executor.state()
    assert (state.chunks_accepted, state.chunks_rejected) == (1, 1) and "aren't finite" in state.last_error
    assert plan(bench)[0] == 5 and plan(bench)[2] == 200
    motion["answers_ns"] = bench.executor.record["answers_ns"]
    assert motion == bench.executor.record
    assert state.answers_ns == START + 100 * MS  # what is executed still answers the old observation


def test_a_chunk_from_the_future_is_no_answer(bench, make_chunk) -> None:
    bench.later(100)
    with pytest.raises(ChunkError, match="ahead of now"):
        bench.executor.accept(make_chunk(bench.now_ns + 10_000 * MS))
    assert int(bench.executor.record["answers_ns"][0]) == 0


def test_stop_brakes_rejects_and_begins_anew_where_the_servo_stands(bench, make_chunk) -> None:
    bench.later(100)
    bench.executor.accept(make_chunk(bench.now_ns))
    bench.later(300, "track")
    assert bench.later(50, "stop")
    assert not bench.later(50, "stop")
    assert bench.executor.state().mode == "stopped"
    with pytest.raises(ChunkError, match="stopped"):
        bench.executor.accept(make_chunk(bench.now_ns))
    assert not bench.later(50, "track")  # released, but still braking
    held = bench.home + 0.02
    assert bench.later(50, "hold", held)
    assert np.array_equal(bench.executor.record["q"][0, 0, :7], held)
    assert bench.executor.state().mode == "idle"
    bench.later(50, "hold", held)
    bench.executor.accept(make_chunk(bench.now_ns, sequence=9))
    assert plan(bench)[0] == 9


def test_no_instruction_means_brake_then_hold_and_no_more_chunks(bench, make_chunk) -> None:
    executor = bench.executor
    assert not executor.instruct("pick up the mug")
    bench.later(100)
    executor.accept(make_chunk(bench.now_ns, lift_m=0.2, instruction="pick up the mug"))
    bench.later(300, "track")
    q, qd, _ = (bench.executor.sample().q_rad, bench.executor.sample().qd_rad_s, None)
    assert np.abs(qd).max() > 0.05
    assert executor.instruct("")
    assert executor.state().mode == "finishing"
    assert np.allclose(executor.sample().q_rad, q)  # no jump
    with pytest.raises(ChunkError, match="without an instruction"):
        executor.accept(make_chunk(bench.now_ns))
    executor.instruct("pick up the mug")
    with pytest.raises(ChunkError, match="comes to rest"):
        executor.accept(make_chunk(bench.now_ns, instruction="pick up the mug"))
    for _ in range(20):
        bench.later(50, "hold", q)
    assert executor.state().mode == "idle"
    executor.accept(make_chunk(bench.now_ns, sequence=3, instruction="pick up the mug"))
    assert plan(bench)[0] == 3


def test_a_chunk_of_a_withdrawn_task_is_rejected_under_the_next(bench, make_chunk) -> None:
    """Regression: an answer that was under way when the goal changed was executed for the new goal."""
    executor = bench.executor
    executor.instruct("pick up the mug")
    bench.later(100)
    executor.instruct("")
    executor.instruct("press the button")
    late = make_chunk(bench.now_ns, sequence=2, instruction="pick up the mug")
    with pytest.raises(ChunkError, match="answers 'pick up the mug' while the instruction is 'press the button'"):
        executor.accept(late)
    assert plan(bench) == (0, 1, 100.0), "not executed, but answered: a lockstep world goes on"
    assert executor.state().chunks_rejected == 1
    executor.accept(make_chunk(bench.now_ns, sequence=3, instruction="press the button"))
    assert plan(bench)[0] == 3


def test_a_replaced_instruction_brakes_though_the_empty_one_between_was_never_heard(bench, make_chunk) -> None:
    """Regression: of two messages back to back a latched topic of depth 1 keeps the second, and the arm went on."""
    executor = bench.executor
    executor.instruct("pick up the mug")
    bench.later(100)
    executor.accept(make_chunk(bench.now_ns, lift_m=0.2, instruction="pick up the mug"))
    bench.later(300, "track")
    assert not executor.instruct("pick up the mug"), "said again, for somebody who came late"
    assert executor.state().mode == "tracking"
    assert executor.instruct("press the button")
    assert executor.state().mode == "finishing"
    q = executor.sample().q_rad
    for _ in range(20):
        bench.later(50, "hold", q)
    executor.accept(make_chunk(bench.now_ns, sequence=3, instruction="press the button"))
    assert plan(bench)[0] == 3


def test_a_reset_of_the_world_voids_motion_and_answers(bench, make_chunk) -> None:
    bench.later(100)
    before_ns = bench.now_ns
    bench.executor.accept(make_chunk(before_ns))
    bench.state["q"][0, :7] = bench.home + 0.1
    bench.state["epoch_ns"] = bench.now_ns + 50 * MS
    assert bench.later(50, "track")
    record = bench.executor.record
    assert int(record["sequence"][0]) == int(record["answers_ns"][0]) == 0
    assert int(record["start_ns"][0]) >= int(bench.state["epoch_ns"][0])
    assert np.array_equal(record["q"][0, 0, :7], bench.home + 0.1)
    with pytest.raises(ChunkError, match="before the reset"):
        bench.executor.accept(make_chunk(before_ns))
    assert int(bench.executor.record["answers_ns"][0]) == 0


def test_a_simulator_that_was_restarted_has_an_older_clock(bench, make_chunk) -> None:
    bench.later(5000)
    bench.executor.accept(make_chunk(bench.now_ns))
    bench.state["stamp_ns"] = START
    assert bench.executor.follow(bench.state, bench.status)
    assert plan(bench)[0] == 0 and bench.executor.now_ns == START


def test_restarted_while_the_plan_of_the_killed_one_runs(robot, contract, make_chunk) -> None:
    """The servo takes a hold over at once, so it must not get one while the arm moves."""
    bench = Bench(robot, contract)
    assert not bench.later(500, "track")
    assert int(bench.executor.record["count"][0]) == 0
    with pytest.raises(ChunkError, match="comes to rest"):
        bench.executor.accept(make_chunk(bench.now_ns))
    assert int(bench.executor.record["count"][0]) == 0
    held = bench.home + 0.03
    assert bench.later(500, "hold", held)
    assert np.array_equal(bench.executor.record["q"][0, 0, :7], held)


def test_another_contract_is_rejected(bench, make_chunk) -> None:
    bench.later(100)
    with pytest.raises(ChunkError, match="contract 0123456789abcdef"):
        bench.executor.accept(replace(make_chunk(bench.now_ns), contract_hash="0123456789abcdef"))
