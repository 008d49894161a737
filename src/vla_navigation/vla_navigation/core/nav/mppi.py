"""Local planner: model predictive path integral control (Williams et al., "Information theoretic MPC", 2017).

K sequences of twists are drawn about the last solution, each cut to the base's limits from the present twist on, so
each can be driven; each is rolled out over the horizon and costed; the new solution is their mean, weighted by
exp(-(cost - least) / temperature). As the limits are convex, the mean keeps them too. What a rollout costs:

    the cost-to-go at its end and, on average, on its way; nearness to obstacles; a collision, the earlier the dearer;
    nearness to moving things, which go on at constant velocity; changes of the twist; driving backwards; at the end,
    facing away from the path ahead; near the goal, distance and angle to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core.types import Float32, Float64
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.twist_limits import TwistLimits

COLLISION = 1e4  # a rollout that costs as much touches something
_KNOT_STEPS = 4  # noise is drawn for every fourth step and runs straight between them
_NEAR_M, _MOVING_M = 0.12, 0.3  # obstacles and moving things cost exp(-distance / this)
_GOAL_M = 0.6  # within this distance the goal itself counts instead of the cost-to-go
_LOOK_M = 0.8  # how far ahead on the path a base should face
# at the end of a rollout: [1/m] left to go, facing away from the path, and from the goal's yaw
_W_TERMINAL, _W_FACE, _W_YAW = 8.0, 1.2, 1.0
# per second: [1/m] left to go, nearness to obstacles and to moving things, backwards, [1/steps^2] changes
_W_WAY, _W_NEAR, _W_MOVING, _W_BACK, _W_CHANGE = 0.7, 5.0, 10.0, 2.0, 0.05


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rollouts are costed by.

    Attributes:
        field: float32 (H,W) cost-to-go, finite [m of free way]; large where no way leads on.
        distance_m: float32 (H,W) to the nearest obstacle.
        frame: Of both.
        look_ahead: (2,) a point on the path ahead.
        goal: (3,) x, y, yaw.
        moving: float64 (M,5) x, y, vx, vy, radius of moving things.
        path_length_m: What is left of the path.
    """

    field: Float32
    distance_m: Float32
    frame: GridFrame
    look_ahead: Float64
    goal: Float64
    moving: Float64
    path_length_m: float


class Mppi:
    """Local planner of one base.

    Args:
        base: Drive and limits.
        footprint: Of the robot.
        params: Samples, horizon, noise.
        seed: Of the noise.
    """

    def __init__(self, base: BaseConfig, footprint: Footprint, params: NavigatorParameters, seed: int = 0) -> None:
        self._limits, self._discs, self._params = TwistLimits(base, params.period_s), footprint.discs, params
        self._rng = np.random.default_rng(seed)
        horizon, samples = params.horizon, params.samples
        self._knots = (horizon - 1) // _KNOT_STEPS + 2
        self._noise = np.zeros((samples, self._knots, 3), np.float32)
        self._spread = (params.noise_share * base.velocity).astype(np.float32)
        self._low = -self._limits.velocity
        self._low[0] *= params.backward_share
        self._arcs = _arcs(self._limits.velocity)
        assert samples > len(self._arcs) + 2
        self._twists, self._costs = np.zeros((samples, horizon, 3)), np.zeros(samples)
        self.reset()

    def reset(self) -> None:
        """Forget the last solution: another goal, or the base did something else meanwhile."""
        self._solution = np.zeros((self._params.horizon, 3))

    @property
    def solution(self) -> Float64:
        """Twists (H,3) that it means to give, one per period."""
        return self._solution

    def command(self, pose: Float64, twist: Float64, around: Surroundings) -> Float64 | None:
        """The next twist (3,), or None when every rollout touches something.

        Args:
            pose: (3,) of the base in the map.
            twist: (3,) given last.
            around: What to drive by.
        """
        p, frame = self._params, around.frame
        self._rng.standard_normal(out=self._noise, dtype=np.float32)
        self._noise *= self._spread
        mean = np.concatenate([self._solution[1:], self._solution[-1:]])
        fixed = (
            pose, twist, p.period_s, self._low, self._limits.velocity, self._limits.step, self._limits.wheels,
            self._discs, around.field, around.distance_m, frame.resolution_m, frame.x_m, frame.y_m,
            around.look_ahead, around.goal, around.moving, around.path_length_m,
        )  # fmt: skip
        draw(mean, self._noise, self._arcs, twist, self._low, *fixed[4:7], self._twists)
        roll_out(self._twists, *fixed, self._costs)
        best = int(np.argmin(self._costs))
        if self._costs[best] >= COLLISION:
            self.reset()
            return None
        weights = np.exp(-(self._costs - self._costs[best]) / p.temperature)
        solution = np.tensordot(weights / weights.sum(), self._twists, 1)
        whole = np.zeros(1)
        roll_out(solution[None], *fixed, whole)
        # a mean between two ways around something may lead into it
        self._solution = solution if whole[0] < COLLISION else self._twists[best].copy()
        first: Float64 = self._solution[0].copy()
        return first


def _arcs(velocity: Float64) -> Float64:
    """Constant twists (N,3) that are always tried: rest, straight, sideways, turns on the spot and on the way."""
    arcs = [[0.0, 0.0, 0.0]]
    arcs += [[v, 0.0, w] for v in (0.5, 1.0) for w in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    arcs += [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -0.5], [0.0, 0.0, 0.5], [-1.0, 0.0, 0.0]]
    if velocity[1] > 0.0:
        arcs += [[v, side, 0.0] for v in (0.0, 0.7) for side in (-1.0, 1.0)]
    return np.array(arcs) * velocity


@numba.njit(cache=True)
def draw(
    mean: Float64, noise: Float32, arcs: Float64, before: Float64, low: Float64, high: Float64, step: Float64,
    wheels: Float64, twists: Float64,
) -> None:  # fmt: skip
    """Fill twists (K,H,3) with sequences within the limits: the mean, the constant arcs, and the mean with noise.

    Args:
        mean: (H,3). noise: (K,knots,3). arcs: (N,3). before: (3,) twist that the first one follows.
        low, high: (3,) velocities. step: (3,) largest change. wheels: (W,3) of `TwistLimits`.
    """
    samples, horizon, _ = twists.shape
    for k in range(samples):
        last = before.copy()
        for t in range(horizon):
            share = (t % _KNOT_STEPS) / _KNOT_STEPS
            knot = t // _KNOT_STEPS
            for a in range(3):
                wanted = mean[t, a]
                if 1 <= k <= arcs.shape[0]:
                    wanted = arcs[k - 1, a]
                elif k > 0:
                    wanted += (1.0 - share) * noise[k, knot, a] + share * noise[k, knot + 1, a]
                # a base that is already faster than allowed slows down as fast as it can
                wanted = min(max(wanted, low[a]), high[a])
                twists[k, t, a] = min(max(wanted, last[a] - step[a]), last[a] + step[a])
            part = 1.0  # of the way from the twist before, which the wheels can turn fast enough for
            for w in range(wheels.shape[0]):
                at = wheels[w, 0] * last[0] + wheels[w, 1] * last[1] + wheels[w, 2] * last[2]
                to = wheels[w, 0] * twists[k, t, 0] + wheels[w, 1] * twists[k, t, 1] + wheels[w, 2] * twists[k, t, 2]
                if abs(to) > 1.0 and abs(to - at) > 1e-12:
                    part = min(part, max(0.0, ((1.0 if to > 0.0 else -1.0) - at) / (to - at)))
            for a in range(3):
                twists[k, t, a] = last[a] + part * (twists[k, t, a] - last[a])
                last[a] = twists[k, t, a]


@numba.njit(cache=True)
def roll_out(
    twists: Float64, pose: Float64, before: Float64, dt: float, low: Float64, high: Float64, step: Float64,
    wheels: Float64, discs: Float64, field: Float32, distance: Float32, resolution: float, x0: float, y0: float,
    look: Float64, goal: Float64, moving: Float64, left_m: float, costs: Float64,
) -> None:  # fmt: skip
    """Fill costs (K,) of the sequences (K,H,3); COLLISION and more for one that touches something."""
    rows, columns = field.shape
    horizon = twists.shape[1]
    for k in range(twists.shape[0]):
        x, y, yaw = pose[0], pose[1], pose[2]
        cost = 0.0
        v0, s0, w0 = before[0], before[1], before[2]
        value = 0.0
        for t in range(horizon):
            v, s, w = twists[k, t, 0], twists[k, t, 1], twists[k, t, 2]
            middle = yaw + 0.5 * dt * w
            x += dt * (v * np.cos(middle) - s * np.sin(middle))
            y += dt * (v * np.sin(middle) + s * np.cos(middle))
            yaw += dt * w
            r, c = int(np.floor((y - y0) / resolution)), int(np.floor((x - x0) / resolution))
            if r < 0 or c < 0 or r >= rows or c >= columns:
                cost += COLLISION * (1.0 + (horizon - t) / horizon)
                break
            gap = clearance(discs, x, y, yaw, distance, resolution, x0, y0)
            touches = gap < 0.0
            for m in range(moving.shape[0]):
                ahead = (t + 1) * dt
                mx, my = moving[m, 0] + ahead * moving[m, 2], moving[m, 1] + ahead * moving[m, 3]
                room = np.hypot(x - mx, y - my) - moving[m, 4] - discs[0, 2]
                if room < 0.0:
                    touches = True
                cost += dt * _W_MOVING * np.exp(-max(room, 0.0) / _MOVING_M)
            if touches:
                cost += COLLISION * (1.0 + (horizon - t) / horizon)
                break
            cost += dt * _W_NEAR * np.exp(-gap / _NEAR_M) * (abs(v) + abs(s))
            near = np.hypot(goal[0] - x, goal[1] - y)
            value = near if near < _GOAL_M else float(field[r, c])
            change = (abs(v - v0) + abs(s - s0)) / step[0] + abs(w - w0) / step[2]
            cost += dt * (_W_WAY * value + _W_CHANGE * change * change + _W_BACK * max(0.0, -v) / high[0])
            v0, s0, w0 = v, s, w
        else:
            cost += _W_TERMINAL * value
            if left_m > _LOOK_M:
                cost += _W_FACE * (1.0 - np.cos(np.arctan2(look[1] - y, look[0] - x) - yaw))
            else:
                share = 1.0 - min(1.0, np.hypot(goal[0] - x, goal[1] - y) / _LOOK_M)
                cost += _W_YAW * share * (1.0 - np.cos(goal[2] - yaw)) if high[1] > 0.0 else 0.0
        costs[k] = cost


@numba.njit(cache=True)
def clearance(
    discs: Float64, x: float, y: float, yaw: float, distance: Float32, resolution: float, x0: float, y0: float
) -> float:
    """Distance [m] of the footprint at a pose to the nearest obstacle's cell centre; beyond the grid there is none."""
    rows, columns = distance.shape
    nearest = np.inf
    cos, sin = np.cos(yaw), np.sin(yaw)
    for d in range(discs.shape[0]):
        px, py = x + cos * discs[d, 0] - sin * discs[d, 1], y + sin * discs[d, 0] + cos * discs[d, 1]
        r, c = int(np.floor((py - y0) / resolution)), int(np.floor((px - x0) / resolution))
        if 0 <= r < rows and 0 <= c < columns:
            nearest = min(nearest, distance[r, c] - discs[d, 2])
    return nearest
