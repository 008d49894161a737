"""The base's commands with wheels as they are: feasible, and within jerk limits, whatever the targets and stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vla_control.core.base.config import BaseConfig
from vla_control.core.base.controller import BaseController
from vla_control.core.base.kinematics import BaseKinematics
from vla_control.core.robot import load_robot_config
from vla_core.types import NS, Float64

PERIOD_S, TIMEOUT_S = 0.02, 0.25
STOP_TICKS = 120
STOPPING = 1.02  # of what wheels and limits allow: a stop that comes while it turns to another twist doesn't wait
TICK_NS = round(PERIOD_S * NS)
twists = arrays.arrays(np.float64, 3, elements=st.floats(-4.0, 4.0))
#: targets, for how many ticks each holds, and whether the base is stopped meanwhile
errands = st.lists(st.tuples(twists, st.integers(1, 25), st.sampled_from([False, False, False, True])), max_size=6)


def base(robot: str, **changes: float) -> BaseConfig:
    config = load_robot_config(robot).base
    assert config is not None
    return replace(config, **changes)


#: As the robots are; a holonomic one whose wheels are slower than its limits on every axis.
BASES = {
    "holonomic": base("panda_mobile"),
    "differential": base("so101_mobile"),
    "differential, slow wheels": base("so101_mobile", wheel_speed_rad_s=7.0),
    "holonomic, slow wheels": base("panda_mobile", wheel_speed_rad_s=4.0),
}


def play(config: BaseConfig, targets: list[tuple[Float64, int, bool]]) -> Float64:
    """Commands (N,3) of all ticks, and then of a stop until rest."""
    controller, out, now_ns = BaseController(config, PERIOD_S, TIMEOUT_S), [np.zeros(3)] * 2, 0
    for target, ticks, stopped in [*targets, (np.zeros(3), STOP_TICKS, True)]:
        controller.stop() if stopped else controller.release()
        for _ in range(ticks):
            controller.follow(target * (config.velocity > 0), now_ns)
            out.append(controller.tick(now_ns).twist)
            now_ns += TICK_NS
    assert controller.at_rest
    return np.array(out)


def load(config: BaseConfig, out: Float64) -> float:
    """Of wheels and limits, by the wheels' own equations."""
    wheels = np.abs(out @ BaseKinematics(config).wheels.T).max() / config.wheel_speed_rad_s
    moves = config.velocity > 0
    assert not out[:, ~moves].any()
    return max(float(wheels), float(np.max(np.abs(out[:, moves]) / config.velocity[moves])))


def jerk(config: BaseConfig, out: Float64) -> tuple[float, float]:
    """Largest acceleration and jerk, of their limits."""
    moves = config.velocity > 0
    acceleration = np.diff(out[:, moves], axis=0) / PERIOD_S
    change = np.diff(acceleration, axis=0) / PERIOD_S
    return (
        float(np.max(np.abs(acceleration) / config.acceleration[moves])),
        float(np.max(np.abs(change) / config.jerk[moves])),
    )


@pytest.mark.parametrize("name", BASES)
@given(targets=errands)
@settings(max_examples=40, deadline=None)
def test_commands_are_feasible_and_within_acceleration_and_jerk_whatever_the_targets(
    name: str, targets: list[tuple[Float64, int, bool]]
) -> None:
    """Regression: what the wheels couldn't do was cut off behind the smoother, so the cut was a jerk."""
    config = BASES[name]
    out = play(config, targets)
    assert load(config, out) <= STOPPING
    assert max(jerk(config, out)) <= 1.0 + 1e-5
    moving = play(config, [(target, ticks, False) for target, ticks, _ in targets if target.any()])[:-STOP_TICKS]
    assert load(config, moving) <= 1.0 + 1e-6


@pytest.mark.parametrize("name", BASES)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_a_target_that_changes_with_every_tick_is_followed_within_the_limits(name: str, seed: int) -> None:
    """A policy at the base's own rate: a way is never finished before the next one begins."""
    config, rng = BASES[name], np.random.default_rng(seed)
    phase, rate, size = rng.uniform(0.0, 6.3, 3), rng.uniform(0.5, 3.0, 3), rng.uniform(0.3, 2.0, 3)
    wanted = [size * np.sin(rate * PERIOD_S * k + phase) for k in range(200)]
    out = play(config, [(twist, 1, False) for twist in wanted])
    assert load(config, out) <= STOPPING
    assert max(jerk(config, out)) <= 1.0 + 1e-5


def test_where_the_wheels_are_the_limit_they_turn_as_fast_as_they_can() -> None:
    """Feasible by being slow would be no art."""
    config = BASES["holonomic, slow wheels"]
    for twist in (np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.5]), np.array([0.0, -1.0, 2.0])):
        out = play(config, [(twist, 150, False)])
        assert load(config, out[:150]) == pytest.approx(1.0)
        np.testing.assert_allclose(np.cross(out[140], twist), 0.0, atol=1e-9)


@pytest.mark.parametrize("name", BASES)
@given(targets=errands)
@settings(max_examples=30, deadline=None)
def test_a_stop_begins_at_once_whatever_the_base_is_doing(name: str, targets: list[tuple[Float64, int, bool]]) -> None:
    """It is at rest no later than the slowest axis would be alone, from full speed and acceleration."""
    config = BASES[name]
    stop, moves = play(config, targets)[-STOP_TICKS:], config.velocity > 0
    v, a, j = (row[moves] for row in (config.velocity, config.acceleration, config.jerk))
    ticks = round((float(np.max(v / a + 3.0 * a / j))) / PERIOD_S)
    assert ticks < STOP_TICKS and np.abs(stop[ticks:]).max() < 1e-6
