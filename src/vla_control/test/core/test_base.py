"""The base: limits whatever the targets, curvature, watchdog and stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vla_control.core.base.config import BaseConfig, parse_base
from vla_control.core.base.controller import BaseController, BaseTargetError
from vla_control.core.base.kinematics import BaseKinematics
from vla_control.core.robot import load_robot_config
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import config_path, load_yaml
from vla_core.types import NS, Float64

PERIOD_S, TIMEOUT_S = 0.02, 0.25
TICK_NS = round(PERIOD_S * NS)
twists = arrays.arrays(np.float64, 3, elements=st.floats(-4.0, 4.0))


def holonomic() -> BaseConfig:
    base = load_robot_config("panda_mobile").base
    assert base is not None
    return base


def differential() -> BaseConfig:
    base, ahead = holonomic(), np.array([1.0, 0.0, 1.0])
    limits = {key: getattr(base, key) * ahead for key in ("velocity", "acceleration", "jerk")}
    return replace(base, drive="differential", wheelbase_m=0.0, **limits)


BASES = {"holonomic": holonomic, "differential": differential}


def controller(config: BaseConfig) -> BaseController:
    return BaseController(config, PERIOD_S, TIMEOUT_S)


def play(base: BaseController, targets: list[Float64], hold: int = 1) -> tuple[Float64, list[str]]:
    """Commands (N,3) and modes: each target is given again at every tick, for `hold` ticks."""
    out, modes, now_ns = [], [], 0
    for target in targets:
        for _ in range(hold):
            base.follow(target, now_ns)
            command = base.tick(now_ns)
            out.append(command.twist)
            modes.append(command.mode)
            now_ns += TICK_NS
    return np.array(out), modes


@pytest.mark.parametrize("drive", BASES)
@given(twist=twists)
@settings(max_examples=50, deadline=None)
def test_a_twist_that_is_too_fast_keeps_its_curvature(drive: str, twist: Float64) -> None:
    config = BASES[drive]()
    twist = twist * (config.velocity > 0)
    kinematics = BaseKinematics(config)
    slowed = kinematics.feasible(twist)
    assert np.all(np.abs(slowed) <= config.velocity + 1e-12)
    assert np.all(np.abs(kinematics.wheels @ slowed) <= config.wheel_speed_rad_s + 1e-9)
    np.testing.assert_allclose(np.cross(slowed, twist), 0.0, atol=1e-9)
    assert slowed @ twist >= 0.0
    np.testing.assert_allclose(kinematics.feasible(slowed), slowed, atol=1e-12)


@pytest.mark.parametrize("drive", BASES)
@given(twist=twists)
@settings(max_examples=20, deadline=None)
def test_wheels_that_roll_so_move_the_base_so(drive: str, twist: Float64) -> None:
    """Least squares over the wheels, which is what odometry does, gives the twist back."""
    config = BASES[drive]()
    twist = twist * (config.velocity > 0)
    wheels = BaseKinematics(config).wheels
    np.testing.assert_allclose(np.linalg.pinv(wheels) @ (wheels @ twist), twist, atol=1e-9)


def test_wheel_speeds_of_known_motions() -> None:
    left, right = BaseKinematics(differential()).wheels @ np.array([0.0, 0.0, 1.0])
    assert (left, right) == (pytest.approx(-2.25), pytest.approx(2.25))  # track 0.45 m, radius 0.1 m
    np.testing.assert_allclose(BaseKinematics(holonomic()).wheels @ np.array([0.3, 0.0, 0.0]), 3.0)
    np.testing.assert_allclose(BaseKinematics(holonomic()).wheels @ np.array([0.0, 0.3, 0.0]), [-3, 3, 3, -3])


@pytest.mark.parametrize("drive", BASES)
@given(targets=st.lists(twists, min_size=1, max_size=8), hold=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_no_limit_is_broken_whatever_the_targets(drive: str, targets: list[Float64], hold: int) -> None:
    config = BASES[drive]()
    out, _ = play(controller(config), [t * (config.velocity > 0) for t in targets], hold)
    assert np.all(np.abs(out) <= config.velocity + 1e-9)
    acceleration = np.diff(out, axis=0, prepend=0.0) / PERIOD_S
    assert np.all(np.abs(acceleration) <= config.acceleration * (1 + 1e-6) + 1e-9)


@given(targets=st.lists(twists, min_size=1, max_size=6), hold=st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_jerk_is_limited_where_the_wheels_do_not_limit_the_speed(targets: list[Float64], hold: int) -> None:
    config = replace(holonomic(), wheel_speed_rad_s=100.0)
    out, _ = play(controller(config), targets, hold)
    acceleration = np.diff(out, axis=0, prepend=0.0) / PERIOD_S
    assert np.all(np.abs(np.diff(acceleration, axis=0)) <= config.jerk * PERIOD_S * (1 + 1e-6) + 1e-9)


@given(twist=twists)
@settings(max_examples=30, deadline=None)
def test_from_rest_the_base_sets_out_on_the_curve_that_was_asked_for(twist: Float64) -> None:
    config = holonomic()
    wanted = BaseKinematics(config).feasible(twist)
    out, _ = play(controller(config), [twist], 100)
    np.testing.assert_allclose(np.cross(out, wanted), 0.0, atol=1e-9)
    np.testing.assert_allclose(out[-1], wanted, atol=1e-6)


def test_without_targets_the_base_comes_to_rest() -> None:
    config = holonomic()
    base = controller(config)
    out, _ = play(base, [np.array([0.8, 0.0, 0.0])], 100)
    assert out[-1][0] == pytest.approx(0.8)
    after = [base.tick((100 + k) * TICK_NS) for k in range(150)]
    modes = [command.mode for command in after]
    assert modes[0] == "track" and modes.index("timeout") == round(TIMEOUT_S / PERIOD_S) and modes[-1] == "hold"
    speeds = np.array([command.twist[0] for command in after])
    assert np.all(np.diff(speeds) <= 1e-9) and speeds[-1] == pytest.approx(0.0, abs=1e-9)
    assert np.abs(np.diff(speeds)).max() <= config.acceleration[0] * PERIOD_S * (1 + 1e-6)


def test_a_stop_lasts_and_what_was_wanted_before_it_is_not_resumed() -> None:
    base = controller(holonomic())
    play(base, [np.array([0.5, 0.2, 0.3])], 100)
    base.stop()
    out, modes = play(base, [np.array([0.5, 0.2, 0.3])], 150)
    assert set(modes) == {"stop"} and np.abs(out[-1]).max() < 1e-9
    base.release()
    assert base.tick(250 * TICK_NS).mode == "hold"
    base.follow(np.array([0.1, 0.0, 0.0]), 251 * TICK_NS)
    assert base.tick(251 * TICK_NS).mode == "track"


def test_a_tick_that_comes_late_does_not_make_a_jump() -> None:
    config = holonomic()
    base = controller(config)
    play(base, [np.zeros(3)], 3)
    base.follow(np.array([0.8, 0.0, 0.0]), 2 * NS)
    assert base.tick(2 * NS).twist[0] <= 0.5 * config.jerk[0] * (3 * PERIOD_S) ** 2 + 1e-9


@pytest.mark.parametrize("bad", [[np.nan, 0.0, 0.0], [0.0, 0.0, np.inf], [0.1, 0.1, 0.0]])
def test_a_target_that_cannot_be_followed_is_refused_and_the_last_one_goes_on(bad: list[float]) -> None:
    base = controller(differential())
    play(base, [np.array([0.3, 0.0, 0.0])], 100)
    with pytest.raises(BaseTargetError, match=r"got .*; expected .*; fix: "):
        base.follow(np.array(bad), 100 * TICK_NS)
    assert base.tick(100 * TICK_NS).twist[0] == pytest.approx(0.3)


def test_a_base_section_that_is_wrong_is_refused() -> None:
    path = config_path("robots", "panda_mobile")
    good = load_yaml(path)["base"]
    with pytest.raises(UnknownNameError, match="drive 'tracks'; expected one of: differential, holonomic"):
        parse_base({**good, "drive": "tracks"}, path)
    with pytest.raises(ConfigError, match=r"limits for \['vx', 'vy', 'wz'\]; expected those of \['vx', 'wz'\]"):
        parse_base({**good, "drive": "differential"}, path)
    with pytest.raises(ConfigError, match="sizes > 0"):
        parse_base({**good, "wheel_radius_m": 0.0}, path)
    limits = {**good["limits"], "jerk": {**good["limits"]["jerk"], "wz": -1.0}}
    with pytest.raises(ConfigError, match="numbers > 0"):
        parse_base({**good, "limits": limits}, path)
