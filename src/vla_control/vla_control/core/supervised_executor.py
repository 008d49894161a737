"""A ChunkExecutor that follows what happens around it: stops of the servo, resets of the world, instructions.

Motion is only planned from where the servo's target rests. After a stop, or when the motion's instruction has been
taken back or replaced, the executor brakes, waits until the servo has come to rest too, and begins anew from the
servo's target. Chunks that answer another instruction than the present one are rejected: while a policy thinks, its
task may have been withdrawn. Under a strategy that waits, pictures count as taken at rest only once the servo has been
seen at rest: its target may lag behind the plan, and a stop leads it to where no plan does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.executor_status import ExecutorStatus
from vla_core.errors import ChunkError
from vla_core.records import MODES, PLAN
from vla_core.types import ActionChunk, Float64, JointTarget

_HOLD, _TRACK, _STOP = (MODES.index(name) for name in ("hold", "track", "stop"))
_READY, _STOPPED, _FINISHING = range(3)
_AHEAD_NS = 50_000_000  # a stamp may lie this far in the future: clocks arrive as messages
_MOVED_RAD = 1e-4


class SupervisedExecutor:
    """Stage 3 without I/O. Call `follow` with the newest records before anything else.

    Attributes:
        now_ns: Stamp of the newest state: the executor's clock.
    """

    def __init__(self, executor: ChunkExecutor) -> None:
        self._executor = executor
        self._joints, self._grippers = executor.robot.joint_count, executor.robot.gripper_count
        self._record = np.zeros(1, PLAN)
        self._phase = _READY
        self._instruction: str | None = None  # None: nobody gives instructions here, chunks are taken as they come
        self._followed = ""  # instruction of the newest accepted chunk
        self._epoch_ns, self.now_ns, self._answered_ns = -1, 0, 0
        self._rejected, self._last_error = 0, ""
        self._begun = False
        self._moves, self._rests_since_ns = False, 0  # the servo's target

    @property
    def record(self) -> np.ndarray:
        """PLAN record (1,) to be written: the running plan, and in `answers_ns` the newest observation that got an
        answer, executed or rejected, so that a world that waits for answers goes on. Without knots (the servo then
        keeps what it has) while the plan of a predecessor is still running."""
        self._record[:] = self._executor.plan
        if not self._begun:
            self._record["count"] = 0
        self._record["answers_ns"] = self._answered_ns
        return self._record

    def follow(self, state: np.ndarray, status: np.ndarray) -> bool:
        """Take note of the robot and the servo.

        Args:
            state: Newest STATE record (1,).
            status: Newest STATUS record (1,), zeros until there is a servo.

        Returns:
            Whether the plan has changed and must be written. Motion never begins from a record with numbers that
            aren't finite: the next good one is waited for, with no plan or the old one.
        """
        stamp_ns, epoch_ns = int(state["stamp_ns"][0]), int(state["epoch_ns"][0])
        servo_seen = epoch_ns <= int(status["stamp_ns"][0]) <= stamp_ns
        if epoch_ns != self._epoch_ns or stamp_ns < self.now_ns:
            if not self._is_finite(state["q"], state["gripper_width"]):
                return False  # a world to begin in, but no place yet: the next state may know one
            first = self._epoch_ns < 0
            self._epoch_ns, self.now_ns, self._answered_ns = epoch_ns, stamp_ns, 0
            self._moves, self._rests_since_ns = False, 0
            self._begin(state["q"], state["gripper_width"])
            if first and servo_seen:  # the plan of a predecessor may be running: let it end
                self._phase, self._begun = _FINISHING, False
            else:
                return True
        self.now_ns = stamp_ns
        if np.isfinite(state["q"][0, : self._joints]).all():
            self._executor.observe(stamp_ns, state["q"][0, : self._joints])
        if not servo_seen:  # hold where the arm is
            return self._idle and self._moved(state["q"]) and self._begin(state["q"], state["gripper_width"])
        mode = int(status["mode"][0])
        if self._moves and mode == _HOLD:
            self._rests_since_ns = int(status["stamp_ns"][0])
        self._moves = mode != _HOLD
        if mode == _STOP:
            if self._phase == _STOPPED:
                return False
            self._executor.stop(stamp_ns)
            self._phase = _STOPPED
            return True
        over = self._phase == _STOPPED or (self._phase == _FINISHING and stamp_ns >= self._end_ns)
        if over and mode != _TRACK:
            return self._begin(status["q_target"], status["gripper_target"])
        return False

    def instruct(self, text: str) -> bool:
        """Take the newest instruction. Motion for any other one ends, brake, then hold. True if the plan has changed.

        An empty text ends every motion. A task that the policy has ended begins anew when it is given again. A goal
        that replaces another is seen here as such even when the empty text between the two got lost: the topic keeps
        one message.
        """
        self._instruction = text
        same = text == self._followed and not self._executor.ended(self.now_ns)
        if self._phase != _READY or self._idle or (text and same):
            return False
        self._executor.stop(self.now_ns)
        self._phase = _FINISHING
        return True

    def accept(self, chunk: ActionChunk) -> bool:
        """Execute a chunk from now on; False if it is passed over (see ChunkExecutor.accept), but counts as an answer.

        Raises:
            ChunkError: the chunk can't be executed; the running plan is unchanged, the answer counts as given.
        """
        try:
            if not self.ready:
                raise ChunkError("a chunk before the first good joint state", "one later", "start the robot driver")
            if chunk.stamp_ns < self._epoch_ns:
                behind_s = (self._epoch_ns - chunk.stamp_ns) * 1e-9
                got = f"a chunk that answers an observation from {behind_s:.2f} s before the reset"
                raise ChunkError(got, "answers to what is there now", "drop what was under way")
            if self._phase == _STOPPED:
                raise ChunkError("a chunk while the robot is stopped", "none", "release the stop (safety_monitor_node)")
            if self._instruction == "":
                raise ChunkError("a chunk without an instruction", "chunks while there is a task", "publish one")
            if self._instruction not in (None, chunk.instruction):
                got = f"a chunk that answers '{chunk.instruction}' while the instruction is '{self._instruction}'"
                raise ChunkError(got, "answers to the present instruction", "send the next one")
            if self._phase == _FINISHING:
                raise ChunkError("a chunk while the last motion comes to rest", "none", "send the next one")
            moved_until_ns = self.now_ns + _AHEAD_NS if self._moves else self._rests_since_ns
            taken = self._executor.accept(chunk, self.now_ns, moved_until_ns)
        except ChunkError as error:
            self.refuse(error, chunk.stamp_ns)
            raise
        self._last_error, self._followed = "", chunk.instruction
        self._answered_ns = max(self._answered_ns, chunk.stamp_ns)
        return taken

    def refuse(self, error: ChunkError, stamp_ns: int) -> None:
        """Count a chunk that can't be executed; its stamp counts as answered unless it is void itself.

        Args:
            error: Why.
            stamp_ns: Observation that the chunk claims to answer.
        """
        self._rejected += 1
        self._last_error = str(error)
        if self._epoch_ns <= stamp_ns <= self.now_ns + _AHEAD_NS:
            self._answered_ns = max(self._answered_ns, stamp_ns)

    def sample(self) -> JointTarget:
        """Where the plan wants the joints now."""
        return self._executor.sample(self.now_ns)

    def base_twist(self) -> Float64:
        """Velocity (3,) that the plan wants of the base now: vx, vy [m/s], wz [rad/s]; 0 unless there is a task."""
        return self._executor.base_twist(self.now_ns) if self._phase == _READY else np.zeros(3)

    def state(self) -> ExecutorStatus:
        """What is committed and what is left."""
        status = self._executor.state(self.now_ns)
        mode = {_READY: status.mode, _STOPPED: "stopped", _FINISHING: "finishing"}[self._phase]
        return replace(status, mode=mode, chunks_rejected=self._rejected, last_error=self._last_error)

    @property
    def ready(self) -> bool:
        """Whether there is a plan: a first good state has been seen."""
        return self._epoch_ns >= 0

    @property
    def _idle(self) -> bool:
        return int(self._executor.plan["sequence"][0]) == 0

    @property
    def _end_ns(self) -> int:
        plan = self._executor.plan
        return int(plan["start_ns"][0]) + round((int(plan["count"][0]) - 1) * float(plan["knot_dt_s"][0]) * 1e9)

    def _moved(self, q: Float64) -> bool:
        return bool(np.abs(self.sample().q_rad - q[0, : self._joints]).max() > _MOVED_RAD)

    def _is_finite(self, q: Float64, gripper_width_m: Float64) -> bool:
        widths = gripper_width_m[0, : self._grippers]
        return bool(np.isfinite(q[0, : self._joints]).all() and np.isfinite(widths).all())

    def _begin(self, q: Float64, gripper_width_m: Float64) -> bool:
        """Hold at q, ready for chunks; False, and nothing has changed, while q or the width isn't finite."""
        if not self._is_finite(q, gripper_width_m):
            return False
        self._executor.reset(q[0, : self._joints], gripper_width_m[0, : self._grippers], self.now_ns)
        self._phase, self._begun = _READY, True
        return True
