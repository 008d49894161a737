"""Core types to messages and back, for the mission; the only place of this package where the two meet."""

from __future__ import annotations

from vla_msgs.action import ExecuteInstruction
from vla_navigation.core.mission import Mission, Outcome


def feedback(mission: Mission) -> ExecuteInstruction.Feedback:
    """Where a mission stands."""
    return ExecuteInstruction.Feedback(
        stage=mission.stage,
        progress=float(mission.progress),
        subtask=mission.subtask,
        success_estimate=float(mission.success_estimate),
    )


def result(outcome: Outcome) -> ExecuteInstruction.Result:
    """How a mission ended."""
    return ExecuteInstruction.Result(
        success=outcome.success,
        error_code=outcome.error_code,
        message=outcome.message,
        success_estimate=float(outcome.success_estimate),
        duration_s=float(outcome.duration_s),
        first_motion_s=float(outcome.first_motion_s),
    )
