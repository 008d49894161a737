"""Stage 3: action chunks in, one smooth joint trajectory out.

A chunk answers the observation at its stamp, and step i is meant for stamp + i * dt. On arrival a strategy combines it
with those before (`strategies/`), the past steps are skipped, the rest goes through inverse kinematics and becomes one
smooth curve, the running motion is led over to it by one jerk-limited blend, and a brake at the end brings the arm to
rest should no newer chunk come. A chunk that can't be executed is rejected as a whole; the running plan stays as it is.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

import numpy as np

from vla_control.core.action_spaces.space import Reference
from vla_control.core.base.path import BasePath
from vla_control.core.chunk_buffer import ChunkBuffer, Steps, step_times_ns
from vla_control.core.chunk_reader import ChunkReader
from vla_control.core.executor_status import ExecutorStatus
from vla_control.core.gripper_path import gripper_path, last_told
from vla_control.core.knots import Knots
from vla_control.core.motion_history import MotionHistory
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_control.core.spline import ChunkSpline
from vla_control.core.strategies.registry import make_strategy
from vla_control.core.trajectory import Trajectory, TrajectoryBuilder
from vla_core.action_parts import MEASURED
from vla_core.contract import Contract
from vla_core.errors import ChunkError, ConfigError
from vla_core.records import MAX_KNOTS, PLAN
from vla_core.types import ActionChunk, Float64, JointTarget, Running

_AHEAD_S = 0.05  # a stamp may lie this far in the future: clocks arrive as messages
_BRAKE_ROOM_S = 1.0
_LEAD = 3  # rows
_CLAMPED_M, _CLAMPED_RAD = 1e-3, 5e-3  # a step that ends up further off counts as replaced
_DELAYS = 10  # chunks whose delay is remembered
_CHECK_EVERY = 2  # knots of a finished motion at which distances are looked at


class ChunkExecutor:
    """Turns chunks of one contract into plans for one robot.

    Attributes:
        plan: PLAN record, shape (1,): what the servo follows.
        strategy: Name of the strategy in use.
    """

    def __init__(self, robot: RobotModel, contract: Contract, params: ExecutorParameters) -> None:
        """Prepare for chunks of `contract`.

        Raises:
            ConfigError: the contract is for another robot, lacks an action, or its horizon is longer than a plan.
        """
        self.robot, self.contract, self.params = robot, contract, params
        config = robot.config
        if contract.robot != config.name:
            raise ConfigError(f"contract for '{contract.robot}'", f"robot '{config.name}'", "choose matching files")
        longest_s = MAX_KNOTS * params.knot_dt_s - _BRAKE_ROOM_S
        if contract.horizon * contract.dt_s > longest_s:
            got = f"a horizon of {contract.horizon * contract.dt_s:.1f} s"
            raise ConfigError(got, f"at most {longest_s:.1f} s", "raise knot_dt_s in config/control.yaml")
        self._reader = ChunkReader(robot, contract, params)
        self._builder = TrajectoryBuilder(config, params)
        self.plan = np.zeros(1, PLAN)
        self._knots = Knots(self.plan)
        self._accepted = self._rejected = self._stretched = self._late = self._pulled_in = 0
        self._last_error = ""
        self._delays: deque[int] = deque(maxlen=_DELAYS)
        self._buffer = ChunkBuffer(self._reader.spaces.algebra)
        self._history = MotionHistory(robot.joint_count, robot.gripper_count, params.max_chunk_age_s)
        self._base = BasePath()
        self._chunk: ActionChunk | None = None  # in execution, by the contract
        self._running: ActionChunk | None = None  # the same, and the brake after it
        self._terminates = False
        self._starved_s, self._stopped = 0.0, False
        self._seam_rad, self._clamped = np.zeros(robot.joint_count), np.zeros((0, 3))
        self.use(params.strategy)

    def use(self, strategy: str) -> None:
        """Combine chunks by another strategy from the next one on.

        Raises:
            UnknownNameError: no such strategy.
        """
        self._strategy, self.strategy = make_strategy(strategy, self.params.strategies), strategy

    def reset(self, q: Float64, gripper_width_m: Float64, now_ns: int) -> None:
        """Forget everything but the counters and hold at q.

        Args:
            q: [rad] (J,), where the arm is or is held. gripper_width_m: [m] (G,).
        """
        hold = np.array(q, dtype=np.float64)[None, :]
        rest = np.zeros_like(hold)
        self._knots.clear()
        width = np.array(gripper_width_m, dtype=np.float64)[None, :]
        force = self.robot.config.gripper_force_n[None, :]
        self._knots.store(hold, rest, rest, width, force, now_ns, self.params.knot_dt_s)
        self._knots.fresh_until_ns[0] = now_ns
        self._chunk = None
        self._buffer.clear()
        self._history.restart(now_ns)
        self._base.clear()
        self._delays.clear()
        self._starved_s, self._stopped, self._terminates = 0.0, False, False

    def accept(self, chunk: ActionChunk, now_ns: int, moved_until_ns: int = 0) -> bool:
        """Replace what is left of the running motion by a new chunk.

        Args:
            chunk: Answer of the policy. now_ns: Present time on the ROS clock.
            moved_until_ns: Pictures before were taken in motion, whatever the plan says: the servo may lag behind it.

        Returns:
            False if it is passed over: under a strategy that waits, its picture was taken in motion.

        Raises:
            ChunkError: the chunk can't be executed; the running plan is unchanged.
        """
        try:
            self._validate(chunk, now_ns)
            if self.waits and chunk.stamp_ns < max(moved_until_ns, self._knots.end_ns if self._chunk else 0):
                return False
            reference = self._reference(chunk.stamp_ns)
            self._buffer.add(self._reader.absolute(chunk, reference))
            try:
                self._execute(chunk, reference, now_ns)
            except ChunkError:
                self._buffer.drop_newest()
                raise
        except ChunkError as error:
            self._rejected += 1
            self._last_error = str(error)
            raise
        self._accepted += 1
        self._last_error = ""
        return True

    def running(self) -> Running:
        """What is being executed, for the policy: the steps that the plan really leads through.

        A chunk that began from rest tells nothing about the delay, which may have been a warm-up. Until one has been
        counted, all steps count as committed: the next chunk continues the first as far as the policy can.
        """
        chunk = None if self._buffer.executed is None else self._running
        width = len(self.contract.action_names)
        return Running(
            strategy=self.strategy,
            origin_ns=0 if chunk is None else chunk.stamp_ns,
            dt_s=self.contract.dt_s,
            actions=np.zeros((0, width), np.float32) if chunk is None else chunk.actions,
            delay_steps=self._delay_steps(0 if self._chunk is None else len(self._chunk.actions)),
            fresh=0 if chunk is None or self._chunk is None else len(self._chunk.actions),
        )

    def _delay_steps(self, uncounted: int) -> int:
        return math.ceil(self.params.delay_margin * max(self._delays)) if self._delays else uncounted

    @property
    def waits(self) -> bool:
        """Whether only pictures taken at rest are to be answered."""
        return self._strategy.waits

    def at_rest(self, now_ns: int) -> bool:
        """Whether the plan has ended, with the arm at rest."""
        return now_ns >= self._knots.end_ns

    def ended(self, now_ns: int) -> bool:
        """Whether the policy has ended the task: no chunk is taken until `reset`."""
        return self._mode(now_ns) == "terminated"

    def stop(self, now_ns: int) -> None:
        """Come to rest as fast as the limits allow; chunks are rejected until `reset`."""
        self._brake(now_ns)
        self._stopped = True
        self._buffer.clear()

    def observe(self, stamp_ns: int, q: Float64) -> None:
        """The joints were measured at q (J,) [rad]; for contracts whose deltas are relative to what was measured."""
        self._history.measured(stamp_ns, q)

    def base_twist(self, now_ns: int) -> Float64:
        """Velocity (3,) that the plan wants of the base at `now_ns`: vx, vy [m/s], wz [rad/s]."""
        return self._base.at(now_ns)

    def tool_positions(self, chunk: ActionChunk) -> Float64:
        """Tool positions [m] (R,3), base frame, that an accepted chunk leads through."""
        return self._reader.tool_positions(self._reader.absolute(chunk, self._reference(chunk.stamp_ns)))

    def sample(self, now_ns: int) -> JointTarget:
        """Where the plan wants the joints at `now_ns`; the feed-forward torque is the servo's business and zero here.

        Raises:
            ChunkError: there is no plan before the first reset.
        """
        if not self._knots.count[0]:
            raise ChunkError("no plan", "a reset to the robot's posture first", "start the robot driver")
        q, qd, qdd = np.zeros((3, self.robot.joint_count))
        self._knots.sample(now_ns, q, qd, qdd)
        width_m = self._knots.width_at(now_ns)[: self.robot.gripper_count].copy()
        return JointTarget(now_ns, q, qd, qdd, np.zeros_like(q), width_m)

    def committed_positions(self, now_ns: int) -> Float64:
        """Tool positions [m] (N,3), base frame, of the motion that no later chunk can change any more."""
        return self._positions(now_ns, self._builder.branch_ns(self._knots, now_ns), 3)

    def planned_positions(self, now_ns: int) -> Float64:
        """Tool positions [m] (N,3), base frame, of all of the plan that is still to come; (0,3) at rest."""
        return self._positions(now_ns, self._knots.end_ns, 25)

    @property
    def clamped_positions(self) -> Float64:
        """Tool positions [m] (N,3) that the newest chunk asked for and that were replaced by what can be done."""
        return self._clamped

    def _positions(self, from_ns: int, to_ns: int, count: int) -> Float64:
        if not self._knots.count[0] or to_ns <= from_ns:
            return np.zeros((0, 3))
        times = np.linspace(from_ns, to_ns, count)
        return np.array([self.robot.tool_pose(self.sample(int(t)).q_rad)[0] for t in times])

    def state(self, now_ns: int) -> ExecutorStatus:
        """What is committed and what is left at `now_ns`."""
        chunk, knots, contract = self._chunk, self._knots, self.contract
        branch_s = (self._builder.branch_ns(knots, now_ns) - now_ns) * 1e-9
        consumed = total = 0
        committed = np.zeros((0, len(contract.action_names)), np.float32)
        if chunk is not None:
            total = len(chunk.actions)
            age_s = (now_ns - chunk.stamp_ns) * 1e-9
            consumed = min(total, max(0, math.floor(age_s / chunk.dt_s + 1e-6) + 1))
            until = min(total, max(consumed, math.floor((age_s + branch_s) / chunk.dt_s + 1e-6) + 1))
            committed = chunk.actions[consumed:until].copy()
        return ExecutorStatus(
            stamp_ns=now_ns,
            mode=self._mode(now_ns),
            strategy=self.strategy,
            sequence=int(knots.sequence[0]),
            answers_ns=int(knots.answers_ns[0]),
            steps_consumed=consumed,
            steps_left=total - consumed,
            committed_s=branch_s,
            action_names=contract.action_names,
            committed=committed,
            running=self.running(),
            seam_rad=self._seam_rad,
            starved_s=self._starved_s + self._starving_s(now_ns),
            chunks_accepted=self._accepted,
            chunks_rejected=self._rejected,
            last_error=self._last_error,
            chunks_stretched=self._stretched,
            late_joins=self._late,
            steps_pulled_in=self._pulled_in,
        )

    def _mode(self, now_ns: int) -> str:
        if self._stopped:
            return "stopped"
        if self._chunk is None:
            return "idle"
        if now_ns < self._knots.fresh_until_ns[0]:
            return "tracking"
        if self._terminates:
            return "terminated"
        return "finishing" if now_ns < self._knots.end_ns else "holding"

    def _starving_s(self, now_ns: int) -> float:
        if self._chunk is None or self._stopped or self._terminates:
            return 0.0
        return max(0.0, (now_ns - int(self._knots.fresh_until_ns[0])) * 1e-9)

    def _validate(self, chunk: ActionChunk, now_ns: int) -> None:
        if self._stopped or not self._knots.count[0]:
            got = "a chunk while stopped" if self._stopped else "a chunk before the first joint state"
            raise ChunkError(got, "a reset to the robot's posture first", "release the stop, or start the robot driver")
        if self.ended(now_ns):
            got = "a chunk after the policy has ended the task"
            raise ChunkError(got, "none until the arm is reset", "give the next instruction")
        self._reader.check(chunk)
        age_s = (now_ns - chunk.stamp_ns) * 1e-9
        if age_s > self.params.max_chunk_age_s:
            fix = "speed the policy up or raise max_chunk_age_s"
            raise ChunkError(f"a chunk of {age_s:.2f} s age", f"at most {self.params.max_chunk_age_s} s", fix)
        if age_s < -_AHEAD_S:
            fix = "use one clock: set use_sim_time alike everywhere"
            raise ChunkError(f"a chunk stamped {-age_s:.2f} s ahead of now", "a stamp in the past", fix)
        # what began on arrival is as new as its beginning: pictures from before show the arm at rest
        newest_ns = int(self._knots.answers_ns[0]) if self.waits or self._chunk is None else self._chunk.stamp_ns
        if self._chunk is not None and chunk.stamp_ns <= newest_ns:
            got = f"a chunk {(newest_ns - chunk.stamp_ns) * 1e-9:.2f} s older than or as old as the one in execution"
            raise ChunkError(got, "a newer observation stamp", "answer observations in order")

    def _reference(self, stamp_ns: int) -> Reference | None:
        """The robot at a capture stamp, as far as the contract's actions are relative to it.

        Raises:
            ChunkError: it isn't known any more.
        """
        kind = self._reader.spaces.reference
        if not kind:
            return None
        q, width_m = self._history.commanded_at(stamp_ns, self._knots)
        if kind == MEASURED:
            q = self._history.measured_at(stamp_ns)
        openings = width_m / self.robot.config.gripper_width_max_m
        return Reference(q, np.concatenate(self.robot.tool_pose(q)), openings)

    def _execute(self, answer: ActionChunk, reference: Reference | None, now_ns: int) -> None:
        """Combine, skip the past, solve, fit, join; commit only once everything has succeeded."""
        branch_ns = self._builder.branch_ns(self._knots, now_ns)
        steps = self._strategy.steps(self._buffer, branch_ns)
        chunk = replace(answer, stamp_ns=steps.origin_ns, actions=steps.actions.astype(np.float32))
        first = max(0, math.floor((branch_ns - chunk.stamp_ns) * 1e-9 / chunk.dt_s + 1e-6))
        last = len(chunk.actions) - 1
        end = self._reader.end(chunk)
        over = end is not None and end <= first
        if first >= last and not over:
            late_s = (branch_ns - chunk.stamp_ns) * 1e-9 - last * chunk.dt_s
            got = f"a chunk whose last step was due {late_s:.2f} s ago"
            raise ChunkError(
                got, "steps in the future", "speed the policy up, lengthen its horizon, or choose 'synchronous'"
            )
        if end is not None:
            chunk = replace(chunk, actions=chunk.actions[: max(end, 1) + 1])
        starving_s = self._starving_s(now_ns)
        if over:
            self._brake(now_ns)
        else:
            self._follow(chunk, first, steps.running, now_ns)
        self._starved_s += starving_s
        self._knots.sequence[0], self._knots.answers_ns[0] = chunk.sequence, answer.stamp_ns
        if self._buffer.executed is not None:  # warm-up and thinking from rest are no delay of the running motion
            self._delays.append(max(0, math.ceil((branch_ns - answer.stamp_ns) * 1e-9 / chunk.dt_s - 1e-6)))
        led, count = self._led(chunk), len(chunk.actions)
        self._running = self._reader.by_contract(led, reference)
        self._chunk = self._reader.by_contract(replace(led, actions=led.actions[:count]), reference)
        self._terminates = end is not None
        self._buffer.execute(Steps(led.actions.astype(np.float64), steps.origin_ns), count)

    def _follow(self, chunk: ActionChunk, first: int, running: int, now_ns: int) -> None:
        """Write the plan that leads along absolute rows from row `first` on, of which some are the running motion.

        The curve begins some rows earlier where there are any: at its ends smoothing shows most, and a chunk that
        continues the motion is to join it without a seam.
        """
        lead = min(first, _LEAD)
        start_q = self.sample(self._builder.branch_ns(self._knots, now_ns)).q_rad
        times = step_times_ns(chunk)[first - lead : max(running, first - lead)]
        path = self._reader.joint_path(chunk, first - lead, start_q, lead, self._history.path(times, self._knots))
        config = self.robot.config
        spline = ChunkSpline(
            path.q_rad, chunk.dt_s, config.position_min_rad, config.position_max_rad,
            self.params.steps_per_spline_knot, self.params.spline_smoothing,
            firm=max(lead + 1, running - first + lead),
        )  # fmt: skip
        origin_ns = chunk.stamp_ns + round((first - lead) * chunk.dt_s * 1e9)
        trajectory = self._builder.follow(self._knots, spline, origin_ns, now_ns)
        trajectory = replace(trajectory, chunk_s=trajectory.chunk_s - lead * chunk.dt_s)  # 0 at row `first`
        self._reader.check_path(trajectory.q_rad[::_CHECK_EVERY])
        told = last_told(self._knots, trajectory, config, self.params.knot_dt_s)
        said = self._reader.grippers(chunk, first, told.opening[-1], told.force[-1])
        self._base.follow(trajectory, self._reader.twists(chunk, first), chunk.dt_s, self.params.knot_dt_s)
        self._store(trajectory, *gripper_path(told, said, trajectory, config, chunk.dt_s))
        self._knots.fresh_until_ns[0] = trajectory.fresh_until_ns
        self._seam_rad = trajectory.seam_rad
        self._stretched += trajectory.stretch > 1.0
        self._late += trajectory.late_s > 0.0
        clamped = (path.error_m[lead:] > _CLAMPED_M) | (path.error_rad[lead:] > _CLAMPED_RAD)
        self._clamped = self._reader.tool_positions(replace(chunk, actions=chunk.actions[first:][clamped]))
        self._pulled_in += int(np.sum(clamped))

    def _led(self, chunk: ActionChunk) -> ActionChunk:
        """Absolute rows as the plan leads through them: past ones as they were, blended, stretched, within reach.

        After those of the chunk come as many of the brake and the hold that would follow it.
        """
        count = len(chunk.actions)
        ahead = np.round(np.arange(count, count + self.contract.horizon) * chunk.dt_s * 1e9).astype(np.int64)
        times = np.concatenate([step_times_ns(chunk), chunk.stamp_ns + ahead])
        return self._reader.led(chunk, self._history.path(times, self._knots))

    def _brake(self, now_ns: int) -> None:
        """Write a plan that comes to rest as fast as the limits allow, and stop the base."""
        trajectory = self._builder.stop(self._knots, now_ns)
        told = self._knots.width_at(now_ns).copy(), self._knots.force_at(now_ns).copy()
        self._base.clear()
        self._store(trajectory, *(np.tile(row, (len(trajectory.q_rad), 1)) for row in told))
        self._knots.fresh_until_ns[0] = min(int(self._knots.fresh_until_ns[0]), trajectory.fresh_until_ns)

    def _store(self, trajectory: Trajectory, width_m: Float64, force_n: Float64) -> None:
        self._history.replaced(self._knots, trajectory.start_ns)
        self._knots.store(
            trajectory.q_rad, trajectory.qd_rad_s, trajectory.qdd_rad_s2, width_m, force_n, trajectory.start_ns,
            self.params.knot_dt_s,
        )  # fmt: skip
