"""Find a robot in a known map without a guess, or say that it can't be found.

The scan is searched for in the whole map (`correlative`). An answer counts only if no other place would do nearly as
well, and if the scan then fits into the walls around the nearest keyframe.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from vla_core import se2
from vla_core.types import Float64
from vla_navigation.core.slam.correlative import ScoreField, Window, search
from vla_navigation.core.slam.matcher import match
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.place_map import PlaceMap
from vla_navigation.core.slam.scan import Sweep

_GUESS = np.diag([0.15, 0.15, 0.1]) ** 2  # of a search's result [m², m², rad²]
_RIVAL = 0.9


@dataclass(frozen=True, slots=True)
class Relocated:
    """Where a lost robot is.

    Attributes:
        keyframe: Number of the nearest keyframe; -1: not found.
        pose: float64 (3,) keyframe -> base. covariance: float64 (3,3) of it.
        why: What speaks against an answer, where there is none.
    """

    keyframe: int
    pose: Float64
    covariance: Float64
    why: str


def relocalise(
    place: PlaceMap, seen: Sweep, params: SlamParameters, near: Window | None = None
) -> Generator[None, None, Relocated]:
    """Search what a robot sees in the map; a generator of short steps.

    Args:
        near: Where somebody says that it is; None: anywhere.
    """
    if not seen.hit.any():
        return _lost("no ray met anything")
    field = ScoreField(place.walls())
    yield
    found = yield from search(field, seen.points, near or field.window, params.relocalise_score, _RIVAL)
    if found.pose is None:
        return _lost("no place looks like the scan")
    if found.rival > 0.0:
        return _lost(f"two places look like the scan ({found.score:.2f}, {found.rival:.2f})")
    poses = place.graph.poses
    keyframe = int(np.argmin(np.linalg.norm(poses[:, :2] - found.pose[:2], axis=1)))
    submap = place.submap(keyframe, params.submap_keyframes)
    guess = se2.between(poses[keyframe], found.pose)
    fitted = match(submap, seen, guess, _GUESS, params.degenerate_share)
    if fitted.overlap < params.relocalise_overlap:
        return _lost(f"only {100 * fitted.overlap:.0f} % of the scan fits the likeliest place")
    return Relocated(keyframe, fitted.pose, fitted.covariance, "")


def _lost(why: str) -> Relocated:
    return Relocated(-1, np.zeros(3), np.eye(3), why)
