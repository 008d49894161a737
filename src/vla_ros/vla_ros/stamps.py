"""Time messages to whole nanoseconds and back; nothing in the stack does arithmetic on seconds and fractions."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from rclpy.node import Node

NS = 1_000_000_000


def to_ns(stamp: Time) -> int:
    """Nanoseconds of a Time message."""
    return int(stamp.sec) * NS + int(stamp.nanosec)


def to_msg(stamp_ns: int) -> Time:
    """Time message of `stamp_ns` [ns]; negative times round towards the past, as ROS has it."""
    sec, nanosec = divmod(int(stamp_ns), NS)
    return Time(sec=sec, nanosec=nanosec)


def now_ns(node: Node) -> int:
    """Now on the node's ROS clock [ns]: simulated time when `use_sim_time` is set, 0 before the first /clock."""
    return int(node.get_clock().now().nanoseconds)


def of_serialized(data: bytes) -> int:
    """Stamp [ns] of a serialized message that begins with a std_msgs/Header, without decoding the rest.

    CDR (OMG DDS-XTypes 7.4.3): four bytes of encapsulation, whose second is odd for little endian, then the fields.
    """
    order = "little" if data[1] & 1 else "big"
    seconds = int.from_bytes(data[4:8], order, signed=True)  # type: ignore[arg-type]
    return seconds * NS + int.from_bytes(data[8:12], order)  # type: ignore[arg-type]
