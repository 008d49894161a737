"""Stage 4 without I/O: state and plan in, bounded torque or joint positions out, once per period.

`Target` says where the joints should be, `ArmControl` how every arm gets there, `Compliance` how stiffly. An arm of
interface 'position' gets no torque but the target itself, from which it gives way to the external wrench (`Admittance`)
as far as its own measured torque tells one; an arm that reports zeros measures none, and follows the bare target.

When there is no state to work with, not finite or missing, the controller goes on with a prediction (`DeadReckoning`):
it follows the plan for up to `stale_state_s`, then brakes. With states back, the target rests where it came to and
waits for a new plan; where the prediction went astray (the world stood still, something was in the way) it goes to the
arm instead and comes to rest from there, for the way between the two is nobody's plan.

Every arm of a robot has springs, wrench and admittance at its own tool; gains are common to all, and a force on any of
them brakes all. The payload is what the first arm carries. The status tells the pose of the first tool, the wrench of
the one that is pressed hardest, and the error of those that are furthest from their targets.

Engagement from any state: the target begins with the arm's own motion, and brakes from it; the torque begins with the
one at work, or with gravity compensation for an arm with none (nobody has driven it yet, or brakes held it).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pinocchio as pin

from vla_control.core.arm_control import ArmControl
from vla_control.core.compiled_math import quaternion_from_matrix
from vla_control.core.compliance import Compliance
from vla_control.core.dead_reckoning import DeadReckoning
from vla_control.core.impedance import JOINT_SHARE, NOT_FINITE, STIFFNESS
from vla_control.core.knots import Knots
from vla_control.core.parameters import ServoParameters
from vla_control.core.payload import Payload
from vla_control.core.robot import RobotModel
from vla_control.core.servo_status import ServoStatus, largest, take_if_finite
from vla_control.core.target import Target
from vla_core.records import COMMAND, LIMITS, PLAN, STATE, STATUS
from vla_core.types import Float64

_NON_FINITE = 1 << LIMITS.index("non_finite_input")
_STALE = 1 << LIMITS.index("stale_state")
_CONTACT = 1 << LIMITS.index("contact_force")
_STOPPED = 1 << LIMITS.index("safety_stop")
_ASTRAY_RAD = 0.01  # a prediction further from the first measurement after it was wrong


class ServoCore:
    """One servo tick; allocates only when a stop or a bridge begins.

    Attributes:
        wrenches: (A,6) estimated external force and torque at each arm's tool [N, N*m], base frame.
    """

    def __init__(self, robot: RobotModel, params: ServoParameters) -> None:
        self.robot, self.params = robot, params
        loaded = robot.copy()  # our own, because the payload changes its inertias
        self._model: Any = loaded.model
        self._data, self._data_t = loaded.model.createData(), loaded.model.createData()
        self._grippers = robot.gripper_count
        self._compliance = Compliance(params)
        self._payload = Payload(loaded.model, robot.tool_id)
        self._rate_step = robot.config.torque_rate_nm_s * params.period_s
        self._contact_n2 = robot.config.contact_force_n**2
        self._stale_ns = round(params.stale_state_s * 1e9)
        self._joints = j = robot.joint_count
        self._by_position = robot.config.interface == "position"
        self._status = own = ServoStatus(j, self._grippers)
        self._q, self._qd, self._tau, self._wrench = own.q, own.qd, own.tau, own.wrench
        self._position, self._quaternion = own.tool_pose[:3], own.tool_pose[3:]
        self._q_t, self._qd_t, self._qdd_t = motion = own.q_target, own.qd_target, own.qdd_target
        self._width, self._width_t = own.gripper_width, own.gripper_target
        self._target = Target(robot, params.period_s, params.stale_state_s, *motion, self._width_t)
        self._arm = DeadReckoning(loaded)
        self._qd_previous, self._tau_previous, self._residual, self._q_command = np.zeros((4, j))
        count = robot.gripper_count
        self._error, self._errors, self.wrenches = np.zeros(2), np.zeros((count, 2)), np.zeros((count, 6))
        self._arms = tuple(
            ArmControl(
                loaded, arm, params, self._data, self._data_t,
                (self._q, self._qd), (self._arm.q, self._arm.qd), motion,
                self._tau_previous, self._qd_previous, self._residual, self._tau, self._q_command,
                self._errors[arm], self.wrenches[arm],
            )
            for arm in range(count)
        )  # fmt: skip
        self._bound_to: tuple[Any, ...] = (None, None, None)
        self._warm_up()
        self.reset()

    def reset(self) -> None:
        """Forget target, plan, observer and counters: the next tick holds where the robot then is."""
        self._started = self._lost = False
        self._compliance.settle()
        self._payload.set(self._compliance.load)
        self._predicted = False  # whether the last torque came from a prediction
        self._status.reset()
        self._target.reset()
        for arm in self._arms:
            arm.reset()
        self._residual[:] = self._tau_previous[:] = self._tau[:] = self._error[:] = self._force_n2 = 0.0
        self._tick, self._stamp_ns, self._good_ns, self._now_ns = 0, 0, 0, 0

    def use(self, settings: np.ndarray) -> None:
        """Head for another compliance, phase or payload: a SETTINGS record (1,)."""
        self._compliance.use(settings)

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
        stamp_ns = int(self._s_stamp[0])
        seen = take_if_finite(self._s_q, self._s_qd, self._s_width, self._q, self._qd, self._width)
        acting = 0 if seen else _NON_FINITE
        if self._status.ticks and not 0 < stamp_ns - self._stamp_ns <= self._stale_ns:
            acting |= _STALE
        self._tick, self._stamp_ns = int(self._s_tick[0]), stamp_ns
        lost = self._lost or not 0 <= stamp_ns - self._good_ns <= self._stale_ns
        if seen:
            self._good_ns, self._lost = stamp_ns, False
            if self._by_position and np.isfinite(self._s_tau).all():
                self._tau_previous[:] = self._s_tau
                for arm in self._arms:
                    arm.measures_torque = bool(arm.tau_previous.any())
        acting |= self._control(stamp_ns, seen, stop, lost)
        current = self._target.current
        starved = current.sequence[0] > 0 and stamp_ns > current.fresh_until_ns[0]
        answers_ns = current.answers_ns[0] if current.sequence[0] > 0 else 0
        self._status.set_supply(starved, self.params.period_s, answers_ns)
        self._answer(status, acting, begin_ns)

    def tick_without_state(
        self, age_s: float, plan: np.ndarray, stop: bool, command: np.ndarray, status: np.ndarray
    ) -> None:
        """Brake an arm whose states have stopped coming; limit 'stale_state'. Mode 'stop' also outlasts it.

        What the status reports as measured stays what was measured last, and keeps its stamp.

        Args:
            age_s: Real time since the newest state came [s].
            plan, stop, command, status: As for `tick`, which must have come before.
        """
        begin_ns = time.perf_counter_ns()
        bound = self._bound_to
        if plan is not bound[1] or command is not bound[2]:
            self._bind(bound[0], plan, command)
        self._lost = True
        acting = self._control(self._stamp_ns + round(age_s * 1e9), False, stop, True)
        self._answer(status, acting | _STALE, begin_ns)

    # -- torque -------------------------------------------------------------------------------------------------------

    def _control(self, now_ns: int, seen: bool, stop: bool, lost: bool) -> int:
        """Fill the torque for `now_ns`; returns the bits of what acted."""
        acting = _STOPPED if stop else 0
        if not self._started:
            if not seen:
                return acting  # no good state yet: nothing to compensate, no torque
            self._start(now_ns)
            lost = False
        q, qd = self._q, self._qd
        if seen:
            if self._predicted:  # the observer's difference of velocities begins anew
                self._qd_previous[:] = qd
                if lost and not self._by_position and np.abs(self._arm.q - q).max() > _ASTRAY_RAD:
                    self._target.start(q, self._width_t, now_ns, qd)
        else:
            if self._by_position:  # it follows its targets whether we hear of it or not
                self._arm.correct(self._q_t, self._qd_t)
            else:
                self._arm.advance(self._tau_previous, (now_ns - self._now_ns) * 1e-9)
            q, qd = self._arm.q, self._arm.qd
        elapsed_s = (now_ns - self._now_ns) * 1e-9
        if not 0.0 < elapsed_s <= self.params.stale_state_s:  # nobody knows what acted meanwhile
            self._qd_previous[:], elapsed_s = qd, self.params.period_s
        self._now_ns, self._predicted = now_ns, not seen
        if self._force_n2 > self._contact_n2:
            acting |= _CONTACT
        if self._target.follow(self._plan, now_ns, stop, lost or bool(acting & _CONTACT), q):
            acting |= _NON_FINITE
        acting |= self._target.acting
        self._compliance.advance()
        if self._compliance.load_moves:
            self._payload.set(self._compliance.load)
        limits = self._impedance(q, qd, seen, elapsed_s)
        if limits == NOT_FINITE:
            self._fall_back(now_ns)
            return acting | _NON_FINITE
        if seen:
            self._arm.correct(q, qd)
        return acting | limits

    def _impedance(self, q: Float64, qd: Float64, seen: bool, elapsed_s: float) -> int:
        """Torque towards the target from joint state q, qd; what only a measurement can tell is kept if `seen`."""
        pin.computeAllTerms(self._model, self._data, q, qd)
        pin.forwardKinematics(self._model, self._data_t, self._q_t)
        acting = 0
        for arm in self._arms:
            bits = arm.advance(seen, self._compliance.gain, elapsed_s)
            if bits == NOT_FINITE:
                return NOT_FINITE
            acting |= bits
        self._qd_previous[:] = qd
        if seen:
            first = self._arms[0]
            quaternion_from_matrix(first.rotation, self._quaternion)
            self._position[:] = first.position
            self._force_n2 = largest(self._errors, self.wrenches, self._error, self._wrench)
        return acting

    def _start(self, now_ns: int) -> None:
        """First good state: take the motion over and bring it to rest."""
        self._started, self._now_ns = True, now_ns
        self._target.start(self._q, self._width, now_ns, self._qd)
        limit, gravity = self.robot.config.torque_nm, pin.computeGeneralizedGravity(self._model, self._data, self._q)
        self._tau_previous[:] = np.clip(self._s_tau, -limit, limit) if np.isfinite(self._s_tau).all() else 0.0
        for arm in self._arms:
            if not arm.tau_previous.any():
                arm.tau_previous[:] = gravity[arm.joints]
            arm.admittance.reset(self._q[arm.joints])
        self._qd_previous[:] = self._qd
        self._arm.correct(self._q, self._qd)

    def _fall_back(self, now_ns: int) -> None:
        """The last gate: no torque could be computed. Relax towards gravity compensation where the arm last was.

        Reached by input that is finite and absurd. What it may have poisoned starts anew, and the arm brakes.
        """
        self._lost, self._residual[:] = True, 0.0
        self._qd_previous[:] = self._arm.qd
        if not all(np.isfinite(value).all() for value in (self._q_t, self._qd_t, self._qdd_t)):
            self._target.start(self._arm.q, self._width, now_ns)
        gravity = pin.computeGeneralizedGravity(self._model, self._data, self._arm.q)
        np.subtract(gravity, self._tau_previous, out=self._tau)
        np.clip(self._tau, -self._rate_step, self._rate_step, out=self._tau)
        np.add(self._tau, self._tau_previous, out=self._tau)

    # -- records ------------------------------------------------------------------------------------------------------

    def _answer(self, status: np.ndarray, acting: int, begin_ns: int) -> None:
        """Fill command and status."""
        own, target = self._status, self._target
        if self._by_position:
            self._tau[:] = self._tau_previous  # what the arm gives, not what an impedance would
            self._c_q[:] = self._q_command
        else:
            self._tau_previous[:] = self._c_tau[:] = self._tau
            self._c_q[:] = self._q_t
        self._c_tick[0], self._c_stamp[0] = self._tick, self._stamp_ns
        self._c_width[:], self._c_force[:] = self._width_t, target.force_n
        own.set_motion(target.mode, self._error, target.jerk_rad_s3)
        own.set_compliance(self._compliance.gain[JOINT_SHARE], self._compliance.gain[STIFFNESS])
        own.publish(status, self._tick, self._stamp_ns, acting)
        own.measure((time.perf_counter_ns() - begin_ns) * 1e-3)

    def _bind(self, state: np.ndarray, plan: np.ndarray, command: np.ndarray) -> None:
        """Make the views into the caller's records once, so that a tick looks up no field."""
        self._bound_to = (state, plan, command)
        self._plan = Knots(plan)
        self._s_tick, self._s_stamp = state["tick"], state["stamp_ns"]
        self._s_q, self._s_qd, self._s_tau = (state[name][0, : self._joints] for name in ("q", "qd", "tau"))
        self._s_width: Float64 = state["gripper_width"][0, : self._grippers]
        self._c_tick, self._c_stamp = command["tick"], command["stamp_ns"]
        self._c_tau: Float64 = command["tau"][0, : self._joints]
        self._c_q: Float64 = command["q"][0, : self._joints]
        self._c_width: Float64 = command["gripper_width"][0, : self._grippers]
        self._c_force: Float64 = command["gripper_force"][0, : self._grippers]

    def _warm_up(self) -> None:
        """Compile (or load) the kernels before the first real tick."""
        state, plan, command, status = (np.zeros(1, record) for record in (STATE, PLAN, COMMAND, STATUS))
        state["q"][0, : self._joints] = self.robot.config.home_rad
        self.reset()
        for stamp_ns in range(1, 4):
            state["stamp_ns"] = stamp_ns
            self.tick(state, plan, False, command, status)
        self._bound_to = (None, None, None)
