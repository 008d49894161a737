"""The hard safety layer: whatever was planned, the base can always still stop before anything that the lidar sees.

A command is let through if the footprint, driven by it until the next command can act and then braked along the same
curve, touches no hit of the last scan. The brake from then on is the very motion that the next tick falls back to, so
a base that is safe stays safe: by induction it never touches what stands still, whatever is asked of it. Otherwise the
largest part of the command that is safe is given, or the brake. Who stands too near already may move away, not closer.

Moving things count twice, where they are and as they go on at constant velocity: they may stop as well as go on. Near
them the base drives slowly in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core import se2
from vla_core.types import Float64
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.moving import belonging
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.twist_limits import TwistLimits

_PARTS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
_CLOSER_M = 1e-4  # less than this is no approach


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the base is given.

    Attributes:
        twist: (3,) within the limits.
        cause: '' let through, 'obstacle', 'moving'.
    """

    twist: Float64
    cause: str


class SafetyLayer:
    """Filters the commands of one base; knows nothing of plans or costmaps.

    Args:
        base: Limits. footprint: Of the robot. params: Margin, period, latency.

    Attributes:
        reach_m: What is further from the base's middle doesn't matter.
    """

    def __init__(self, base: BaseConfig, footprint: Footprint, params: NavigatorParameters) -> None:
        self._limits, self._params, self._discs = TwistLimits(base, params.period_s), params, footprint.discs
        # a base that brakes within its jerk follows the brake about half a ramp of its acceleration late
        used = base.acceleration > 0.0
        ramp_s = float((base.acceleration[used] / base.jerk[used]).max())
        self._late_s = params.latency_s + 0.5 * ramp_s
        fastest = float(np.hypot(base.velocity[0], base.velocity[1]) + base.velocity[2] * footprint.circumscribed_m)
        self._step_s = min(params.period_s, params.safety_margin_m / fastest)  # no point moves further between looks
        self._acceleration, self._circumscribed_m = base.acceleration, footprint.circumscribed_m
        # from here no hit matters: drive and brake, and what lies between that and the hits
        self._longest_s = params.period_s + self._late_s + float((base.velocity[used] / base.acceleration[used]).max())
        self.reach_m = fastest * self._longest_s + footprint.circumscribed_m + 2.0 * params.safety_margin_m

    def filter(self, wanted: Float64, before: Float64, pose: Float64, hits: Float64, moving: Float64) -> Verdict:
        """The next twist.

        Args:
            wanted: (3,) asked for. before: (3,) given last.
            pose: (3,) of the base in the map, now.
            hits: (N,2) of the last scan [m], map frame.
            moving: (M,5) x, y, vx, vy, radius of moving things, map frame.
        """
        near = se2.transform(se2.inverse(pose), hits)
        velocity = np.zeros_like(near)
        owner = belonging(hits, moving)
        goes_on = owner >= 0
        velocity[goes_on] = se2.transform(np.array([0.0, 0.0, -pose[2]]), moving[owner[goes_on], 2:4])
        near, velocity = np.concatenate([near, near[goes_on]]), np.concatenate([0.0 * velocity, velocity[goes_on]])
        reach = self.reach_m + self._longest_s * np.hypot(velocity[:, 0], velocity[:, 1])
        held = np.hypot(near[:, 0], near[:, 1]) <= reach
        near, velocity = near[held], velocity[held]
        allowed, cause = self._near_moving(self._limits.next(before, wanted), before, pose, moving)
        for part in _PARTS:
            twist = self._limits.next(before, part * allowed)
            if self._safe(twist, before, near, velocity):
                return Verdict(twist, "obstacle" if part < 1.0 else cause)
        return Verdict(self.brake(before), "obstacle")

    def brake(self, before: Float64) -> Float64:
        """The next twist (3,) on the way to rest."""
        return self._limits.next(before, np.zeros(3))

    def _safe(self, twist: Float64, before: Float64, near: Float64, velocity: Float64) -> bool:
        """Whether it stays clear, be the twist followed at once or as late as it may be."""
        p = self._params
        fixed = (self._acceleration, p.period_s + self._late_s, self._step_s, self._discs, 1.5 * p.safety_margin_m)
        return all(stays_clear(twist, before, late_s, *fixed, near, velocity) for late_s in (0.0, self._late_s))

    def _near_moving(self, twist: Float64, before: Float64, pose: Float64, moving: Float64) -> tuple[Float64, str]:
        """The twist, slowed down as a whole near moving things."""
        p = self._params
        speed = float(np.hypot(twist[0], twist[1]))
        if not len(moving) or speed <= p.moving_slow_m_s:
            return twist, ""
        gaps = np.hypot(moving[:, 0] - pose[0], moving[:, 1] - pose[1]) - moving[:, 4] - self._circumscribed_m
        share = (float(gaps.min()) - p.moving_near_m) / (p.moving_slow_m - p.moving_near_m)
        most = p.moving_slow_m_s + (float(self._limits.velocity[0]) - p.moving_slow_m_s) * min(1.0, max(0.0, share))
        if speed <= most:
            return twist, ""
        return self._limits.next(before, twist * (most / speed)), "moving"


@numba.njit(cache=True)
def stays_clear(
    twist: Float64, before: Float64, late: float, acceleration: Float64, brake_at: float, step: float, discs: Float64,
    margin: float, near: Float64, velocity: Float64,
) -> bool:  # fmt: skip
    """Whether driving on by a twist, and then a brake, keeps off all hits.

    Args:
        twist: (3,) followed from `late` [s] on. before: (3,) followed until then. acceleration: (3,) limits.
        brake_at: When the brake begins [s]. step: The motion is looked at so often [s].
        discs: (D,3) footprint. margin: [m] kept from hits. near: (N,2) hits, base frame. velocity: (N,2) of them.
    """
    count = near.shape[0]
    first = np.full(count, np.inf)  # distance of each hit from the footprint at the beginning
    x, y, yaw, t = 0.0, 0.0, 0.0, 0.0
    brake_s = 0.0  # every axis comes to rest at the same time, so the curve stays
    for a in range(3):
        if acceleration[a] > 0.0:
            brake_s = max(brake_s, abs(twist[a]) / acceleration[a])
    whole = brake_at + brake_s
    looked = 0
    while True:
        cos, sin = np.cos(yaw), np.sin(yaw)
        for i in range(count):
            px, py = near[i, 0] + t * velocity[i, 0] - x, near[i, 1] + t * velocity[i, 1] - y
            gap = np.inf
            for d in range(discs.shape[0]):
                dx, dy = cos * discs[d, 0] - sin * discs[d, 1], sin * discs[d, 0] + cos * discs[d, 1]
                gap = min(gap, np.hypot(px - dx, py - dy) - discs[d, 2])
            if looked == 0:
                first[i] = gap
            elif gap < margin and gap < first[i] - _CLOSER_M:
                return False
        if t >= whole:
            return True
        dt = min(step, whole - t)
        middle = t + 0.5 * dt
        left = 1.0 if middle <= brake_at else (whole - middle) / brake_s
        v, s, w = twist[0], twist[1], twist[2]
        if middle <= late:
            v, s, w = before[0], before[1], before[2]
        turn = yaw + 0.5 * dt * left * w
        x += dt * left * (v * np.cos(turn) - s * np.sin(turn))
        y += dt * left * (v * np.sin(turn) + s * np.cos(turn))
        yaw += dt * left * w
        t += dt
        looked += 1
