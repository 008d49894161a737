"""Stage 4 without I/O: state and plan in, bounded torque out, once per period.

The servo follows the knots of the plan by time, from a copy of its own. It leaves them in two cases: on `stop` it
brakes from the target's present motion, within the jerk limit, and holds until a newer plan arrives; a plan that does
not continue the present target is joined through a bridge, again within the limits. Only a plan of sequence 0 (the
executor was reset to where the robot is) is taken over at once, and refused if the robot is elsewhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pinocchio as pin

from vla_control.core.blend import Blender, Motion, Segment
from vla_control.core.compiled_math import quaternion_from_matrix
from vla_control.core.impedance import bounds, gains, impedance_torque
from vla_control.core.knots import Knots
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo_status import ServoStatus, largest_change, take_if_finite
from vla_core.errors import ChunkError
from vla_core.records import COMMAND, LIMITS, MAX_KNOTS, MODES, PLAN, STATE, STATUS
from vla_core.types import Float64

_HOLD, _TRACK, _STOP = MODES.index("hold"), MODES.index("track"), MODES.index("stop")
_NON_FINITE = 1 << LIMITS.index("non_finite_input")
_STALE = 1 << LIMITS.index("stale_state")
_STOPPED = 1 << LIMITS.index("safety_stop")
_OWN_NONE, _OWN_BRIDGE, _OWN_STOP = range(3)
_OWN_DT_S = 0.005
_BRIDGE_MIN_S, _BRIDGE_MAX_S = 0.05, 1.0
_SAME = (1e-5, 1e-3, 0.2)  # [rad, rad/s, rad/s^2]: up to here a plan continues the present target
_RESET_RAD = 0.1  # a plan of sequence 0 further from the measured joints is refused


class ServoCore:
    """One servo tick; allocates only when a stop or a bridge begins."""

    def __init__(self, robot: RobotModel, params: ServoParameters) -> None:
        self.robot, self.params = robot, params
        self._model: Any = robot.model
        self._data, self._data_t = robot.model.createData(), robot.model.createData()
        self._tool = robot.tool_id
        self._gains, self._bounds = gains(params), bounds(robot.config)
        self._rate_step = robot.config.torque_rate_nm_s * params.period_s
        self._blender, self._force_n = Blender(robot.config), robot.config.gripper.max_force_n
        self._joints = j = robot.joint_count
        self._status = own = ServoStatus(j)
        self._q, self._qd, self._tau, self._pose, self._wrench = own.q, own.qd, own.tau, own.tool_pose, own.wrench
        self._q_t, self._qd_t, self._qdd_t = own.q_target, own.qd_target, own.qdd_target
        self._qd_previous, self._tau_previous, self._qdd_previous = np.zeros((3, j))
        self._residual, self._gravity = np.zeros((2, j))
        self._new = tuple(np.zeros((3, j)))
        self._error = np.zeros(2)
        self._own, self._current = Knots(), Knots()
        self._bound_to: tuple[Any, ...] = (None, None, None)
        self._warm_up()
        self.reset()

    def reset(self) -> None:
        """Forget target, plan, observer and counters: the next tick holds where the robot then is."""
        self._started = self._stopped = self._fault = False
        self._identity: tuple[int, int, int] | None = None
        self._own_use, self._mode = _OWN_NONE, _HOLD
        self._status.reset()
        self._residual[:] = self._gravity[:] = self._tau_previous[:] = 0.0
        self._current.clear()
        self._stamp_ns, self._width_m, self._width_t = 0, 0.0, 0.0

    def tick(self, state: np.ndarray, plan: np.ndarray, stop: bool, command: np.ndarray, status: np.ndarray) -> None:
        """Answer one state.

        Args:
            state, plan: STATE and PLAN records, shape (1,); read only.
            stop: A stop is asked for (safety monitor, deactivation).
            command, status: COMMAND and STATUS records, shape (1,), filled in place; `wake_us_p99` and `overruns`
                belong to the caller.
        """
        begin_ns = time.perf_counter_ns()
        bound = self._bound_to
        if state is not bound[0] or plan is not bound[1] or command is not bound[2]:
            self._bind(state, plan, command)
        own, current, period_s = self._status, self._current, self.params.period_s
        tick, stamp_ns, width_m = int(self._s_tick[0]), int(self._s_stamp[0]), float(self._s_width[0])
        gap_s = (stamp_ns - self._stamp_ns) * 1e-9
        if math.isfinite(width_m) and take_if_finite(self._s_q, self._s_qd, self._q, self._qd):
            self._width_m = width_m
            acting = self._control(stamp_ns, stop)
        else:
            acting = self._non_finite(stop)
        if own.ticks and not 0.0 < gap_s <= self.params.stale_state_s:
            acting |= _STALE
        self._stamp_ns = stamp_ns
        self._tau_previous[:] = self._c_tau[:] = self._tau
        self._c_tick[0], self._c_stamp[0] = tick, stamp_ns
        self._c_width[0], self._c_force[0] = self._width_t, self._force_n
        jerk = largest_change(self._qdd_t, self._qdd_previous) / max(gap_s, period_s)
        own.set_motion(self._mode, self._error, jerk, self._width_m, self._width_t)
        starved = current.sequence[0] > 0 and stamp_ns > current.fresh_until_ns[0]
        own.set_supply(starved, period_s, current.answers_ns[0] if current.sequence[0] > 0 else 0)
        own.publish(status, tick, stamp_ns, acting)
        own.measure((time.perf_counter_ns() - begin_ns) * 1e-3)

    # -- target -------------------------------------------------------------------------------------------------------

    def _follow(self, stamp_ns: int, stop: bool) -> int:
        """Sample the target at `stamp_ns`; returns the mode."""
        plan = self._plan
        # answers_ns is no part of it: a rejected chunk counts as answered and leaves the motion as it is
        identity = (int(plan.sequence[0]), int(plan.start_ns[0]), int(plan.fresh_until_ns[0]))
        left_s = self._sample(stamp_ns)
        if stop:
            if not self._stopped:
                self._stopped = True
                self._store(stamp_ns, self._blender.brake((self._q_t, self._qd_t, self._qdd_t)), _OWN_STOP)
                self._sample(stamp_ns)
            self._identity = identity  # whatever was planned before or during the stop is not resumed
            return _STOP
        self._stopped = False
        if identity != self._identity and plan.count[0] > 0:
            self._take_over(stamp_ns, identity)
            left_s = self._sample(stamp_ns)
        elif self._own_use == _OWN_BRIDGE and left_s <= 0.0:
            self._own_use = _OWN_NONE
            left_s = self._sample(stamp_ns)
        return _TRACK if left_s > 0.0 else _HOLD

    def _sample(self, stamp_ns: int) -> float:
        source = self._current if self._own_use == _OWN_NONE else self._own
        if self._own_use != _OWN_STOP:
            self._width_t = self._current.width_at(stamp_ns)
        return source.sample(stamp_ns, self._q_t, self._qd_t, self._qdd_t)

    def _take_over(self, stamp_ns: int, identity: tuple[int, int, int]) -> None:
        """Adopt a new plan: directly where it continues the present target, else through a bridge."""
        plan, new = self._plan, self._new
        self._identity = identity
        plan.sample(stamp_ns, *new)
        old, reset = (self._q_t, self._qd_t, self._qdd_t), identity[0] == 0
        same = all(np.max(np.abs(n - o)) <= s for n, o, s in zip(new, old, _SAME, strict=True))
        if reset and np.max(np.abs(new[0] - self._q)) > _RESET_RAD and not same:
            return  # not where the robot is
        if reset:
            self._qdd_previous[:] = new[2]
        self._current.copy(plan)
        self._own_use = _OWN_NONE
        if not same and not reset:
            try:
                segment, late_s = self._blender.join(old, self._ahead(stamp_ns), _BRIDGE_MIN_S, _BRIDGE_MAX_S)
            except ChunkError:  # this plan can't be met from here: come to rest, and join the next one
                self._store(stamp_ns, self._blender.brake(old), _OWN_STOP)
                return
            self._current.start_ns[0] += round(late_s * 1e9)
            self._current.fresh_until_ns[0] += round(late_s * 1e9)
            self._store(stamp_ns, segment, _OWN_BRIDGE)

    def _ahead(self, stamp_ns: int) -> Callable[[float], Motion]:
        def motion(after_s: float) -> Motion:
            q, qd, qdd = (np.empty(self._joints) for _ in range(3))
            self._current.sample(stamp_ns + round(after_s * 1e9), q, qd, qdd)
            return q, qd, qdd

        return motion

    def _store(self, stamp_ns: int, segment: Segment, use: int) -> None:
        """Knots of a motion that begins now, the last one exactly at its end."""
        count = min(MAX_KNOTS, max(2, math.ceil(segment.duration_s / _OWN_DT_S) + 1))
        dt_s = segment.duration_s / (count - 1)
        q, qd, qdd = segment.sample(dt_s * np.arange(count, dtype=np.float64))
        self._own.store(q, qd, qdd, np.full(count, self._width_t), stamp_ns, dt_s)
        self._own_use = use

    # -- torque -------------------------------------------------------------------------------------------------------

    def _control(self, stamp_ns: int, stop: bool) -> int:
        if not self._started:
            self._start(stamp_ns)
        self._mode = self._follow(stamp_ns, stop)
        model, data, ahead, tool = self._model, self._data, self._data_t, self._tool
        pin.computeAllTerms(model, data, self._q, self._qd)
        pose = pin.updateFramePlacement(model, data, tool)
        jacobian = pin.getFrameJacobian(model, data, tool, pin.LOCAL_WORLD_ALIGNED)
        pin.forwardKinematics(model, ahead, self._q_t)
        target = pin.updateFramePlacement(model, ahead, tool)
        rotation, position = pose.rotation, pose.translation
        acting = impedance_torque(
            self._q, self._qd, self._q_t, self._qd_t, self._qdd_t,
            rotation, position, target.rotation, target.translation,
            jacobian, data.M, data.nle, self.robot.damping_nm_s,
            self._gains, self._bounds, self._tau_previous, self._qd_previous,
            self._residual, self._tau, self._error, self._wrench,
        )  # fmt: skip
        quaternion_from_matrix(rotation, self._pose[3:])
        self._pose[:3] = position
        self._qd_previous[:] = self._qd
        self._fault = False
        return int(acting) | (_STOPPED if stop else 0)

    def _start(self, stamp_ns: int) -> None:
        """First good state: hold here, and send gravity compensation at once instead of ramping up to it."""
        self._started = True
        hold = self._q[None, :].copy()
        rest = np.zeros_like(hold)
        self._width_t = self._width_m
        self._current.store(hold, rest, rest, np.full(1, self._width_t), stamp_ns, self.params.period_s)
        self._tau_previous[:] = pin.computeGeneralizedGravity(self._model, self._data, self._q)
        self._qd_previous[:] = self._qd
        self._q_t[:], self._qd_t[:], self._qdd_t[:], self._qdd_previous[:] = self._q, 0.0, 0.0, 0.0

    def _non_finite(self, stop: bool) -> int:
        """Relax from the last torque to gravity compensation of the last good state, within the torque rate."""
        if not self._fault and self._started:
            self._gravity[:] = pin.computeGeneralizedGravity(self._model, self._data, self._q)
            self._fault = True
        np.subtract(self._gravity, self._tau_previous, out=self._tau)
        np.clip(self._tau, -self._rate_step, self._rate_step, out=self._tau)
        np.add(self._tau, self._tau_previous, out=self._tau)
        return _NON_FINITE | (_STOPPED if stop else 0)

    def _bind(self, state: np.ndarray, plan: np.ndarray, command: np.ndarray) -> None:
        """Make the views into the caller's records once, so that a tick looks up no field."""
        self._bound_to = (state, plan, command)
        self._plan = Knots(plan)
        self._s_tick, self._s_stamp, self._s_width = state["tick"], state["stamp_ns"], state["gripper_width"]
        self._s_q, self._s_qd = state["q"][0, : self._joints], state["qd"][0, : self._joints]
        self._c_tick, self._c_stamp = command["tick"], command["stamp_ns"]
        self._c_tau: Float64 = command["tau"][0, : self._joints]
        self._c_width, self._c_force = command["gripper_width"], command["gripper_force"]

    def _warm_up(self) -> None:
        """Compile (or load) the kernels before the first real tick."""
        state, plan, command, status = (np.zeros(1, record) for record in (STATE, PLAN, COMMAND, STATUS))
        state["q"][0, : self._joints] = self.robot.config.home_rad
        self.reset()
        for stamp_ns in range(1, 4):
            state["stamp_ns"] = stamp_ns
            self.tick(state, plan, False, command, status)
        self._bound_to = (None, None, None)
