"""The watch: what stops, what warns, and what must not stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_control.core.monitor import SOURCES, Monitor, MonitorParameters
from vla_core.errors import ConfigError

S = 1_000_000_000
PARAMS = MonitorParameters(
    max_age_s=dict(zip(SOURCES, (0.1, 0.3, 1.0, 0.5, 0.2, 0.2), strict=True)),
    stop_on_stale=("joint_states", "servo"),
    confirm_s=0.1,
    tracking_error_m=0.1,
    tracking_error_rad=0.5,
    tracking_time_s=0.5,
    contact_force_n=60.0,
    contact_time_s=0.2,
    max_ahead_s=0.1,
    servo_timeout_s=0.5,
    hardware=("*temperature*", "*driver*"),
    hardware_timeout_s=5.0,
)


def seen(monitor: Monitor, at_s: float, *names: str) -> None:
    for name in names or SOURCES:
        monitor.seen(name, round(at_s * S))


def judge(monitor: Monitor, ros_s: float, wall_s: float):
    return monitor.evaluate(round(ros_s * S), round(wall_s * S))


def test_all_is_well() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    verdict = judge(monitor, 10.05, 0.0)
    assert not verdict.stopped and verdict.warnings == ()
    assert verdict.age_s == pytest.approx((0.05, 0.05, 0.0, 0.05, 0.05, 0.05))


def test_silent_joints_stop_the_robot_and_a_silent_camera_is_said() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    for at_s in (10.2, 10.4):
        seen(monitor, at_s, "control_state", "executor_state", "servo")
    judge(monitor, 10.4, 0.0)
    verdict = judge(monitor, 10.4, 0.11)
    assert verdict.stopped and verdict.cause == "joint_states is older than 0.1 s"
    assert verdict.warnings == ("observation is older than 0.3 s",)


def test_a_camera_at_a_tenth_of_its_rate_is_warned_about_all_the_time() -> None:
    """Every picture is fresh for 0.3 s of each 0.5 s: shorter breaks than `confirm_s` must not hide that."""
    monitor, frequent = Monitor(PARAMS), [name for name in SOURCES if name != "observation"]
    warned = []
    for k in range(200):  # 20 ms each
        at_s = 10.0 + 0.02 * k
        seen(monitor, at_s, *frequent)
        if k % 25 == 0:
            seen(monitor, at_s, "observation")
        verdict = judge(monitor, at_s, at_s)
        assert not verdict.stopped
        warned.append("observation is older than 0.3 s" in verdict.warnings)
    first = warned.index(True)
    assert 15 < first < 25 and all(warned[first:])
    for k in range(8):  # and at its full rate again
        seen(monitor, 14.0 + 0.05 * k)
        verdict = judge(monitor, 14.0 + 0.05 * k, 14.0 + 0.05 * k)
    assert verdict.warnings == ()


def test_a_stall_of_the_simulation_stops_nobody() -> None:
    """The simulated clock stands still while the policy thinks for a minute."""
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    for wall_s in range(60):
        assert not judge(monitor, 10.05, wall_s).stopped


def test_a_jump_of_the_simulated_clock_before_its_messages_stops_nobody() -> None:
    """/clock of a step may come before the joint states of the same step."""
    monitor = Monitor(PARAMS)
    for k in range(100):
        assert not judge(monitor, 10.0 + k, 0.05 * k).stopped  # clock first: everything looks a second old
        seen(monitor, 10.0 + k)
        assert not judge(monitor, 10.0 + k, 0.05 * k + 0.01).stopped


def test_never_seen_is_a_warning() -> None:
    monitor = Monitor(PARAMS)
    verdict = judge(monitor, 100.0, 100.0)
    assert not verdict.stopped
    assert set(verdict.age_s) == {-1.0}
    assert len(verdict.warnings) == len(SOURCES) - 1  # no task: no chunk is missed


def test_chunks_are_missed_only_while_there_is_a_task() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)

    def warned(at_s: float, wall_s: float) -> bool:
        seen(monitor, at_s, *[name for name in SOURCES if name != "action_chunk"])
        judge(monitor, at_s, wall_s)
        return "action_chunk is older than 1 s" in judge(monitor, at_s, wall_s + 0.2).warnings

    assert not warned(20.0, 0.0)
    monitor.instruction("pick up the mug", 20 * S)
    assert not warned(20.9, 1.0)
    assert warned(21.1, 2.0)
    seen(monitor, 21.0, "action_chunk")
    assert not warned(21.2, 3.0)
    monitor.instruction("", 22 * S)
    assert not warned(30.0, 4.0)


@pytest.mark.parametrize("name", ["tracking", "rotation", "contact"])
def test_divergence_and_contact_must_last(name: str) -> None:
    monitor = Monitor(PARAMS)
    report, over, limit_s = {
        "tracking": (lambda at_ns, error: monitor.tracking(at_ns, error, 0.0), 0.11, PARAMS.tracking_time_s),
        "rotation": (lambda at_ns, error: monitor.tracking(at_ns, 0.0, error), 0.51, PARAMS.tracking_time_s),
        "contact": (monitor.contact, 61.0, PARAMS.contact_time_s),
    }[name]
    report(10 * S, over)
    report(round((10 + 0.9 * limit_s) * S), over)
    judge(monitor, 10.0, 0.0)
    assert not judge(monitor, 10.0, 1.0).stopped
    report(round((10 + 0.95 * limit_s) * S), 0.0)  # an impact is over before that
    report(round((10 + 1.1 * limit_s) * S), over)
    judge(monitor, 10.0, 2.0)
    assert not judge(monitor, 10.0, 3.0).stopped
    report(round((10 + 2.2 * limit_s) * S), over)
    judge(monitor, 10.0, 4.0)
    assert {"rotation": "tracking"}.get(name, name) in judge(monitor, 10.0, 5.0).cause


def test_numbers_that_are_not_finite_stop_at_once() -> None:
    monitor = Monitor(PARAMS)
    monitor.numbers("joint_states", finite=True)
    assert not judge(monitor, 10.0, 0.0).stopped
    monitor.numbers("joint_states", finite=False)
    monitor.numbers("joint_states", finite=True)
    assert judge(monitor, 10.0, 0.0).cause == "joint_states holds numbers that aren't finite"


def test_release_is_refused_while_the_cause_stands() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    judge(monitor, 11.0, 0.0)
    assert judge(monitor, 11.0, 0.2).stopped
    assert "joint_states" in monitor.release()
    assert judge(monitor, 11.0, 0.3).stopped
    seen(monitor, 11.0)
    assert monitor.release() == ""
    assert not judge(monitor, 11.0, 0.4).stopped


def test_a_stop_stays_until_it_is_released() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    monitor.stop("stop service")
    monitor.stop("another")
    for k in range(10):
        seen(monitor, 10.0 + k)
        assert judge(monitor, 10.0 + k, k).cause == "stop service"


def test_begins_stopped_after_a_killed_predecessor() -> None:
    monitor = Monitor(PARAMS, "killed")
    assert judge(monitor, 10.0, 0.0).stopped
    assert monitor.release() == ""
    assert not judge(monitor, 10.0, 0.0).stopped


def test_a_clock_set_back_is_a_new_simulation() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 100.0)
    judge(monitor, 100.0, 0.0)
    seen(monitor, 1.0)
    judge(monitor, 1.0, 1.0)
    seen(monitor, 1.0)
    assert not judge(monitor, 1.05, 2.0).stopped
    judge(monitor, 2.0, 3.0)
    assert judge(monitor, 2.0, 4.0).stopped


def test_without_a_clock_the_robot_is_stopped_until_there_is_one() -> None:
    """Regression: with use_sim_time and no /clock every age was 0, so nothing was ever stale and nothing stopped."""
    monitor = Monitor(PARAMS)
    for k in range(10):
        seen(monitor, 1e9 + k)
        verdict = judge(monitor, 0.0, k)
        assert verdict.stopped and "ROS clock is 0" in verdict.cause and "use_sim_time:=false" in verdict.cause
    assert "ROS clock is 0" in monitor.release() and not monitor.latched
    monitor = Monitor(PARAMS)
    assert judge(monitor, 0.0, 0.0).stopped  # a simulation that starts: its first reading frees the robot
    seen(monitor, 1.0)
    assert not judge(monitor, 1.0, 5.0).stopped


@pytest.mark.parametrize("source", SOURCES)
def test_stamps_ahead_of_the_clock_stop_the_robot_by_name(source: str) -> None:
    """Regression: such a stamp counted as fresh for ever after."""
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    seen(monitor, 10.09, source)
    judge(monitor, 10.0, 0.0)
    assert not judge(monitor, 10.0, 1.0).stopped
    seen(monitor, 20.0, source)
    assert not judge(monitor, 10.0, 1.0).stopped
    verdict = judge(monitor, 10.0, 1.2)
    assert verdict.stopped and verdict.cause == f"{source} is stamped more than 0.1 s ahead of the ROS clock"
    assert source in monitor.release()
    seen(monitor, 10.0, source)  # the source's clock has been corrected
    assert monitor.release() == "" and not judge(monitor, 10.0, 1.3).stopped


def test_one_stamp_ahead_is_forgotten_with_the_next_message() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    judge(monitor, 10.0, 0.0)
    seen(monitor, 20.0, "joint_states")
    assert not judge(monitor, 10.0, 0.0).stopped
    seen(monitor, 10.0, "joint_states")
    assert not judge(monitor, 10.0, 0.5).stopped
    judge(monitor, 10.3, 1.0)
    assert "joint_states is older" in judge(monitor, 10.3, 1.5).cause


def test_a_servo_without_a_heartbeat_stops_the_robot_also_while_the_clock_stands_still() -> None:
    """Regression: a hung servo stops a simulated clock, so nothing aged, and the watch saw nothing."""
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    monitor.heartbeat(20 * S)
    judge(monitor, 10.0, 20.4)
    assert not judge(monitor, 10.0, 20.5).stopped
    assert not judge(monitor, 10.0, 20.6).stopped, "it must last, like every finding"
    assert judge(monitor, 10.0, 20.71).cause == "the servo has not ticked for 0.5 s"
    assert "the servo has not ticked" in monitor.release()
    monitor.heartbeat(22 * S)
    judge(monitor, 10.0, 22.1)
    assert monitor.release() == "" and not judge(monitor, 10.0, 22.2).stopped


def test_a_servo_in_lockstep_may_wait_for_minutes() -> None:
    monitor = Monitor(replace(PARAMS, servo_timeout_s=0.0))
    monitor.heartbeat(20 * S)
    seen(monitor, 10.0)
    assert not any(judge(monitor, 10.05, 20.0 + k).stopped for k in range(120))


def test_an_error_of_the_hardware_stops_and_stands_until_it_is_over() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    monitor.diagnostic("panda: joint temperatures", 2, "joint 4 at 91 °C", 20 * S)
    monitor.diagnostic("panda: joint temperatures", 2, "joint 4 at 92 °C", 21 * S)
    assert judge(monitor, 10.0, 21.0).cause == "panda: joint temperatures: joint 4 at 91 °C"
    assert "joint 4" in monitor.release()
    monitor.diagnostic("panda: joint temperatures", 0, "", 22 * S)
    assert monitor.release() == "" and not judge(monitor, 10.0, 22.0).stopped


@pytest.mark.parametrize(
    ("level", "message", "warning"),
    [(1, "joint 4 at 81 °C", "Arm Driver: joint 4 at 81 °C"), (3, "no reading", "Arm Driver is stale: no reading")],
)
def test_a_warning_of_the_hardware_is_said_and_stops_nobody(level: int, message: str, warning: str) -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    monitor.diagnostic("Arm Driver", level, message, 20 * S)
    verdict = judge(monitor, 10.0, 20.0)
    assert verdict.warnings == verdict.events == (warning,) and not verdict.stopped


def test_hardware_that_falls_silent_is_missed_and_its_error_stands() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    monitor.diagnostic("arm driver", 2, "bus lost", 20 * S)
    assert judge(monitor, 10.0, 26.0).events == ("arm driver: no diagnostics for 5 s",)
    assert "bus lost" in monitor.release()


def test_diagnostics_of_others_are_passed_over() -> None:
    monitor = Monitor(PARAMS)
    seen(monitor, 10.0)
    monitor.diagnostic("observation_node: front", 2, "rejected", 20 * S)
    verdict = judge(monitor, 10.0, 30.0)
    assert not verdict.stopped and verdict.warnings == ()


def test_what_was_never_seen_is_no_event() -> None:
    verdict = judge(Monitor(PARAMS), 10.0, 0.0)
    assert verdict.warnings and verdict.events == ()


def test_unknown_source_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="joint_state'"):
        replace(PARAMS, stop_on_stale=("joint_state",))


@given(st.lists(st.tuples(st.sampled_from(["stop", "stale", "fresh", "force"]), st.integers(1, 400)), max_size=30))
def test_nothing_but_release_ends_a_stop(events: list[tuple[str, int]]) -> None:
    monitor, now_ns, stopped = Monitor(PARAMS), 10 * S, False
    for kind, step_ms in events:
        now_ns += step_ms * 1_000_000
        if kind == "stop":
            monitor.stop("test")
        elif kind == "fresh":
            seen(monitor, now_ns / S)
        elif kind == "force":
            monitor.contact(now_ns, 100.0)
        verdict = monitor.evaluate(now_ns, now_ns)
        assert verdict.stopped or not stopped
        stopped = verdict.stopped
