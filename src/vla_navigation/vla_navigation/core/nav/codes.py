"""Result codes of navigation: the numbers of Nav2 (nav2_msgs, Jazzy), so that clients of Nav2 understand them."""

from __future__ import annotations

from enum import IntEnum

from vla_core.errors import VlaError


class Code(IntEnum):
    """NONE is success; 10x are FollowPath's, 20x ComputePathToPose's; NavigateToPose passes both on."""

    NONE = 0
    CONTROL_UNKNOWN = 100
    CONTROL_INVALID_CONTROLLER = 101
    CONTROL_TF_ERROR = 102
    CONTROL_INVALID_PATH = 103
    CONTROL_PATIENCE_EXCEEDED = 104
    CONTROL_FAILED_TO_MAKE_PROGRESS = 105
    CONTROL_NO_VALID_CONTROL = 106
    CONTROL_TIMED_OUT = 107
    PLAN_UNKNOWN = 200
    PLAN_INVALID_PLANNER = 201
    PLAN_TF_ERROR = 202
    PLAN_START_OUTSIDE_MAP = 203
    PLAN_GOAL_OUTSIDE_MAP = 204
    PLAN_START_OCCUPIED = 205
    PLAN_GOAL_OCCUPIED = 206
    PLAN_TIMEOUT = 207
    PLAN_NO_VALID_PATH = 208


class PlanError(VlaError):
    """There is no path.

    Attributes:
        number: Which of the codes 200..208.
    """

    code = "plan"

    def __init__(self, number: Code, got: str, expected: str, fix: str) -> None:
        super().__init__(got, expected, fix)
        self.number = number
