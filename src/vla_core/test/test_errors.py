"""Errors on their way between processes."""

from __future__ import annotations

import pickle

import pytest

from vla_core import errors
from vla_core.errors import UnknownNameError, VlaError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VlaError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_regression_an_error_comes_out_of_another_process_as_it_was(kind: type[VlaError]) -> None:
    """One that couldn't be unpacked hung the pool of `vla eval` for good."""
    made = kind("suite", "x", ("a", "b")) if kind is UnknownNameError else kind("a", "b", "c")
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is kind and str(back) == str(made) and (back.got, back.fix) == (made.got, made.fix)
