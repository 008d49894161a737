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
