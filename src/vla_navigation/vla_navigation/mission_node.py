"""Mission, above the line. In: goals (action execute_instruction), action_chunk, executor_state, safety_state.
Out: instruction (latched; empty when idle), feedback 5 Hz, result. A new goal replaces the running one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String

from vla_core.errors import UnknownObjectError, VlaError
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import ActionChunk, ExecutorState, SafetyState
from vla_navigation import conversions
from vla_navigation.core.mission import Mission, MissionParameters, Outcome, refused
from vla_navigation.core.vocabulary import check_instruction, load_vocabulary
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_ns

_SCHEMA = Path(__file__).parent / "parameters" / "mission_node.yaml"


class MissionNode(Node):
    """Serves one goal at a time; all callbacks run on one thread."""

    def __init__(self) -> None:
        super().__init__("mission_node")
        self._p = declare(self, _SCHEMA, self._on_parameters)
        self._vocabulary = load_vocabulary(self._p.policy)
        self._fault = ""  # why the vocabulary isn't the chosen policy's
        self._running: tuple[Mission, ServerGoalHandle, Future] | None = None
        self._stage = ""  # last stage that feedback told
        self._stopped_by: str | None = None  # cause of the latched safety stop
        self._ended: dict[str, int] = {}  # missions by error code, 'success' among them
        self._instruction = publisher(self, "instruction", String)
        self._instruction.publish(String())
        subscription(self, "action_chunk", ActionChunk, self._on_chunk)
        subscription(self, "executor_state", ExecutorState, self._on_executor)
        subscription(self, "safety_state", SafetyState, self._on_safety)
        self._server = ActionServer(
            self, ExecuteInstruction, "execute_instruction", self._execute, cancel_callback=self._on_cancel
        )
        # steady: feedback and cancellation also work while simulated time stands still
        self.create_timer(1.0 / self._p.feedback_hz, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        Diagnostics(self, self._status)

    def on_exit(self) -> None:
        """Let go of the action server before the node goes."""
        self._server.destroy()

    async def _execute(self, goal: ServerGoalHandle) -> ExecuteInstruction.Result:
        """Carry out one goal; waits on a future, so the thread stays free for everything else."""
        instruction, now = goal.request.instruction.strip(), now_ns(self)
        try:
            check_instruction(instruction, self._vocabulary)
        except UnknownObjectError as error:
            return self._conclude(goal, refused(error.code, str(error)))
        self._settle(None if self._running is None else self._running[0].cancel("a new goal", now))
        mission = Mission(instruction, float(goal.request.timeout_s), now, self._thresholds())
        if self._stopped_by is not None:
            stop = mission.on_safety(True, self._stopped_by, now)
            assert stop is not None
            return self._conclude(goal, stop)
        done = Future()
        self._running = (mission, goal, done)
        self._instruction.publish(String(data=instruction))
        self._tell()
        outcome: Outcome = await done
        return self._conclude(goal, outcome)

    def _conclude(self, goal: ServerGoalHandle, outcome: Outcome) -> ExecuteInstruction.Result:
        code = outcome.error_code or "success"
        self._ended[code] = self._ended.get(code, 0) + 1
        self.get_logger().info(f"{code}: {outcome.message}")
        if outcome.success:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return conversions.result(outcome)

    def _settle(self, outcome: Outcome | None) -> None:
        """If there is an outcome: withdraw the instruction and let `_execute` return."""
        if outcome is None or self._running is None:
            return
        self._instruction.publish(String())
        self._tell()
        _, _, done = self._running
        self._running = None
        done.set_result(outcome)

    def _tell(self) -> None:
        """Send feedback."""
        if self._running is not None:
            mission, goal, _ = self._running
            self._stage = mission.stage
            goal.publish_feedback(conversions.feedback(mission))

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._running is None or message.instruction != self._running[0].instruction:
            return  # the policy may still be at the task before
        mission = self._running[0]
        outcome = mission.on_chunk(
            to_ns(message.header.stamp), message.progress, message.success_estimate, message.subtask
        )
        self._after(outcome)

    def _on_executor(self, message: ExecutorState) -> None:
        if self._running is not None:
            mission, answers_ns, stamp_ns = self._running[0], to_ns(message.answers), to_ns(message.header.stamp)
            mission.on_executor(answers_ns, message.last_error, stamp_ns)
            self._after(mission.on_ended(answers_ns, stamp_ns) if message.mode == "terminated" else None)

    def _on_safety(self, message: SafetyState) -> None:
        self._stopped_by = (message.cause or "no cause given") if message.stopped else None
        if self._running is not None:
            self._settle(self._running[0].on_safety(message.stopped, self._stopped_by or "", now_ns(self)))

    def _after(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._settle(outcome)
        elif self._running is not None and self._running[0].stage != self._stage:
            self._tell()

    def _on_timer(self) -> None:
        if self._running is not None:
            self._tell()
            self._settle(self._running[0].check_time(now_ns(self)))

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        """Accept; the goal ends in the next turn, when its state says that it is being cancelled."""
        if self._running is not None and self._running[1].goal_id == goal.goal_id:
            mission = self._running[0]
            self.executor.create_task(lambda: self._settle(mission.cancel("a request to cancel", now_ns(self))))
        return CancelResponse.ACCEPT

    def _thresholds(self) -> MissionParameters:
        return MissionParameters(**{n: getattr(self._p, n) for n in MissionParameters.__dataclass_fields__})

    def _on_parameters(self, values: Parameters) -> None:
        if values.policy != self._p.policy:
            try:
                self._vocabulary, self._fault = load_vocabulary(values.policy), ""
            except VlaError as error:
                self._fault = f"the vocabulary of {self._p.policy} stays in force: {error}"
                self.get_logger().error(self._fault)
        self._p = values

    def _status(self) -> list[Status]:
        values: dict[str, Any] = {f"ended_{code}": count for code, count in sorted(self._ended.items())}
        level = Level.ERROR if self._fault else Level.OK
        if self._running is None:
            return [Status(level, self._fault or "idle", values)]
        mission = self._running[0]
        values |= {"instruction": mission.instruction, "success_estimate": mission.success_estimate}
        return [Status(level, self._fault or mission.stage, values)]


def main() -> None:
    """Entry point."""
    sys.exit(run(MissionNode))


if __name__ == "__main__":
    main()
