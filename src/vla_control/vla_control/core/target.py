"""The servo's target: the plan's motion, or a way to rest, and never a jump between the two.

The target follows the knots of the plan by time, from a copy of its own; where that is too fast for the tool or a
joint, more slowly (`Pace`). It leaves them in four cases:

- `stop`: it brakes from its present motion, within the jerk limit, and holds until a newer plan arrives.
- `lost`: the robot's state is missing, the tool is pressed too hard, or the time stamps leave a gap longer than
  `stale_s`. Nobody knows what the arm did meanwhile, and to catch up with the plan would take full acceleration, so it
  brakes as for a stop. The mode is 'stop' until the target rests, and for 0.1 s after the fault at least: longer than
  the executor looks away.
- The motion leads where the arm must not be (`Guard`): it brakes in time and rests, as after a loss.
- A plan that doesn't continue the present target is joined through a bridge, again within the limits. A plan of
  sequence 0 (the executor was reset to where the robot is) is refused if the robot is elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np

from vla_control.core.blend import Blender, Motion, Segment
from vla_control.core.guard import Guard
from vla_control.core.knots import Knots
from vla_control.core.pace import Pace
from vla_control.core.robot import RobotModel
from vla_core.errors import ChunkError
from vla_core.records import MAX_KNOTS, MODES
from vla_core.types import Float64

_HOLD, _TRACK, _STOP = MODES.index("hold"), MODES.index("track"), MODES.index("stop")
_OWN_NONE, _OWN_BRIDGE, _OWN_STOP = range(3)
_OWN_DT_S = 0.005
_BRIDGE_MIN_S, _BRIDGE_MAX_S = 0.05, 1.0
_SAME = (1e-5, 1e-3, 0.2)  # [rad, rad/s, rad/s^2]: up to here a plan continues the present target
_SAME_Q, _SAME_QD = _SAME[:2]
_STILL_RAD_S = 1e-3  # slower arms count as resting
_RESET_RAD = 0.1  # a plan of sequence 0 further from the measured joints is refused
_LOST_NS = 100_000_000  # shortest stop after a fault: the executor looks 20 times a second


@numba.njit(cache=True)
def implied_jerk(
    q: Float64, qd: Float64, qdd: Float64, q_last: Float64, qd_last: Float64, qdd_last: Float64,
    time_s: float, period_s: float,
) -> float:  # fmt: skip
    """Least jerk [rad/s^3] that leads from the last motion to this one in `time_s`, largest over the joints.

    With c = Taylor's prediction from the last motion it is the largest of 6 |q - c| / t^3, 2 |qd - c'| / t^2 and
    |qdd - c''| / t. A jump of the position counts like one of the acceleration; what the target takes for a
    continuation (1e-5 rad, 1e-3 rad/s) doesn't. Times shorter than `period_s` count as this long.
    """
    t, span, largest = time_s, max(time_s, period_s), 0.0
    for i in range(q.shape[0]):
        dq = abs(q[i] - q_last[i] - t * (qd_last[i] + 0.5 * t * qdd_last[i])) - _SAME_Q
        dqd = abs(qd[i] - qd_last[i] - t * qdd_last[i]) - _SAME_QD
        largest = max(largest, 6.0 * dq / span**3, 2.0 * dqd / span**2, abs(qdd[i] - qdd_last[i]) / span)
    return largest


@numba.njit(cache=True)
def knots_are_finite(
    count: int, joints: int, grippers: int, knot_dt_s: float, q: Float64, qd: Float64, qdd: Float64, width_m: Float64
) -> bool:
    """Whether every number in use of a plan (arrays (K, >=J), (K, >=G)) is finite."""
    if not (np.isfinite(knot_dt_s) and knot_dt_s > 0.0):
        return False
    for k in range(count):
        for g in range(grippers):
            if not np.isfinite(width_m[k, g]):
                return False
        for i in range(joints):
            if not (np.isfinite(q[k, i]) and np.isfinite(qd[k, i]) and np.isfinite(qdd[k, i])):
                return False
    return True


class Target:
    """Where the joints should be; allocates only when a stop or a bridge begins.

    Args:
        robot: Its limits and kinematics.
        period_s: Time between ticks [s].
        stale_s: A longer step of the time stamps is a gap [s].
        q, qd, qdd: Filled in place by `follow` (J,) [rad, rad/s, rad/s^2].
        width_m: And the gripper widths (G,) [m].

    Attributes:
        current: The plan in execution.
        mode: Index into MODES.
        acting: Bits of the limits that changed this step: a slower pace, or a brake before a place.
        force_n: What the grippers may use (G,) [N].
        jerk_rad_s3: Jerk of the last step.
    """

    def __init__(
        self,
        robot: RobotModel,
        period_s: float,
        stale_s: float,
        q: Float64,
        qd: Float64,
        qdd: Float64,
        width_m: Float64,
    ) -> None:
        self._joints, self._grippers, config = robot.joint_count, robot.gripper_count, robot.config
        self._period_s, self._period_ns, self._stale_ns = period_s, round(period_s * 1e9), round(stale_s * 1e9)
        self._config, self._blender = config, Blender(config)
        self._pace, self._guard = Pace(robot), Guard(robot)
        self._now, self._width_m = (q, qd, qdd), width_m
        self._most_n, self.force_n = config.gripper_force_n, np.zeros(self._grippers)
        self._last, self._new = tuple(np.zeros((3, self._joints))), tuple(np.zeros((3, self._joints)))
        self.current, self._own = Knots(), Knots()
        self.reset()

    def reset(self) -> None:
        """Forget every plan."""
        self.current.clear()
        self._identity: tuple[int, int, int] | None = None
        self._use, self.mode = _OWN_NONE, _HOLD
        self._stopped = self._lost = False
        self._now_ns = self._lost_until_ns = 0
        self._pace.reset()
        self.acting = self._braked_by = 0
        self._width_m[:] = self.force_n[:] = self.jerk_rad_s3 = 0.0

    def start(self, q: Float64, width_m: Float64, now_ns: int, qd: Float64 | None = None) -> None:
        """Come to rest from q, qd (J,) [rad, rad/s] with the grippers at `width_m` (G,); no plan is forgotten.

        Args:
            q: Where the arm is.
            width_m: How wide the grippers are.
            now_ns: Present time.
            qd: How fast the arm is, limited to what it may do; None: hold at q at once.
        """
        hold = np.array(q)[None, :]
        rest = np.zeros_like(hold)
        self._width_m[:], self.force_n[:] = width_m, self._most_n
        self.current.store(hold, rest, rest, self._width_m[None, :], self.force_n[None, :], now_ns, self._period_s)
        self._use, self._now_ns = _OWN_NONE, now_ns
        self._sample(now_ns)
        if qd is None or not np.abs(qd).max() > _STILL_RAD_S:
            return
        limit = self._config.velocity_rad_s
        motion = (hold[0], np.clip(qd, -limit, limit), rest[0])
        segment = self._blender.brake(motion)
        end = segment.sample(np.array([segment.duration_s]))[0]
        self.current.store(end, rest, rest, self._width_m[None, :], self.force_n[None, :], now_ns, self._period_s)
        self._store(now_ns, segment, _OWN_BRIDGE)
        self._sample(now_ns)

    def follow(self, plan: Knots, now_ns: int, stop: bool, lost: bool, q: Float64) -> bool:
        """Move on to `now_ns`.

        Args:
            plan: The executor's newest plan.
            stop: A stop is asked for.
            lost: The robot's state is missing, or was until now; or it is pressed too hard.
            q: Where the robot is [rad] (J,).

        Returns:
            Whether a new plan was refused because it holds numbers that aren't finite.
        """
        for last, now in zip(self._last, self._now, strict=True):
            last[:] = now
        gap = not 0 <= now_ns - self._now_ns <= self._stale_ns
        at_ns = self._now_ns + self._period_ns if gap else now_ns  # a gap is a tick like others to the target
        step_s = (at_ns - self._now_ns) * 1e-9
        self._slow_down(step_s)
        left_s = self._sample(at_ns)
        if self._use == _OWN_BRIDGE and left_s <= 0.0:  # before anything is made of where it leads
            self._use = _OWN_NONE
            left_s = self._sample(at_ns)
        self._now_ns = now_ns
        if lost or gap:
            self._lost, self._lost_until_ns = True, now_ns + _LOST_NS
        # answers_ns is no part of it: a rejected chunk counts as answered and leaves the motion as it is
        identity = (int(plan.sequence[0]), int(plan.start_ns[0]), int(plan.fresh_until_ns[0]))
        refused = False
        if stop or self._lost:
            if gap or not self._stopped:
                self._store(now_ns, self._blender.brake(self._now), _OWN_STOP)
                left_s = self._sample(now_ns)
            self._stopped, self._identity = True, identity  # what was planned before or during a stop is not resumed
            self._lost = self._lost and (left_s > 0.0 or now_ns < self._lost_until_ns)
            self.mode = _STOP
            self.acting = self._braked_by
        else:
            self._stopped = False
            self.acting, self._braked_by = self._pace.acting, 0
            if identity != self._identity and plan.count[0] > 0:
                refused = not self._take_over(plan, now_ns, identity, q)
                left_s = self._sample(now_ns)
            self.mode = _TRACK if left_s > 0.0 else _HOLD
            if left_s > 0.0:
                self._look_out(now_ns, identity)
        (q_t, qd_t, qdd_t), (q_l, qd_l, qdd_l) = self._now, self._last
        self.jerk_rad_s3 = implied_jerk(q_t, qd_t, qdd_t, q_l, qd_l, qdd_l, step_s, self._period_s)
        return refused

    def _slow_down(self, step_s: float) -> None:
        """Put off the knots by the time that the target lags behind them in this step."""
        pace = self._pace
        if self._use == _OWN_STOP or self.mode == _HOLD:
            pace.reset()
            return
        now = self._own if self._use == _OWN_BRIDGE else self.current
        advance_s = pace.advance(now, self.current, self._now_ns, step_s)
        if not pace.whole:
            late_ns = round((step_s - advance_s) * 1e9)
            self.current.start_ns[0] += late_ns
            self.current.fresh_until_ns[0] += late_ns
            self._own.start_ns[0] += late_ns

    def _look_out(self, now_ns: int, identity: tuple[int, int, int]) -> None:
        """Brake if this motion, braked later, would come to rest where the arm must not be."""
        found = self._guard.check(*self._now)
        if found:
            self._store(now_ns, self._blender.brake(self._now), _OWN_STOP)
            self._sample(now_ns)
            self._stopped = self._lost = True
            self._lost_until_ns, self._identity = now_ns + _LOST_NS, identity
            self.mode = _STOP
            self.acting = self._braked_by = found

    def _sample(self, stamp_ns: int) -> float:
        """Fill the motion at `stamp_ns`; returns the time left [s]."""
        source = self.current if self._use == _OWN_NONE else self._own
        if self._use != _OWN_STOP:
            self._width_m[:] = self.current.width_at(stamp_ns)[: self._grippers]
            self.force_n[:] = self.current.force_at(stamp_ns)[: self._grippers]
        left_s = source.sample(stamp_ns, *self._now)
        if not self._pace.whole:
            self._pace.apply(*self._now[1:])
        return left_s

    def _take_over(self, plan: Knots, now_ns: int, identity: tuple[int, int, int], q: Float64) -> bool:
        """Adopt a new plan: directly where it continues the present target, else through a bridge."""
        new, old = self._new, self._now
        if not self._pace.whole:
            unscaled = self._pace.unscaled(*self._now)
            if unscaled is None:
                self._pace.reset()
            old = unscaled or old
        self._identity = identity
        count, knot_dt_s, size = int(plan.count[0]), plan.knot_dt_s[0], (self._joints, self._grippers)
        if not knots_are_finite(count, *size, knot_dt_s, plan.q, plan.qd, plan.qdd, plan.gripper_width):
            return False
        if not np.isfinite(plan.gripper_force[:count, : self._grippers]).all():
            return False
        plan.sample(now_ns, *new)
        same = all(np.max(np.abs(n - o)) <= s for n, o, s in zip(new, old, _SAME, strict=True))
        if identity[0] == 0 and not same and np.max(np.abs(new[0] - q)) > _RESET_RAD:
            return True  # not where the robot is
        self.current.copy(plan)
        self._use = _OWN_NONE
        if not same:
            try:
                segment, late_s = self._blender.join(old, self._ahead(now_ns), _BRIDGE_MIN_S, _BRIDGE_MAX_S)
            except ChunkError:  # this plan can't be met from here: come to rest, and join the next one
                self._store(now_ns, self._blender.brake(self._now), _OWN_STOP)
                return True
            self.current.start_ns[0] += round(late_s * 1e9)
            self.current.fresh_until_ns[0] += round(late_s * 1e9)
            self._store(now_ns, segment, _OWN_BRIDGE)
        return True

    def _ahead(self, now_ns: int) -> Callable[[float], Motion]:
        def motion(after_s: float) -> Motion:
            q, qd, qdd = (np.empty(self._joints) for _ in range(3))
            self.current.sample(now_ns + round(after_s * 1e9), q, qd, qdd)
            return q, qd, qdd

        return motion

    def _store(self, now_ns: int, segment: Segment, use: int) -> None:
        """Knots of a motion that begins now, the last one exactly at its end."""
        if use == _OWN_STOP:
            self._pace.reset()
        count = min(MAX_KNOTS, max(2, math.ceil(segment.duration_s / _OWN_DT_S) + 1))
        dt_s = segment.duration_s / (count - 1)
        q, qd, qdd = segment.sample(dt_s * np.arange(count, dtype=np.float64))
        widths_m, forces_n = (np.tile(row, (count, 1)) for row in (self._width_m, self.force_n))
        self._own.store(q, qd, qdd, widths_m, forces_n, now_ns, dt_s)
        self._use = use
