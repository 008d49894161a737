"""Rows that continue a motion which was planned in error."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.contract import load_contract
from vla_policy.core.drawing.future_state import Gripper
from vla_policy.training.disturbed_rows import DisturbedRows, astray, behind, other_gripper
from vla_policy.training.future_rows import FutureRows

CONTRACT = load_contract("tabletop_panda")
FUTURE = FutureRows(CONTRACT, Gripper(open_m=0.08, opening_m_s=0.20, closing_m_s=0.16), 10)
ROWS = DisturbedRows(FUTURE, 14, 0.012, 4)


def chunks(count: int) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, CONTRACT.horizon)[None, :, None]
    out = np.repeat(np.repeat(ramp, count, 0), 7, 2).astype(np.float32)
    out[..., 6] = np.where(ramp[..., 0] > 0.5, -1.0, 1.0)
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 14))
def test_it_goes_astray_smoothly_and_comes_back(until: int) -> None:
    share = astray(np.full(1, until), 20)[0]
    np.testing.assert_allclose(share[until + 5 :], 0.0, atol=1e-9)
    if until == 0:
        assert not share.any()
        return
    assert share[until - 1] == share.max() == 1.0
    assert np.abs(np.diff(share, prepend=0.0)).max() <= 1 / min(until, 6) + 1e-9, "never a jump"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_what_falls_behind_goes_on_from_where_it_is(until: int, share: float, seed: int) -> None:
    """The same path, never faster than the expert; from `until` on its pace, gripper and all."""
    wanted = np.random.default_rng(seed).normal(0.0, 1.0, (1, 20, 7)).cumsum(1)
    lag = share * until
    out = behind(wanted, np.array([until]), np.array([lag]))[0]
    place = np.arange(20) - lag * np.minimum(np.arange(20), until) / until
    for column in range(6):
        np.testing.assert_allclose(out[:, column], np.interp(place, np.arange(20), wanted[0, :, column]), atol=1e-9)
    np.testing.assert_array_equal(out[:, 6], wanted[0, np.floor(place + 1e-9).astype(int), 6])
    whole = behind(wanted, np.array([until]), np.array([float(until)]))[0]
    np.testing.assert_array_equal(whole[until:], wanted[0, : 20 - until])


def test_without_a_lag_nothing_falls_behind() -> None:
    wanted = chunks(3).astype(np.float64)
    np.testing.assert_array_equal(behind(wanted, np.array([0, 5, 14]), np.zeros(3)), wanted)


def test_the_gripper_is_wrong_only_where_steps_are_given() -> None:
    wanted, until = chunks(400)[..., 6].astype(np.float64), np.full(400, 12)
    late = np.random.default_rng(0).integers(-4, 5, 400)
    out = other_gripper(wanted, until, late, np.zeros(400, bool))
    np.testing.assert_array_equal(out[:, 12:], wanted[:, 12:])
    closes = (out[:, :12] < 0).argmax(1)
    assert set(closes[(out[:, :12] < 0).any(1)]) == {6, 7, 8, 9, 10, 11}
    shut = other_gripper(wanted, until, late, np.ones(400, bool))
    assert (shut[:, :12] == -1.0).all() and (shut[:, 12:] == wanted[:, 12:]).all()


def test_what_holds_something_is_never_told_to_be_open() -> None:
    """And a gripper that must be open is told to be shut in some rows."""
    carrying, empty = chunks(400), chunks(400)
    carrying[..., 6], empty[..., 6] = -1.0, 1.0
    rng, until = np.random.default_rng(0), np.full(400, 9)
    assert (ROWS.disturbed(carrying, until, rng)[..., 6] == -1.0).all()
    told = ROWS.disturbed(empty, until, rng)[..., 6]
    assert 0.2 < (told[:, 0] < 0).mean() < 0.4 and (told[:, 9:] == 1.0).all()


def test_half_of_the_rows_are_as_they_were() -> None:
    rng, count = np.random.default_rng(0), 2000
    state = np.zeros((count, 40), np.float32)
    batch = ROWS.draw({"chunk": chunks(count), "state": state}, rng)
    given, ahead = batch["given"], batch["ahead"]
    assert 0.45 < (given > 0).mean() < 0.55 and given.max() == 14
    alone = ahead[:, -1] == 0
    same = np.isclose(batch["chunk"], chunks(count)).all((1, 2))
    assert 0.7 < same[alone].mean() < 0.8
