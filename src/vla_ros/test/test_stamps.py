"""Stamps: nanoseconds survive the round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vla_ros import stamps


@given(st.integers(-(2**31) * stamps.NS, 2**31 * stamps.NS - 1))
def test_round_trip(stamp_ns: int) -> None:
    message = stamps.to_msg(stamp_ns)
    assert 0 <= message.nanosec < stamps.NS
    assert stamps.to_ns(message) == stamp_ns
