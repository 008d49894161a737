"""States that the servo misses for some milliseconds: what the arm feels doesn't change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vla_control.core.robot import RobotModel

MS = 1_000_000


@pytest.mark.parametrize("missed", [0, 5, 15])
def test_regression_a_motion_in_free_air_is_no_force_where_states_are_missed(
    robot: RobotModel, make_rig: Callable, missed: int
) -> None:
    """The observer took every step of the states for one period: it felt 20 N when 15 ms at a time were missed, and
    more than the 80 N that stop the arm on a machine that was busy for longer."""
    rig, count, dt_s = make_rig(), 201, 0.01
    w, t = np.pi, dt_s * np.arange(count)[:, None]
    s, c = np.sin(w * t), np.cos(w * t)
    rig.run(20)
    rig.plan["q"][0, :count, :7] = robot.config.home_rad + 0.1 * s**3  # every joint sways, from rest to rest
    rig.plan["qd"][0, :count, :7] = 0.3 * w * s**2 * c
    rig.plan["qdd"][0, :count, :7] = 0.3 * w * w * (2 * s * c**2 - s**3)
    rig.plan["gripper_width"], rig.plan["sequence"], rig.plan["count"], rig.plan["knot_dt_s"] = 0.04, 1, count, dt_s
    rig.plan["start_ns"], rig.plan["fresh_until_ns"] = rig.now_ns, rig.now_ns + 2000 * MS
    while len(rig.log) < 1900:
        rig.run(20)
        rig.deaf = True
        rig.run(missed)
        rig.deaf = False
    assert rig.acted("stale_state") == 0
    assert np.abs(rig.column("qd")).max() > 0.2
    assert np.linalg.norm(rig.column("wrench")[:, :3], axis=1).max() < 1.0


def test_a_push_is_felt_alike_where_states_are_missed(make_rig: Callable) -> None:
    rig = make_rig()
    rig.run(100)
    rig.push_n = np.array([0.0, 8.0, -5.0])
    while len(rig.log) < 900:
        rig.run(20)
        rig.deaf = True
        rig.run(15)
        rig.deaf = False
    rig.run(1)
    np.testing.assert_allclose(rig.log[-1]["wrench"][0, :3], rig.push_n, atol=0.3)
