"""Whatever chunks come, and when: the servo's target keeps every limit, goes where it is asked, never back in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chunk_streams import WAYS, Stream, Weather, stream, tool_way
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from servo_line import ServoLine

from vla_control.core.blend import Blender
from vla_control.core.chunk_buffer import ChunkBuffer, Steps
from vla_control.core.robot import RobotModel
from vla_control.core.strategies.registry import STRATEGIES
from vla_core.actions import ActionAlgebra
from vla_core.records import LIMITS
from vla_core.types import NS

SEEDS = st.integers(0, 2**31)
ONCE = (Phase.explicit, Phase.generate)  # nothing gets simpler with a smaller seed
ROBOTS, NAMES = sorted(WAYS), sorted(STRATEGIES)
_BACK = 3e-4  # [m or rad] smoothing leads so far beyond the end of a way, and back
_CAUGHT_UP = 4e-3  # the same, where the arm had stood still meanwhile
_MET = 2e-3  # [m or rad]


def _back(line: Stream) -> float:
    """How far the target ever was behind where it had been [m or rad]."""
    gone = line.gone()
    return float((np.maximum.accumulate(gone) - gone).max())


@pytest.mark.parametrize("strategy", NAMES)
@pytest.mark.parametrize("robot", ROBOTS)
@settings(max_examples=3, deadline=None, phases=ONCE)
@given(
    seed=SEEDS, late=st.sampled_from([0.0, 0.4, 1.3]), jump=st.sampled_from([0.0, 0.02, 0.08]),
    noise=st.sampled_from([0.0, 0.005]), stop=st.sampled_from([0.0, 0.01]), switch=st.sampled_from([0.0, 0.02]),
)  # fmt: skip
def test_the_target_keeps_every_limit_whatever_comes(
    robot: str, strategy: str, seed: int, late: float, jump: float, noise: float, stop: float, switch: float
) -> None:
    """Late, lost, doubled, out of order, contradictory; plans read late; stops, also where a bridge ends; switches."""
    weather = Weather(
        late=late, doubled=0.2, noise=noise, jump=jump, stop=stop, switch=switch, read_ms=(0, 5, 15, 25, 60), aimed=0.2
    )
    run = stream(robot, strategy, seed, weather)
    run.run(1300)
    assert run.finish() < _MET
    run.line.check_limits()


@pytest.mark.parametrize("strategy", NAMES)
@pytest.mark.parametrize("robot", ROBOTS)
@settings(max_examples=2, deadline=None, phases=ONCE)
@given(seed=SEEDS, late=st.sampled_from([0.1, 0.4]), lost=st.sampled_from([0.05, 0.3]))
def test_chunks_that_agree_are_followed_and_never_lead_backward(
    robot: str, strategy: str, seed: int, late: float, lost: float
) -> None:
    run = stream(robot, strategy, seed, Weather(late=late, lost=lost, doubled=0.1))
    run.run(2000)
    if not run.line.executor.waits:
        behind = run.behind()
        assert np.all(behind > -_MET), "nothing comes before its time"
        assert strategy == "long_short" or np.quantile(behind, 0.25) < _MET, "steps are taken when they are due"
    assert run.taken >= 2
    assert all("older than or as old as" in why for why in run.line.refused), "nothing else is wrong with them"
    assert run.finish() < _MET
    run.line.check_limits()
    assert _back(run) < _BACK


@pytest.mark.parametrize("robot", ROBOTS)
@settings(max_examples=6, deadline=None, phases=ONCE)
@given(seed=SEEDS, begin=st.sampled_from(NAMES))
def test_live_switches_never_lead_backward(robot: str, seed: int, begin: str) -> None:
    run = stream(robot, begin, seed, Weather(late=0.3, switch=0.02))
    run.strategies = NAMES + ["synchronous"] * 6
    run.run(2200)
    assert run.finish() < _MET
    run.line.check_limits()
    assert _back(run) < _CAUGHT_UP


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_chunk_that_ends_before_its_blend_could_is_followed(count: int) -> None:
    run = stream("panda", "naive_async", 0, Weather())
    assert run.hand_in(*run.answer())
    run.line.run(900)
    chunk, phase_s = run.answer()
    assert run.hand_in(replace(chunk, actions=chunk.actions[:count]), phase_s)
    run.line.run_to_rest()
    run.line.check_limits()
    assert _back(run) < _BACK


def test_a_plan_that_is_met_late_is_followed_from_where_it_is_met() -> None:
    """The bridge to a plan far away takes longer than a second; it goes on from where the bridge was aimed at."""
    way = tool_way()
    line = ServoLine(way.robot, way.contract, "naive_async", way.q_rad)
    line.run(5)
    t = np.linspace(0.0, 1.0, 301)[:, None]
    far, on = (np.array([0, 0, 0, 0, 0, 0, reach]) for reach in (-2.3, -0.9))
    q = way.q_rad + far + on * (10 * t**3 - 15 * t**4 + 6 * t**5)
    qd, qdd = on / 3.0 * (30 * t**2 - 60 * t**3 + 30 * t**4), on / 9.0 * (60 * t - 180 * t**2 + 120 * t**3)
    line.plan.store(q, qd, qdd, np.full((301, 1), 0.08), np.full((301, 1), 40.0), line.now_ns, 0.01)
    line.plan.sequence[0], line.plan.fresh_until_ns[0] = 1, line.plan.end_ns
    end_ns = line.plan.end_ns
    line.run(1200)
    assert line.target.current.end_ns > end_ns, "late"
    line.run(2500)
    line.check_limits()
    np.testing.assert_allclose(line.q, q[-1], atol=1e-9)


@pytest.mark.parametrize("strategy", [name for name in NAMES if name != "synchronous"])
@pytest.mark.parametrize(("robot", "late_steps"), [("panda", 8), ("aloha", 12)])
def test_regression_what_synchronous_executes_is_no_future_to_the_next_strategy(
    robot: str, late_steps: int, strategy: str
) -> None:
    """Its chunk began on arrival; the ensembles read it from its stamp on, ran ahead, fell back by 11 mm, 35 mrad."""
    run = stream(robot, "synchronous", 0, Weather())
    line, dt_ms = run.line, round(1e3 * run.way.contract.dt_s)
    for late_ms in (0, late_steps * dt_ms):
        line.run_to_rest()
        line.run(40)
        chunk, phase_s = run.answer()
        line.run(late_ms)
        assert run.hand_in(chunk, phase_s)
    line.run(3 * dt_ms)
    run.switch(strategy)
    chunk, phase_s = run.answer()
    line.run(dt_ms)
    assert run.hand_in(chunk, phase_s)
    line.run_to_rest()
    assert _back(run) < _BACK


def test_what_began_on_arrival_is_kept_as_it_is_executed_and_voids_what_was_said_before() -> None:
    run = stream("panda", "naive_async", 0, Weather())
    buffer = ChunkBuffer(ActionAlgebra(run.way.contract.action_names))
    dt_ns = round(run.way.contract.dt_s * NS)
    for begins_ns in (0, 6 * dt_ns):  # on time, 6 steps late
        chunk, _ = run.answer()
        buffer.add(chunk)
        buffer.execute(Steps(chunk.actions.astype(np.float64), chunk.stamp_ns + begins_ns), 9)
        said, known = buffer.predictions(chunk.stamp_ns + np.arange(20) * dt_ns)
        on_time = np.arange(20) - begins_ns // dt_ns
        assert len(said) == 1
        np.testing.assert_array_equal(known[0], True if not begins_ns else (on_time >= 0) & (on_time <= 8))
        np.testing.assert_allclose(said[0][known[0]], chunk.actions[on_time[known[0]]])


@pytest.mark.parametrize("robot", ROBOTS)
def test_regression_a_chunk_that_comes_after_the_end_of_another_is_no_overlap(robot: str) -> None:
    """It faded from where the other's steps, not their brake, had ended: a jump; sane chunks were slowed or refused."""
    run = stream(robot, "weighted_overlap", 0, Weather())
    for _ in range(2):
        assert run.hand_in(*run.answer())
        run.line.run_to_rest()
    assert run.finish() < _MET
    assert run.line.executor.state(run.line.now_ns).chunks_stretched == 0


def test_regression_a_picture_from_before_a_chunk_began_is_older_than_it() -> None:
    """Under synchronous the arm rested until its chunk came; aligned by its stamp, another answer to that ran ahead."""
    run = stream("panda", "synchronous", 0, Weather())
    first, phase_s = run.answer()
    run.line.run(200)
    second, _ = run.answer()
    run.line.run(10)
    assert run.hand_in(first, phase_s)
    run.line.run(100)
    run.line.executor.use("naive_async")
    assert not run.hand_in(second, phase_s) and "older than" in run.line.refused[-1]
    third, phase_s = run.answer()
    assert run.hand_in(third, phase_s)


def test_regression_a_picture_from_before_a_stop_was_taken_in_motion() -> None:
    """Released, the executor knew of no motion, and under synchronous stepped back to where the arm had been."""
    run = stream("panda", "synchronous", 0, Weather())
    chunk, phase_s = run.answer()
    assert run.hand_in(chunk, phase_s)
    run.line.run(200)
    run.line.executor.use("naive_async")  # whose policy answers pictures in motion
    late, late_phase_s = run.answer()
    run.line.executor.use("synchronous")
    run.line.run(100, stop=True)
    run.line.run(300)
    assert run.line.rests and not run.hand_in(late, late_phase_s)
    assert run.finish() < _MET
    assert _back(run) < _BACK


def test_regression_waiting_for_rest_means_the_rest_of_the_servo() -> None:
    """A target that keeps its tool's speed limit lags behind the plan; what was seen meanwhile led it back."""
    way = tool_way()
    slow = RobotModel(replace(way.robot.config, tool_speed_m_s=0.12))
    line = ServoLine(slow, way.contract, "synchronous", way.q_rad)
    line.run(5)
    run = Stream(way, line, Weather(), np.random.default_rng(0))
    run.run(200)
    seen = None
    while not line.rests:
        line.run(10)
        if seen is None and line.executor.at_rest(line.now_ns):
            seen = replace(run.answer()[0], actions=way.rows(way.phase(way.gone(line.q)) + 0.05 * np.arange(20)))
    assert seen is not None and line.acted == 1 << LIMITS.index("tool_speed")
    line.run(40)
    assert not line.accept(seen) and not line.refused
    assert run.finish() < _MET
    assert _back(run) < _BACK


def test_regression_an_arm_that_is_to_go_on_as_it_does_neither_twitches_nor_strays(robot: RobotModel) -> None:
    """Ruckig's joins led 1 mrad off a curve that the motion was on, and off a place where it was to stay."""
    rng, home = np.random.default_rng(0), robot.config.home_rad
    for size in 10.0 ** np.arange(-16, -3):
        for speed, acceleration, jerk in ((0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (0.3, -1.0, 30.0)):

            def target(t: float, v: float = speed, a: float = acceleration, j: float = jerk) -> tuple:
                one = np.ones(7)
                return home + v * t + a * t**2 / 2 + j * t**3 / 6, (v + a * t + j * t**2 / 2) * one, (a + j * t) * one

            noise = size * rng.uniform(-1, 1, (3, 7)) * [[1], [3], [30]]
            start = tuple(value + n for value, n in zip(target(0.0), noise, strict=True))
            segment, late_s = Blender(robot.config).join(start, target, 0.1, 0.5)
            times = np.linspace(0.0, segment.duration_s, 50)
            strays = np.abs(segment.sample(times)[0] - [target(t)[0] for t in times]).max()
            assert late_s == 0.0 and strays < 2.0 * size + 1e-12
