"""How fast the target goes through its plan: at the plan's own speed, or slower where that would be too fast.

The target runs through the knots by a time of its own, s, with ds/dt = p in 0..1. Its motion is then

    q(s),   p q'(s),   p^2 q''(s) + p' q'(s)

The pace p follows the smallest pace that any limit allows within the next moments, of every tool a and joint i,

    p_k = min(1, v_tool / |J_a q'|, v_i / |q'_i|, sqrt(a_i / |q''_i|))   at s + k h, k = 0..N

through a critically damped filter, p'' = w^2 (p_wanted - p) - 2 w p', which has settled when a fast stretch, seen N h
ahead, is reached. So the path stays the plan's, and velocity and acceleration stay continuous.
"""

from __future__ import annotations

import numba
import numpy as np

from vla_control.core.blend import Motion
from vla_control.core.kinematics import Chain, forward, point, speed_of
from vla_control.core.knots import Knots, sample_knots
from vla_control.core.robot import RobotModel
from vla_core.records import LIMITS
from vla_core.types import Float64

_SPEED = 1 << LIMITS.index("tool_speed")
_VELOCITY = 1 << LIMITS.index("joint_velocity")
_ACCELERATION = 1 << LIMITS.index("joint_acceleration")
_AHEAD, _STEP_S = 5, 0.07  # samples of the near future
_RATE_RAD_S = 20.0  # w: settled to 1 % after 0.33 s
_SHARE = 0.98  # of the limit, so that the filter's tail stays below it
_SLACK = 1.001  # a plan made to the very limit isn't too fast
_WHOLE = 1e-4
_CRAWL = 0.05


class Pace:
    """Pace of one target; allocates nothing.

    Args:
        robot: Its limits and kinematics.

    Attributes:
        value, rate: p and its derivative [1/s].
        acting: Bits of the limits that want a slower target.
    """

    def __init__(self, robot: RobotModel) -> None:
        config, count, chain = robot.config, robot.joint_count, Chain.of(robot)
        self._fixed = (
            config.tool_speed_m_s, config.velocity_rad_s, config.acceleration_rad_s2,
            chain.parent, chain.rotation, chain.position, chain.axis, chain.slides,
            chain.tool_joint, chain.tool, chain.reach,
            np.zeros((count + 1, 3, 3)), np.zeros((count + 1, 3)), np.zeros((3, count)),
        )  # fmt: skip
        self._found = np.zeros(2)
        self.reset()

    def reset(self) -> None:
        """Full pace: the target begins a motion that starts from its present one."""
        self.value, self.rate, self.acting = 1.0, 0.0, 0

    @property
    def whole(self) -> bool:
        """Whether the target follows the plan at the plan's own speed."""
        return self.value == 1.0 and self.rate == 0.0

    def advance(self, now: Knots, then: Knots, stamp_ns: int, step_s: float) -> float:
        """Move on by one tick.

        Args:
            now: The knots in use. then: Those that follow at their end.
            stamp_ns: Place in the knots, before this tick.
            step_s: Length of the tick, >= 0 [s].

        Returns:
            How much further the target goes through its knots in this tick [s].
        """
        look_ahead(
            now.start_ns[0], now.knot_dt_s[0], now.count[0], now.q, now.qd, now.qdd,
            then.start_ns[0], then.knot_dt_s[0], then.count[0], then.q, then.qd, then.qdd,
            stamp_ns, *self._fixed, self._found,
        )  # fmt: skip
        wanted, self.acting = self._found[0], int(self._found[1])
        before = self.value
        if wanted == 1.0 and abs(1.0 - before) < _WHOLE and abs(self.rate) < _WHOLE:
            self.value, self.rate = 1.0, 0.0
        else:
            w = _RATE_RAD_S
            self.rate += step_s * (w * w * (wanted - before) - 2.0 * w * self.rate)
            self.value = before + step_s * self.rate
            if self.value > 1.0:
                self.value, self.rate = 1.0, 0.0
        return 0.5 * (before + self.value) * step_s

    def unscaled(self, q: Float64, qd: Float64, qdd: Float64) -> Motion | None:
        """The target's motion (J,) on the time of the knots, from which other knots may go on at this pace.

        None when the target all but stands still: then it goes on from its motion as it is, at full pace.
        """
        p = self.value
        if p < _CRAWL:
            return None
        return q, qd / p, (qdd - self.rate * qd / p) / (p * p)

    def apply(self, qd: Float64, qdd: Float64) -> None:
        """Turn the knots' own velocity and acceleration (J,) into the target's, in place."""
        p = self.value
        for i in range(len(qd)):
            qdd[i] = p * p * qdd[i] + self.rate * qd[i]
            qd[i] *= p


@numba.njit(cache=True)
def look_ahead(
    start_ns: int, dt_s: float, count: int, knots_q: Float64, knots_qd: Float64, knots_qdd: Float64,
    next_ns: int, next_dt_s: float, next_count: int, next_q: Float64, next_qd: Float64, next_qdd: Float64,
    stamp_ns: int, speed_m_s: float, velocity: Float64, acceleration: Float64,
    parent: np.ndarray, rotation: Float64, position: Float64, axis: Float64, slides: np.ndarray,
    tool_joint: np.ndarray, tool: Float64, reach: Float64, turn: Float64, place: Float64, motion: Float64,
    found: Float64,
) -> None:  # fmt: skip
    """Fill found (2,) with the smallest pace that the motion from `stamp_ns` on needs, and the bits of why."""
    n = velocity.shape[0]
    end_ns = start_ns + (count - 1) * dt_s * 1e9
    at = np.empty(3)
    pace, bits = 1.0, 0
    for k in range(_AHEAD):
        t_ns = stamp_ns + int(k * _STEP_S * 1e9)
        q, qd, qdd = motion[0], motion[1], motion[2]
        if t_ns <= end_ns:
            sample_knots(start_ns, dt_s, count, knots_q, knots_qd, knots_qdd, t_ns, n, q, qd, qdd)
        else:
            sample_knots(next_ns, next_dt_s, next_count, next_q, next_qd, next_qdd, t_ns, n, q, qd, qdd)
        for i in range(n):
            fast, hard = abs(qd[i]), abs(qdd[i])
            if fast > _SLACK * velocity[i]:
                bits |= _VELOCITY
                pace = min(pace, _SHARE * velocity[i] / fast)
            if hard > _SLACK * acceleration[i]:
                bits |= _ACCELERATION
                pace = min(pace, np.sqrt(_SHARE * acceleration[i] / hard))
        placed = False
        for tip in range(tool_joint.shape[0]):
            bound = 0.0  # on the tool's speed, for less than the speed itself costs
            for i in range(n):
                bound += abs(qd[i]) * (1.0 if slides[i] else reach[tip, i])
            if bound <= _SHARE * speed_m_s:
                continue
            if not placed:
                forward(parent, rotation, position, axis, slides, q, turn, place)
                placed = True
            point(turn, place, tool_joint[tip], tool[tip], at)
            speed = speed_of(parent, axis, slides, turn, place, tool_joint[tip], at, qd)
            if speed > _SHARE * speed_m_s:
                bits |= _SPEED
                pace = min(pace, _SHARE * speed_m_s / speed)
    found[0], found[1] = pace, bits
