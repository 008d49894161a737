"""Where the hand is that holds something, by `control_state` and TF: what it carries is no object of the room."""

from __future__ import annotations

import numpy as np

from vla_control.core.robot import GripperConfig
from vla_core.errors import TransformError
from vla_core.frames import FrameTree
from vla_core.types import NS, Float64
from vla_msgs.msg import ControlState
from vla_ros.stamps import to_ns

_FRESH_NS = NS // 2


class Hand:
    """The first hand of a robot.

    Args:
        gripper: Its gripper.
    """

    def __init__(self, gripper: GripperConfig) -> None:
        self._least_m, self._most_m = gripper.holding_m
        self._state: ControlState | None = None

    def hear(self, message: ControlState) -> None:
        """Take the newest state."""
        self._state = message

    def place(self, frames: FrameTree, frame: str, stamp_ns: int) -> Float64 | None:
        """Where it is in `frame` (3,) [m] at a time; None: it holds nothing, or nobody has told for half a second."""
        state = self._state
        if state is None or not state.gripper_width or abs(to_ns(state.header.stamp) - stamp_ns) > _FRESH_NS:
            return None
        if not self._least_m <= state.gripper_width[0] <= self._most_m:
            return None
        try:
            T = frames.lookup(frame, state.header.frame_id, stamp_ns)
        except TransformError:
            return None
        tool = state.tool_pose.position
        place: Float64 = T[:3, :3] @ np.array([tool.x, tool.y, tool.z]) + T[:3, 3]
        return place
