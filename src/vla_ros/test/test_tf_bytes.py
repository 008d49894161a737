"""Transforms read from bytes are those that rclpy decodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from tf2_msgs.msg import TFMessage

from vla_core.types import NS
from vla_ros.tf import _decoded, of_serialized, transform

NAMES = st.text("abcdefghij_/éß手", max_size=13)
NUMBERS = st.floats(width=64)
TRANSFORMS = st.builds(
    transform, NAMES, NAMES, st.integers(-(2**31) * NS, 2**31 * NS - 1),
    st.tuples(NUMBERS, NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
)  # fmt: skip


@given(st.lists(TRANSFORMS, max_size=6))
def test_bytes_say_what_rclpy_decodes(transforms: list) -> None:
    data = serialize_message(TFMessage(transforms=transforms))
    expected = [_decoded(one) for one in transforms]
    found = list(of_serialized(data))
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    for (_, _, a), (_, _, b) in zip(found, expected, strict=True):
        assert a.stamp_ns == b.stamp_ns
        np.testing.assert_array_equal(a.position, b.position)
        np.testing.assert_array_equal(a.quaternion, b.quaternion)


def test_another_encoding_is_left_to_rclpy(monkeypatch: pytest.MonkeyPatch) -> None:
    message = TFMessage(transforms=[transform("map", "odom", 5, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0))])
    data = serialize_message(message)
    other = b"\x00\x07" + data[2:]
    asked: list[bytes] = []
    monkeypatch.setattr("vla_ros.tf.deserialize_message", lambda given, kind: asked.append(given) or message)
    (found,) = of_serialized(other)
    assert asked == [other] and found[:2] == ("map", "odom") and found[2].stamp_ns == 5
