"""A chunk's curve to the knots that the servo follows: committed prefix, blend, curve, brake to rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_control.core.blend import Blender, Motion, Segment
from vla_control.core.knots import JERK_SHARE, Knots, extremes
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotConfig
from vla_control.core.spline import ChunkSpline
from vla_core.errors import ChunkError
from vla_core.records import MAX_KNOTS
from vla_core.types import Float64

_SLACK = 1e-3  # relative (positions: rad), for the check of the finished trajectory
_END_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Knots of a new plan.

    Attributes:
        start_ns: Time of knot 0.
        q_rad, qd_rad_s, qdd_rad_s2: (N,J).
        chunk_s: (N,) place of each knot on the chunk's clock [s]; NaN in the prefix.
        fresh_until_ns: Where the brake begins.
        late_s: How much later than asked the blend meets the curve [s].
        stretch: Factor >= 1 by which the curve was slowed down to keep the limits.
        seam_rad: (J,) how far the curve lies from the running plan where it takes over, which the blend makes good.
    """

    start_ns: int
    q_rad: Float64
    qd_rad_s: Float64
    qdd_rad_s2: Float64
    chunk_s: Float64
    fresh_until_ns: int
    late_s: float
    stretch: float
    seam_rad: Float64


class TrajectoryBuilder:
    """Composes plans for one robot."""

    def __init__(self, config: RobotConfig, params: ExecutorParameters) -> None:
        self._config, self._params = config, params
        self._blender = Blender(config)
        self._joints = len(config.joints)
        still = np.zeros((2, self._joints))
        extremes(1.0, 2, still, still, still, self._joints, 2)  # compile before the first chunk

    def branch_ns(self, running: Knots, now_ns: int) -> int:
        """Time of the first knot at least `commit_s` from now: where a new plan may leave the running one."""
        knot_s = self._params.knot_dt_s
        ahead_s = (now_ns - int(running.start_ns[0])) * 1e-9 + self._params.commit_s
        return int(running.start_ns[0]) + round(math.ceil(ahead_s / knot_s - 1e-6) * knot_s * 1e9)

    def follow(self, running: Knots, spline: ChunkSpline, spline_ns: int, now_ns: int) -> Trajectory:
        """Leave the running plan for a new curve, on time if the limits allow, and end at rest.

        Args:
            running: Plan in execution.
            spline: Curve whose clock reads 0 at `spline_ns`.
            now_ns: Present time.

        Raises:
            ChunkError: the curve is too fast by more than `max_stretch`, or the motion would leave the joint limits.
        """
        branch_ns = self.branch_ns(running, now_ns)
        first_s = (branch_ns - spline_ns) * 1e-9
        stretch = spline.stretch(self._config, JERK_SHARE, max(first_s, 0.0))
        if stretch > self._params.max_stretch:
            got = f"a chunk {stretch:.1f} times faster than the joint limits allow"
            fix = "check the action's units and rate, or retrain on slower motion"
            raise ChunkError(got, f"at most {self._params.max_stretch} times", fix)

        def curve(after_s: Float64 | float) -> Motion:
            q, qd, qdd = spline.motion(first_s + np.asarray(after_s) / stretch)
            return q, qd / stretch, qdd / stretch**2

        start = self._at(running, branch_ns)
        left_s = max(0.0, (spline.duration_s - first_s) * stretch)
        rest = self._blender.brake(curve(left_s))

        def target(after_s: float) -> Motion:
            """The curve, and the brake at its end: the little that is left of a late chunk is met in motion too."""
            if after_s <= left_s:
                return curve(after_s)
            q, qd, qdd = rest.sample(np.array([min(after_s - left_s, rest.duration_s)]))
            return q[0], qd[0], qdd[0]

        shortest_s = self._params.blend_s
        longest_s = max(shortest_s, min(self._params.blend_max_s, left_s))
        blend, late_s = self._blender.join(start, target, shortest_s, longest_s, is_smooth=first_s >= 0.0)

        def motion(times_s: Float64) -> Motion:
            """The motion to brake from, at times (N,) after the branch, rising."""
            q, qd, qdd = curve(times_s - late_s)
            blended = int(np.searchsorted(times_s, blend.duration_s, side="right"))
            if blended:
                q[:blended], qd[:blended], qdd[:blended] = blend.sample(times_s[:blended])
            return q, qd, qdd

        end_s = max(blend.duration_s, left_s + late_s)
        before = self._prefix(running, now_ns, branch_ns)
        end_s, tail = self._end(motion, end_s, blend.duration_s, len(before[0]), start[0])
        knot_s = self._params.knot_dt_s
        times = knot_s * np.arange(1, math.ceil((end_s + tail.duration_s) / knot_s) + 1, dtype=np.float64)
        moving = times[times < end_s]
        parts = [before, motion(moving), tail.sample(np.minimum(times[times >= end_s] - end_s, tail.duration_s))]
        q, qd, qdd = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._check(q, qd, qdd)
        place = np.concatenate([np.full(len(before[0]), np.nan), first_s + (times - late_s) / stretch])
        start_ns = branch_ns - round((len(before[0]) - 1) * knot_s * 1e9)
        seam_rad = curve(0.0)[0].reshape(-1) - start[0]
        return Trajectory(start_ns, q, qd, qdd, place, branch_ns + round(end_s * 1e9), late_s, stretch, seam_rad)

    def stop(self, running: Knots, now_ns: int) -> Trajectory:
        """Leave the running plan for a stop as fast as the limits allow.

        Raises:
            ChunkError: the running motion can't be stopped within the limits.
        """
        branch_ns = self.branch_ns(running, now_ns)
        tail = self._blender.brake(self._at(running, branch_ns))
        before = self._prefix(running, now_ns, branch_ns)
        knot_s = self._params.knot_dt_s
        times = knot_s * np.arange(1, math.ceil(tail.duration_s / knot_s) + 1)
        parts = [before, tail.sample(np.minimum(times, tail.duration_s))] if len(times) else [before]
        q, qd, qdd = (np.concatenate(column) for column in zip(*parts, strict=True))
        start_ns = branch_ns - round((len(before[0]) - 1) * knot_s * 1e9)
        return Trajectory(start_ns, q, qd, qdd, np.full(len(q), np.nan), branch_ns, 0.0, 1.0, 0.0 * q[0])

    def _at(self, running: Knots, stamp_ns: int) -> Motion:
        q, qd, qdd = (np.empty(self._joints) for _ in range(3))
        running.sample(stamp_ns, q, qd, qdd)
        return q, qd, qdd

    def _prefix(self, running: Knots, now_ns: int, branch_ns: int) -> Motion:
        """Knots of the running plan from one before now to the branch, none from before it began.

        One from before a reset would make it a plan for the world before, which the servo doesn't follow.
        """
        step_ns = round(self._params.knot_dt_s * 1e9)
        since_begin = (branch_ns - int(running.start_ns[0])) // step_ns
        count = max(1, min(math.ceil((branch_ns - now_ns) / step_ns) + 2, since_begin + 1))
        rows = [self._at(running, branch_ns - k * step_ns) for k in range(count - 1, -1, -1)]
        q, qd, qdd = (np.array(column) for column in zip(*rows, strict=True))
        return q, qd, qdd

    def _end(
        self, motion: Callable[[Float64], Motion], end_s: float, earliest_s: float, used: int, start_q: Float64
    ) -> tuple[float, Segment]:
        """When to brake, and the brake: at the end, or earlier if that would leave the joint limits or the plan."""
        low = np.minimum(self._config.position_min_rad, start_q)
        high = np.maximum(self._config.position_max_rad, start_q)
        room_s = (MAX_KNOTS - used - 1) * self._params.knot_dt_s
        while True:
            q, qd, qdd = motion(np.array([end_s]))
            tail = self._blender.brake((q[0], qd[0], qdd[0]))
            rest = tail.sample(np.array([tail.duration_s]))[0][0]
            fits = end_s + tail.duration_s <= room_s
            if fits and np.all(rest >= low) and np.all(rest <= high):
                return end_s, tail
            if end_s <= earliest_s:
                got = f"a chunk that {'leaves the joint limits' if fits else 'is longer than a plan can hold'}"
                expected = f"joint positions within limits and at most {room_s:.1f} s"
                raise ChunkError(got, expected, "let the policy stay away from the joint limits")
            end_s = max(earliest_s, end_s - _END_STEP_S)

    def _check(self, q: Float64, qd: Float64, qdd: Float64) -> None:
        """Every interval of the finished trajectory, against every limit."""
        config = self._config
        found = extremes(self._params.knot_dt_s, len(q), q, qd, qdd, self._joints, 5)
        low, high = np.minimum(config.position_min_rad, q[0]), np.maximum(config.position_max_rad, q[0])
        speed, acceleration, jerk = config.velocity_rad_s, config.acceleration_rad_s2, config.jerk_rad_s3
        for name, bad in (
            ("position", (found[0] < low - _SLACK) | (found[1] > high + _SLACK)),
            ("velocity", found[2] > (1 + _SLACK) * speed),
            ("acceleration", found[3] > (1 + _SLACK) * acceleration),
            ("jerk", found[4] > (1 + _SLACK) * jerk),
        ):
            if bad.any():
                joint = config.joints[int(np.argmax(bad))]
                raise ChunkError(f"a motion beyond the {name} limit of {joint}", "motion within limits", "slow it down")
