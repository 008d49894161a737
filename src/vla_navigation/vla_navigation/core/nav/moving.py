"""Moving things: clusters of hits that the map doesn't explain, followed with a constant-velocity Kalman filter.

Only what is as large as people and carts, has been seen several times and has really gone somewhere counts: a wall
that comes into view from behind a corner grows, but does not move on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.types import Float64, Int64

_GAP_M = 0.25  # hits nearer to each other belong together
_LARGEST_M = 1.0
_ITS_OWN_M = 0.15  # a hit so near to a moving thing is its own
_LARGEST_STEP_M = 0.5  # between two scans
_SPEED_M_S = 0.15
_WAY_M = 0.25
_SIGHTINGS = 4
_FORGET_S = 0.6
_NOISE_M, _ACCELERATION_M_S2 = 0.05, 1.0


@dataclass(slots=True)
class _Track:
    state: Float64  # x, y, vx, vy
    covariance: Float64
    radius_m: float
    time_s: float  # of the state
    seen_s: float
    began: Float64
    sightings: int = 1
    gone_m: float = 0.0


class MovingTracker:
    """Follows what moves; one `observe` per scan."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []

    def clear(self) -> None:
        """Forget everything."""
        self._tracks = []

    def observe(self, points: Float64, stamp_s: float) -> None:
        """Take hits (N,2) [m], map frame, in the order of their angles, without those that the map explains."""
        for track in self._tracks:
            _predict(track, stamp_s)
        free = list(self._tracks)
        for centre, radius in clusters(points):
            away = [float(np.hypot(*(track.state[:2] - centre))) for track in free]
            if away and min(away) < _LARGEST_STEP_M:
                track = free.pop(int(np.argmin(away)))
                _correct(track, centre, radius, stamp_s)
            else:
                state = np.array([*centre, 0.0, 0.0])
                covariance = np.diag([_NOISE_M**2, _NOISE_M**2, 1.0, 1.0])
                self._tracks.append(_Track(state, covariance, radius, stamp_s, stamp_s, centre.copy()))
        self._tracks = [track for track in self._tracks if stamp_s - track.seen_s <= _FORGET_S]

    def moving(self) -> Float64:
        """What moves, at the time of the last scan: float64 (M,5) x, y [m], vx, vy [m/s], radius [m]."""
        rows = [
            [*track.state, track.radius_m]
            for track in self._tracks
            if track.sightings >= _SIGHTINGS and track.gone_m >= _WAY_M and np.hypot(*track.state[2:]) >= _SPEED_M_S
        ]
        return np.array(rows).reshape(-1, 5)


def belonging(points: Float64, moving: Float64) -> Int64:
    """Index of the moving thing of (M,5) that each point of (N,2) is a part of; -1: of none."""
    owner = np.full(len(points), -1)
    for k, (x, y, _, _, radius) in enumerate(moving):
        owner[np.hypot(points[:, 0] - x, points[:, 1] - y) <= radius + _ITS_OWN_M] = k
    return owner


def clusters(points: Float64) -> list[tuple[Float64, float]]:
    """Centre (2,) and radius [m] of every group of hits (N,2), in the order of their angles, that isn't too large."""
    if not len(points):
        return []
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    groups = np.split(points, np.flatnonzero(steps > _GAP_M) + 1)
    if len(groups) > 1 and np.linalg.norm(points[0] - points[-1]) <= _GAP_M:  # the scan begins within a group
        groups = [np.concatenate([groups[-1], groups[0]]), *groups[1:-1]]
    found = []
    for group in groups:
        low, high = group.min(0), group.max(0)
        if len(group) >= 2 and np.hypot(*(high - low)) <= _LARGEST_M:
            found.append((0.5 * (low + high), float(max(0.1, 0.5 * np.hypot(*(high - low))))))
    return found


def _predict(track: _Track, stamp_s: float) -> None:
    dt = max(0.0, stamp_s - track.time_s)
    track.time_s = stamp_s
    move = np.eye(4)
    move[0, 2] = move[1, 3] = dt
    push = np.array([0.5 * dt * dt, 0.5 * dt * dt, dt, dt]) * _ACCELERATION_M_S2
    track.state = move @ track.state
    track.covariance = move @ track.covariance @ move.T + np.diag(push * push)


def _correct(track: _Track, centre: Float64, radius: float, stamp_s: float) -> None:
    spread = track.covariance[:2, :2] + _NOISE_M**2 * np.eye(2)
    gain = track.covariance[:, :2] @ np.linalg.inv(spread)
    track.state = track.state + gain @ (centre - track.state[:2])
    track.covariance = track.covariance - gain @ track.covariance[:2]
    track.radius_m = max(radius, 0.8 * track.radius_m)
    track.seen_s = stamp_s
    track.sightings += 1
    track.gone_m = float(np.hypot(*(track.state[:2] - track.began)))
