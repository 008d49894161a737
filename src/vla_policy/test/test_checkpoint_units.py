"""Published weights draw in their data set's units; the robot is told the contract's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla_core.contract import load_contract
from vla_core.errors import ConfigError
from vla_policy.checkpoints.units import units

OFT_SCALE, OFT_OFFSET = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5, -2.0), (0.0,) * 6 + (1.0,)
NUMBERS = st.floats(0.125, 8.0, width=32)


ROWS = arrays(np.float32, (2, 7), elements=NUMBERS)


@given(arrays(np.float32, 7, elements=NUMBERS), arrays(np.float32, 7, elements=NUMBERS), ROWS)
def test_there_and_back(scale: np.ndarray, offset: np.ndarray, drawn: np.ndarray) -> None:
    of = units(load_contract("libero_panda"), tuple(map(float, scale)), tuple(map(float, offset)))
    np.testing.assert_allclose(of.inverse(of.forward(drawn)), drawn, rtol=1e-4, atol=1e-4)


def test_openvlas_gripper_opens_at_one_and_an_effort_at_minus_one() -> None:
    of = units(load_contract("libero_panda"), OFT_SCALE, OFT_OFFSET)
    drawn = np.array([[1, 0, 0, 0, 1, 0, 1], [-1, 0, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(of.forward(drawn), [[0.05, 0, 0, 0, 0.5, 0, -1], [-0.05, 0, 0, 0, 0, 0, 1]], atol=1e-7)


def test_nothing_given_changes_nothing() -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    np.testing.assert_array_equal(units(load_contract("libero_panda"), (), ()).forward(drawn), drawn)


@pytest.mark.parametrize(
    "given", [((1.0,), ()), ((0.0,) * 7, ()), ((), (1.0,) * 8), ((float("nan"),) * 7, ()), (("1",) * 7, ())]
)
def test_numbers_that_fit_no_column_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="7 finite numbers"):
        units(load_contract("libero_panda"), *given)
