"""Results and feedback of Nav2's actions, whatever of Humble's to Kilted's fields the installed messages have."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from nav2_msgs.action import NavigateToPose

from vla_core.types import NS, Float64
from vla_navigation import floor_conversions
from vla_navigation.core.nav.backend import Feedback
from vla_ros import stamps

M = TypeVar("M", bound=Any)


def has(message: Any, field: str) -> bool:
    """Whether a message, or a message's class, has a field in this distribution."""
    return field in message.get_fields_and_field_types()


def concluded(result: M, code: int, message: str) -> M:
    """Fill in how an action ended; Humble has no field for either."""
    if has(result, "error_code"):
        result.error_code = int(code)
    if has(result, "error_msg"):
        result.error_msg = message
    return result


def feedback(now: Feedback, pose: Float64, stamp_ns: int, frame: str) -> NavigateToPose.Feedback:
    """Where a drive stands; a time that nobody can know yet is 0, as in Nav2.

    Args:
        pose: (3,) of the robot in `frame`.
    """
    message = NavigateToPose.Feedback(
        current_pose=floor_conversions.stamped_pose(pose, stamp_ns, frame),
        number_of_recoveries=now.recoveries,
        distance_remaining=float(now.distance_remaining_m),
    )
    set_duration(message.navigation_time, now.navigation_time_s)
    set_duration(message.estimated_time_remaining, now.time_remaining_s if math.isfinite(now.time_remaining_s) else 0.0)
    return message


def set_duration(message: Any, seconds: float) -> None:
    """Fill a builtin_interfaces/Duration."""
    time = stamps.to_msg(round(seconds * NS))
    message.sec, message.nanosec = time.sec, time.nanosec
