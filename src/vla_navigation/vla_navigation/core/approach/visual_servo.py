"""The last decimetres by what the camera sees: turn to the thing, then drive until the arm has it at its best distance.

Position-based visual servoing (Chaumette & Hutchinson, "Visual servo control, part I", 2006, section III) with the two
coordinates that a differential base can change: bearing b and distance r of the thing from the arm's axis.

    w = k b,    v = k (r - r*) cos b          (each within its limit; v waits until b is small)

Nothing is remembered between pictures but when the thing was last seen: a thing that is carried off is lost, not chased
where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.errors import ConfigError
from vla_core.types import NS, Float64

DRIVING, ARRIVED, LOST, SLOW = ("driving", "arrived", "lost", "slow")
_AHEAD_RAD = 0.35  # no driving while the thing lies further aside


@dataclass(frozen=True, slots=True)
class ServoParameters:
    """Of the last approach.

    Attributes:
        gain_1_s: k.
        speed_m_s, turn_rad_s: Limits.
        near_m, near_rad: It has arrived when both errors are below these.
        lost_s: Without a view of the thing for so long it is lost; it stands from the first missing one.
        timeout_s: Of all of it.
    """

    gain_1_s: float
    speed_m_s: float
    turn_rad_s: float
    near_m: float
    near_rad: float
    lost_s: float
    timeout_s: float

    def __post_init__(self) -> None:
        if min(getattr(self, name) for name in self.__slots__) <= 0:
            raise ConfigError(f"{self}", "numbers > 0", "correct fetch_node in config/navigation.yaml")


@dataclass(frozen=True, slots=True)
class ServoStep:
    """What to do now.

    Attributes:
        state: DRIVING, ARRIVED, LOST or SLOW (the time is up).
        v_m_s, w_rad_s: Twist of the base; zero unless DRIVING.
    """

    state: str
    v_m_s: float = 0.0
    w_rad_s: float = 0.0


class VisualServo:
    """One last approach.

    Args:
        axis_m: float64 (2,) of the arm, base frame.
        distance_m: r*, see `ReachMap.best_distance_m`.
        params: Gains and limits.
        now_ns: Its beginning, on the ROS clock.
    """

    def __init__(self, axis_m: Float64, distance_m: float, params: ServoParameters, now_ns: int) -> None:
        self._axis_m, self._distance_m, self._params = axis_m, distance_m, params
        self._begin_ns = self._seen_ns = now_ns

    def step(self, thing_m: Float64 | None, now_ns: int) -> ServoStep:
        """One picture.

        Args:
            thing_m: float64 (2,) or (3,) where the thing is seen now, base frame; None: it isn't seen.
            now_ns: On the ROS clock.
        """
        p = self._params
        if now_ns - self._begin_ns > p.timeout_s * NS:
            return ServoStep(SLOW)
        if thing_m is None:
            return ServoStep(LOST if now_ns - self._seen_ns > p.lost_s * NS else DRIVING)
        self._seen_ns = now_ns
        x, y = thing_m[:2] - self._axis_m
        bearing, short = float(np.arctan2(y, x)), float(np.hypot(x, y)) - self._distance_m
        if abs(bearing) <= p.near_rad and abs(short) <= p.near_m:
            return ServoStep(ARRIVED)
        v = p.gain_1_s * short * np.cos(bearing) if abs(bearing) < _AHEAD_RAD else 0.0
        w = p.gain_1_s * bearing
        return ServoStep(
            DRIVING, float(np.clip(v, -p.speed_m_s, p.speed_m_s)), float(np.clip(w, -p.turn_rad_s, p.turn_rad_s))
        )
