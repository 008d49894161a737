"""Executor, supervisor and servo target of one robot on simulated time: what a stream of chunks makes of the arm."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.knots import Knots
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_control.core.supervised_executor import SupervisedExecutor
from vla_control.core.target import _OWN_BRIDGE, Target
from vla_core.contract import Contract
from vla_core.errors import ChunkError
from vla_core.records import LIMITS, MODES, STATE, STATUS
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
_TICK_S = 1e-3
_BEGIN_NS = 1000 * MS
_MOST_TICKS = 30_000
_LOOK_MS = 20  # how often the executor looks at robot and servo
_SLACK = 1.001  # rounding
_SAME_RAD, _SAME_RAD_S = 1.01e-5, 1.01e-3  # so little apart, the target takes two motions for one
_TOO_FAST = sum(1 << LIMITS.index(name) for name in ("joint_velocity", "joint_acceleration"))


class ServoLine:
    """An arm that is always where its target is.

    Args:
        robot: Its limits are the ones looked after.
        contract: Of the chunks.
        strategy: In use at the beginning.
        q: Where the arm begins [rad] (J,).

    Attributes:
        ticks: So many have been.
        refused: Why chunks were, in order.
    """

    def __init__(self, robot: RobotModel, contract: Contract, strategy: str, q: Float64) -> None:
        self.robot, self.contract, self.now_ns = robot, contract, _BEGIN_NS
        self.executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
        self.executor.use(strategy)
        self.supervisor = SupervisedExecutor(self.executor)
        self.q, self.qd, self.qdd = np.zeros((3, robot.joint_count))
        self._width_m = robot.config.gripper_width_max_m.copy()
        self.target = Target(robot, _TICK_S, 0.02, self.q, self.qd, self.qdd, self._width_m)
        self.target.start(q, self._width_m.copy(), self.now_ns)
        self.plan = Knots()  # as the servo has read it
        self._reads_ns: deque[int] = deque()
        self._state, self._status = np.zeros(1, STATE), np.zeros(1, STATUS)
        self._state["epoch_ns"] = self.now_ns
        self.ticks, self._log, self._jerk_rad_s3 = 0, np.zeros((_MOST_TICKS, 3, robot.joint_count)), 0.0
        self.acted = 0  # bits of LIMITS
        self.refused: list[str] = []
        self._look()

    @property
    def motion(self) -> Float64:
        """Position, velocity and acceleration (N,3,J) of every tick."""
        return self._log[: self.ticks]

    @property
    def rests(self) -> bool:
        """Whether plan and target do."""
        return self.executor.at_rest(self.now_ns) and self.target.mode == MODES.index("hold")

    @property
    def bridge_ms(self) -> int:
        """How long the target's own way to a plan that doesn't continue its motion still takes; 0: there is none."""
        target = self.target
        return -(-(target._own.end_ns - self.now_ns) // MS) if target._use == _OWN_BRIDGE else 0

    def accept(self, chunk: ActionChunk, read_ms: int = 0) -> bool:
        """Hand a chunk in; the servo reads the plan `read_ms` later. False where it is refused or passed over."""
        self._look()
        try:
            taken = self.supervisor.accept(chunk)
        except ChunkError as error:
            self.refused.append(str(error))
            taken = False
        self._reads_ns.append(self.now_ns + read_ms * MS)
        return taken

    def run(self, ticks: int, stop: bool = False) -> None:
        """Advance by `ticks` milliseconds."""
        for _ in range(ticks):
            self.now_ns += MS
            while self._reads_ns and self._reads_ns[0] <= self.now_ns:
                self._reads_ns.popleft()
                self.plan.copy(Knots(self.supervisor.record))  # a mailbox: only the newest plan is there
            self.target.follow(self.plan, self.now_ns, stop, False, self.q)
            row = self._log[self.ticks]
            row[0], row[1], row[2] = self.q, self.qd, self.qdd
            self.ticks += 1
            self._jerk_rad_s3 = max(self._jerk_rad_s3, self.target.jerk_rad_s3)
            self.acted |= self.target.acting
            if (self.now_ns // MS) % _LOOK_MS == 0:
                self._look()

    def run_to_rest(self) -> None:
        """Until plan and target have come to rest; IndexError if they never do."""
        self.run(100)
        while not self.rests:
            self.run(20)

    def _look(self) -> None:
        """Let the executor see robot and servo."""
        joints, grippers = self.robot.joint_count, self.robot.gripper_count
        self._state["stamp_ns"] = self._status["stamp_ns"] = self.now_ns
        self._state["q"][0, :joints] = self._status["q_target"][0, :joints] = self.q
        self._state["gripper_width"][0, :grippers] = self._status["gripper_target"][0, :grippers] = self._width_m
        self._status["mode"] = self.target.mode
        if self.supervisor.follow(self._state, self._status):
            self._reads_ns.append(self.now_ns)

    def check_limits(self) -> None:
        """Every tick within every limit, and no tick that jumps in position, velocity or acceleration."""
        config, h = self.robot.config, _TICK_S
        q, qd, qdd = self.motion.swapaxes(0, 1)
        assert np.all(q >= config.position_min_rad) and np.all(q <= config.position_max_rad)
        assert np.all(np.abs(qd) <= _SLACK * config.velocity_rad_s)
        assert np.all(np.abs(qdd) <= _SLACK * config.acceleration_rad_s2)
        most = _SLACK * config.jerk_rad_s3
        assert np.all(np.abs(np.diff(qdd, axis=0)) <= most * h)
        assert self._jerk_rad_s3 <= most.max(), "what the servo reports"
        # a trapezium errs by jerk h^3 / 12, and h^2 / 4
        errors = np.abs(np.diff(q, axis=0) - 0.5 * h * (qd[1:] + qd[:-1]))
        assert np.all(errors <= most * h**3 / 12 + _SAME_RAD)
        errors = np.abs(np.diff(qd, axis=0) - 0.5 * h * (qdd[1:] + qdd[:-1]))
        assert np.all(errors <= most * h**2 / 4 + _SAME_RAD_S)
        assert not self.acted & _TOO_FAST, "the plan itself keeps the limits, without the target's slowing down"
