"""The mission: from an instruction to a verdict. A state machine without ROS.

    start -> waiting -> acting <-> verifying -> done

`waiting` ends with the first chunk that the executor accepts, `verifying` holds while the policy says that it is
done, and `done` carries an Outcome. The verdict rests on the policy's own estimate, never on simulator truth.
"""

from __future__ import annotations

from dataclasses import dataclass

from vla_core.errors import ConfigError
from vla_core.types import NS

STAGES = ("waiting", "acting", "verifying", "done")
ERROR_CODES = ("", "timeout", "cancelled", "unknown_object", "safety_stop", "no_policy", "clock_jump")
_JUMP_NS = NS  # the clock may lag behind messages, but not go back by more than this


@dataclass(frozen=True, slots=True)
class MissionParameters:
    """Thresholds of the mission.

    Attributes:
        success_threshold: Success estimate that counts as done, 0..1.
        success_count: So many chunks in a row must reach it, >= 1.
        default_timeout_s: For goals that name no timeout [s, ROS clock].
        policy_timeout_s: No accepted chunk for this long means that there is no policy [s, ROS clock].
    """

    success_threshold: float
    success_count: int
    default_timeout_s: float
    policy_timeout_s: float

    def __post_init__(self) -> None:
        if not 0.0 < self.success_threshold <= 1.0 or self.success_count < 1:
            got = f"success_threshold {self.success_threshold}, success_count {self.success_count}"
            raise ConfigError(got, "a threshold in (0, 1] and a count >= 1", "mend config/navigation.yaml")
        if self.default_timeout_s <= 0.0 or self.policy_timeout_s <= 0.0:
            got = f"default_timeout_s {self.default_timeout_s}, policy_timeout_s {self.policy_timeout_s}"
            raise ConfigError(got, "positive times", "mend config/navigation.yaml")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a mission ended; the fields of ExecuteInstruction's result, times in [s, ROS clock]."""

    success: bool
    error_code: str
    message: str
    success_estimate: float
    duration_s: float
    first_motion_s: float


class Mission:
    """One instruction from goal to outcome. All times are on the ROS clock [ns].

    Args:
        instruction: What to do.
        timeout_s: Give up after this long [s]; 0 means the default.
        now_ns: Time of the goal.
    """

    def __init__(self, instruction: str, timeout_s: float, now_ns: int, params: MissionParameters) -> None:
        self.instruction = instruction
        self.timeout_s = timeout_s if timeout_s > 0.0 else params.default_timeout_s
        self.stage = "waiting"
        self.progress = 0.0
        self.success_estimate = 0.0
        self.subtask = ""
        self.outcome: Outcome | None = None
        self._params = params
        self._start_ns = now_ns
        self._newest_ns = now_ns  # newest reading of the clock
        self._alive_ns = now_ns  # when the policy last gave something that the executor took
        self._answers_ns = -1  # newest observation that the executor follows
        self._first_motion_ns: int | None = None
        self._confirmations = 0
        self._last_error = ""

    def on_chunk(self, stamp_ns: int, progress: float, success_estimate: float, subtask: str) -> Outcome | None:
        """Take one chunk's estimates; chunks that answer an observation from before the goal are ignored.

        Args:
            stamp_ns: Stamp of the observation that the chunk answers; a success counts from there, so that how long
                messages take on a busy machine is no part of the task's time.
            progress: 0..1.
            success_estimate: 0..1.
            subtask: Text, may be empty.
        """
        if self.outcome is not None or stamp_ns < self._start_ns:
            return self.outcome
        self.progress, self.success_estimate, self.subtask = progress, success_estimate, subtask
        self._confirmations = self._confirmations + 1 if success_estimate >= self._params.success_threshold else 0
        if self._confirmations >= self._params.success_count:
            return self._end(stamp_ns, True, "", f"carried out: {self.instruction}")
        if self.stage != "waiting":
            self.stage = "verifying" if self._confirmations else "acting"
        return None

    def on_executor(self, answers_ns: int, last_error: str, stamp_ns: int) -> None:
        """Take the executor's state at `stamp_ns`: the observation that its motion answers, why it rejected a chunk."""
        if self.outcome is not None:
            return
        self._last_error = last_error
        if answers_ns < self._start_ns or answers_ns == self._answers_ns:
            return
        self._answers_ns, self._alive_ns = answers_ns, max(stamp_ns, answers_ns)
        if self._first_motion_ns is None:
            self._first_motion_ns = self._alive_ns
            self.stage = "acting"

    def on_ended(self, answers_ns: int, stamp_ns: int) -> Outcome | None:
        """The policy has ended the task by an action of its own (modes, `terminate`): it takes it for carried out.

        Args:
            answers_ns: Observation that the motion answers which it ended; one from before the goal is ignored.
            stamp_ns: When the executor said so.
        """
        if self.outcome is not None or answers_ns < self._start_ns:
            return self.outcome
        return self._end(max(stamp_ns, answers_ns), True, "", f"ended by the policy: {self.instruction}")

    def on_safety(self, stopped: bool, cause: str, now_ns: int) -> Outcome | None:
        """Take the safety monitor's state; a stop ends the mission."""
        if not stopped or self.outcome is not None:
            return self.outcome
        message = f"got a safety stop ({cause}); expected a free robot; fix: remove the cause, release, send again"
        return self._end(now_ns, False, "safety_stop", message)

    def cancel(self, reason: str, now_ns: int) -> Outcome | None:
        """End the mission by request; `reason` stands in the message."""
        if self.outcome is not None:
            return self.outcome
        message = f"got {reason}; expected the mission to finish; fix: send the goal again"
        return self._end(now_ns, False, "cancelled", message)

    def check_time(self, now_ns: int) -> Outcome | None:
        """Return the outcome if there is one, having looked at the clock.

        A clock that was set back ends the mission: its time limits and the chunks that it waits for lie in a future
        that may never come, while the arm goes on.
        """
        if self.outcome is not None:
            return self.outcome
        if now_ns < self._newest_ns - _JUMP_NS:
            back_s = (self._newest_ns - now_ns) / NS
            message = f"got a clock that was set back by {back_s:.1f} s; expected time to pass; "
            message += "fix: find out who set it (simulator restarted, clock synchronisation), send the goal again"
            return self._end(self._newest_ns, False, "clock_jump", message)
        self._newest_ns = max(self._newest_ns, now_ns)
        if now_ns - self._start_ns >= self.timeout_s * NS:
            message = f"got no success within {self.timeout_s:g} s; expected a success estimate >= "
            message += f"{self._params.success_threshold:g} (last {self.success_estimate:.2f}); fix: allow more time"
            return self._end(now_ns, False, "timeout", message)
        if now_ns - self._alive_ns >= self._params.policy_timeout_s * NS:
            why = f" (executor: {self._last_error})" if self._last_error else ""
            message = f"got no accepted chunk for {self._params.policy_timeout_s:g} s{why}; expected a running policy; "
            return self._end(now_ns, False, "no_policy", message + "fix: see policy_node on /diagnostics")
        return None

    def _end(self, now_ns: int, success: bool, code: str, message: str) -> Outcome:
        first = -1.0 if self._first_motion_ns is None else (self._first_motion_ns - self._start_ns) / NS
        self.stage = "done"
        duration_s = max((now_ns - self._start_ns) / NS, first)
        self.outcome = Outcome(success, code, message, self.success_estimate, duration_s, first)
        return self.outcome


def refused(code: str, message: str) -> Outcome:
    """Outcome of a goal that was never started."""
    return Outcome(False, code, message, 0.0, 0.0, -1.0)
