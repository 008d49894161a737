"""Limits in the tick: no motion whatever gets past one, and the one that acts is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.guard import Guard
from vla_control.core.knots import Knots
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_control.core.target import _OWN_BRIDGE, Target
from vla_core.records import LIMITS, MODES
from vla_core.types import Float64

MS = 1_000_000
_KNOT_S = 0.01


def _named(bits: int) -> set[str]:
    return {name for bit, name in enumerate(LIMITS) if bits >> bit & 1}


class _Run:
    """A Target alone, at 1 kHz."""

    def __init__(self, robot: RobotModel, q: Float64) -> None:
        self.robot = robot
        self.q, self.qd, self.qdd = np.zeros((3, 7))
        self.width_m = np.zeros(1)
        self.target = Target(robot, 1e-3, 0.02, self.q, self.qd, self.qdd, self.width_m)
        self.plan, self.now_ns = Knots(), MS
        self.target.start(q, np.full(1, 0.04), MS)
        self.motion: list[Float64] = []
        self.names: set[str] = set()

    def follow(self, q: Float64, qd: Float64, qdd: Float64) -> None:
        """A plan (K,7) that begins now."""
        width_m, force_n = np.full((2, len(q), 1), [[[0.04]], [[40.0]]])
        self.plan.store(q, qd, qdd, width_m, force_n, self.now_ns, _KNOT_S)
        self.plan.sequence[0] += 1
        self.plan.fresh_until_ns[0] = self.plan.end_ns

    def run(self, ticks: int, stop: bool = False) -> None:
        for _ in range(ticks):
            self.now_ns += MS
            self.target.follow(self.plan, self.now_ns, stop, False, self.q)
            self.names |= _named(self.target.acting)
            self.motion.append(np.stack([self.q, self.qd, self.qdd]))

    def run_to_rest(self) -> None:
        self.run(500)
        while self.target.mode == MODES.index("track") or self.qd.any():
            assert len(self.motion) < 30_000
            self.run(500)

    @property
    def arrays(self) -> tuple[Float64, Float64, Float64]:
        q, qd, qdd = np.stack(self.motion, axis=1)
        return q, qd, qdd

    def check_smooth(self, step_rad: float = 2e-6) -> None:
        """Position, velocity and acceleration fit together, and keep the joint limits."""
        q, qd, qdd = self.arrays
        config = self.robot.config
        np.testing.assert_allclose(np.diff(q, axis=0), 5e-4 * (qd[1:] + qd[:-1]), atol=step_rad)
        np.testing.assert_allclose(np.diff(qd, axis=0), 5e-4 * (qdd[1:] + qdd[:-1]), atol=2e-3)
        assert np.all(np.abs(qd) <= 1.001 * config.velocity_rad_s)
        assert np.all(np.abs(qdd) <= 1.01 * config.acceleration_rad_s2)
        assert np.abs(np.diff(qdd, axis=0)).max() < 1.02e-3 * config.jerk_rad_s3.max()


def _swing(start: Float64, reach: Float64, time_s: float, count: int = 400) -> tuple[Float64, Float64, Float64]:
    """Minimum-jerk knots from start to start + reach (7,) in `time_s`, after 0.1 s of rest, then rest."""
    t = np.clip((_KNOT_S * np.arange(count) - 0.1) / time_s, 0.0, 1.0)[:, None]
    q = start + reach * (10 * t**3 - 15 * t**4 + 6 * t**5)
    qd = reach / time_s * (30 * t**2 - 60 * t**3 + 30 * t**4)
    return q, qd, reach / time_s**2 * (60 * t - 180 * t**2 + 120 * t**3)


def _fastest(config: object, reach: Float64) -> float:
    """Time in which `_swing` stays within 0.9 of velocity and acceleration limits and half the jerk limit."""
    size = np.abs(reach)
    return float(
        max(
            np.max(1.875 * size / (0.9 * config.velocity_rad_s)),  # type: ignore[attr-defined]
            np.max(np.sqrt(5.78 * size / (0.9 * config.acceleration_rad_s2))),  # type: ignore[attr-defined]
            np.max(np.cbrt(60.0 * size / (0.5 * config.jerk_rad_s3))),  # type: ignore[attr-defined]
        )
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_motion_gets_closer_than_the_clearance_and_every_brake_keeps_the_limits(
    robot: RobotModel, seed: int
) -> None:
    rng, config = np.random.default_rng(seed), robot.config
    guard = Guard(robot)

    def room(q: Float64) -> float:
        tool = robot.tool_pose(q)[0]
        return float(min(np.min(tool - config.workspace_min_m), np.min(config.workspace_max_m - tool)))

    while True:
        start, end = rng.uniform(config.position_min_rad, config.position_max_rad, (2, 7))
        own, scene = guard.distances(start)
        if own > config.self_clearance_m and scene > config.scene_clearance_m and room(start) > 0:
            break
    reach = min(1.0, 3.3 / _fastest(config, end - start)) * (end - start)
    end = start + reach
    run = _Run(robot, start)
    run.run(2)
    run.follow(*_swing(start, reach, _fastest(config, reach)))
    run.run_to_rest()
    run.check_smooth()
    path = run.arrays[0][::5]
    own, scene = np.min([guard.distances(q) for q in path], axis=0)
    nearest = min(room(q) for q in path)
    # one tick passes between the look and the brake
    assert own > config.self_clearance_m - 0.005
    assert scene > config.scene_clearance_m - 0.005
    assert nearest > -0.005
    at_end, ended = guard.distances(end), run.names & {"workspace", "self_collision", "scene_collision"}
    if min(at_end) < 0.0 or room(end) < -0.01:
        assert ended and not run.qd.any()
    if not ended and not run.names:
        np.testing.assert_allclose(run.q, end, atol=1e-9)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        ([0.0, 0.95, 0.0, -2.35, 0.0, 1.2, 0.785], "scene_collision"),
        ([0.0, -0.35, 0.0, -2.95, 0.0, 0.2, 0.785], "self_collision"),
        ([1.5, 0.5, 0.0, -1.2, 0.0, 2.0, 0.785], "workspace"),
    ],
)
def test_the_limit_that_brakes_is_named_and_a_new_plan_leads_away(
    robot: RobotModel, end: list[float], name: str
) -> None:
    run = _Run(robot, robot.config.home_rad)
    run.run(2)
    reach = np.array(end) - robot.config.home_rad
    run.follow(*_swing(robot.config.home_rad, reach, max(2.0, _fastest(robot.config, reach))))
    run.run(2500)
    assert run.names == {name}
    assert not run.qd.any() and np.abs(run.q - end).max() > 0.02
    assert run.target.mode == MODES.index("hold")  # at rest, and free for another plan
    rest = run.q.copy()
    run.follow(*_swing(rest, robot.config.home_rad - rest, 2.0))
    run.run(2200)
    np.testing.assert_allclose(run.q, robot.config.home_rad, atol=1e-9)
    run.check_smooth()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), limit=st.floats(0.15, 0.6))
def test_the_tool_keeps_its_speed_limit_on_the_way_that_was_planned(robot: RobotModel, seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    config = replace(
        robot.config, tool_speed_m_s=limit, workspace_min_m=np.full(3, -9.0), workspace_max_m=np.full(3, 9.0),
        obstacles=(), self_clearance_m=-9.0,
    )  # fmt: skip
    arm = RobotModel(config)
    start = config.home_rad + rng.uniform(-0.2, 0.2, 7)
    reach = rng.uniform(-0.8, 0.8, 7)
    end = np.clip(start + reach, config.position_min_rad, config.position_max_rad)
    reach = end - start
    time_s = 1.5 * _fastest(config, reach)
    run = _Run(arm, start)
    run.run(2)
    run.follow(*_swing(start, reach, time_s))
    run.run_to_rest()
    q, qd, _ = run.arrays
    speed = np.array([np.linalg.norm(arm.jacobian(a)[:3] @ b) for a, b in zip(q[::10], qd[::10], strict=True)])
    planned = _swing(start, reach, time_s)
    fastest = max(np.linalg.norm(arm.jacobian(a)[:3] @ b) for a, b in zip(planned[0], planned[1], strict=True))
    assert speed.max() <= 1.02 * limit
    run.check_smooth()
    np.testing.assert_allclose(q[-1], end, atol=1e-6)
    # still on the way: every point lies on the straight line in joint space
    share = (q - start) @ reach / (reach @ reach)
    np.testing.assert_allclose(q, start + share[:, None] * reach, atol=1e-6)
    assert run.names == ({"tool_speed"} if fastest > 0.98 * limit else set())


def test_the_tool_keeps_its_speed_limit_while_an_executor_that_does_not_know_of_it_goes_on_planning(
    robot: RobotModel,
) -> None:
    """Every new plan is ahead of the slower target. The bridge that catches up may cost a fifth, for a moment."""
    limit = 0.3
    arm = RobotModel(replace(robot.config, tool_speed_m_s=limit))
    home, reach = robot.config.home_rad, np.array([0.9, 0.1, -0.2, 0.2, 0.0, 0.1, 0.5])
    run = _Run(arm, home)
    run.run(2)
    run.follow(*_swing(home, reach, 1.5))
    for _ in range(40):
        run.run(50)
        run.plan.sequence[0] += 1
    run.run_to_rest()
    q, qd, _ = run.arrays
    speed = np.array([np.linalg.norm(arm.jacobian(a)[:3] @ b) for a, b in zip(q[::5], qd[::5], strict=True)])
    assert speed.max() <= 1.2 * limit
    assert np.mean(speed > 1.05 * limit) < 0.1
    assert "tool_speed" in run.names
    run.check_smooth(1.2e-5)  # up to 1e-5 rad a plan continues the target, and no bridge is made
    np.testing.assert_allclose(run.q, home + reach, atol=1e-6)


@pytest.mark.parametrize("then", ["stop", "plan"])
def test_regression_what_comes_in_the_tick_in_which_a_bridge_ends_finds_the_motion_and_no_rest(
    robot: RobotModel, then: str
) -> None:
    """Past its end a bridge rests: a stop, or a plan, that came just then began from there, with a jerk of 600,000."""
    start, reach = robot.config.home_rad, np.array([0.5, 0.2, 0.1, 0.1, 0.2, 0.1, 0.3])

    def bridged(ticks: int) -> _Run:
        """So many ticks after a plan that lies beside the motion."""
        run = _Run(robot, start)
        run.run(2)
        run.follow(*_swing(start, reach, 1.2))
        run.run(400)
        q, qd, qdd = _swing(start, reach, 1.2)
        run.follow(q[40:] + 0.02, qd[40:], qdd[40:])
        run.run(ticks)
        return run

    run, ends = bridged(1), 1
    while run.target._use == _OWN_BRIDGE:
        run.run(1)
        ends += 1
    assert 50 <= ends < 1000 and np.abs(run.qd).max() > 0.1, "it ends in motion"
    for ticks in range(ends - 3, ends + 3):
        run = bridged(ticks)
        if then == "plan":
            q, qd, qdd = _swing(start, reach, 1.2)
            since = 40 + round((ticks + 1) / 10)
            run.follow(q[since:] + 0.01, qd[since:], qdd[since:])
        run.run(300, stop=then == "stop")
        run.check_smooth(1.2e-5)


def test_ticks_of_any_length_lead_through_the_plan_at_the_same_pace(robot: RobotModel) -> None:
    """A servo that misses every other tick must not fall behind for that."""
    arm, ends = RobotModel(replace(robot.config, tool_speed_m_s=0.2)), []
    for step in (1, 2):
        run = _Run(arm, robot.config.home_rad)
        run.run(2)
        run.follow(*_swing(robot.config.home_rad, np.array([0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.0))
        for _ in range(0, 1400, step):
            run.now_ns += (step - 1) * MS
            run.run(1)
        ends.append(run.q.copy())
    np.testing.assert_allclose(ends[0], ends[1], atol=5e-4)


def test_a_plan_beyond_the_joint_limits_is_slowed_down_and_named(robot: RobotModel) -> None:
    config = replace(robot.config, tool_speed_m_s=9.0)
    arm = RobotModel(config)
    reach = np.array([0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    run = _Run(arm, config.home_rad)
    run.run(2)
    run.follow(*_swing(config.home_rad, reach, 0.5))  # 3.0 rad/s where 2.175 is allowed, and 23 rad/s^2 of 15
    run.run(2500)
    _, qd, _ = run.arrays
    assert np.all(np.abs(qd) <= 1.02 * config.velocity_rad_s)
    assert {"joint_velocity", "joint_acceleration"} <= run.names
    np.testing.assert_allclose(run.q, config.home_rad + reach, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), at=st.integers(50, 500))
def test_a_stop_from_any_speed_keeps_the_braking_limits(robot: RobotModel, seed: int, at: int) -> None:
    rng, config = np.random.default_rng(seed), robot.config
    start = config.home_rad
    end = rng.uniform(config.position_min_rad, config.position_max_rad)
    run = _Run(robot, start)
    run.run(2)
    run.follow(*_swing(start, end - start, _fastest(config, end - start)))
    run.run(at)
    run.run(700, stop=True)
    run.check_smooth()
    assert not run.qd.any()


def test_an_external_force_above_its_limit_stops_the_arm_and_is_named(robot: RobotModel, make_rig: Callable) -> None:
    rig = make_rig()
    rig.servo = ServoCore(RobotModel(replace(robot.config, contact_force_n=15.0)), ServoParameters.from_config())
    rig.run(20)
    plan, count = rig.plan, 400
    reach = np.array([0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    for name, value in zip(("q", "qd", "qdd"), _swing(robot.config.home_rad, reach, 2.0, count), strict=True):
        plan[name][0, :count, :7] = value
    plan["gripper_width"], plan["sequence"], plan["count"], plan["knot_dt_s"] = 0.04, 1, count, _KNOT_S
    plan["start_ns"], plan["fresh_until_ns"] = rig.now_ns, rig.now_ns + 2000 * MS
    rig.run(800)
    assert rig.acted("contact_force") == 0 and np.abs(rig.log[-1]["qd_target"]).max() > 0.1
    rig.push_n = np.array([0.0, -25.0, 0.0])
    rig.run(400)
    assert rig.acted("contact_force") > 100 and int(rig.log[-1]["mode"][0]) == MODES.index("stop")
    assert not rig.log[-1]["qd_target"].any()
    rig.push_n = np.zeros(3)
    rig.run(600)
    assert int(rig.log[-1]["mode"][0]) == MODES.index("hold")
    rig.push_n, before = np.array([0.0, -40.0, 0.0]), len(rig.log)
    rig.run(30)  # a blow
    rig.push_n = np.zeros(3)
    rig.run(400)
    stopped = np.count_nonzero(rig.column("mode", before) == MODES.index("stop"))
    assert stopped >= 100, "a stop lasts longer than the executor looks away"
    assert np.abs(np.diff(rig.column("qdd_target"), axis=0)).max() < 1.02e-3 * robot.config.jerk_rad_s3.max()
