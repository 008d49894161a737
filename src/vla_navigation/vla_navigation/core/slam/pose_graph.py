"""The pose graph: keyframes and the measurements between them, solved incrementally by iSAM2 (GTSAM).

Kaess et al. 2012, "iSAM2: Incremental smoothing and mapping using the Bayes tree". Covariances of measurements are of
x, y, yaw in the first keyframe's frame, as scan matching gives them; GTSAM wants them in the second one's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import gtsam
import numpy as np

from vla_core.types import Float64

_FIRST_SIGMAS = np.array([1e-4, 1e-4, 1e-4])  # [m, m, rad]: the first keyframe is where the map begins
_RELINEARISE = 0.01
_CAUCHY = 1.0  # standard deviations from which on a loop weighs less


@dataclass(frozen=True, slots=True)
class Edge:
    """A measurement between two keyframes.

    Attributes:
        start, end: Their numbers.
        motion: float64 (3,) end's pose seen from start.
        covariance: float64 (3,3) of x, y, yaw in start's frame.
        loop: Recognised, not travelled: it may be wrong, and weighs less where it contradicts the others.
    """

    start: int
    end: int
    motion: Float64
    covariance: Float64
    loop: bool


class PoseGraph:
    """Keyframe poses; nothing is solved before `solve` is called.

    Attributes:
        edges: All measurements.
        poses: float64 (K,3) map -> keyframe, of the last solution or as given since.
    """

    def __init__(self) -> None:
        params = gtsam.ISAM2Params()
        params.setRelinearizeThreshold(_RELINEARISE)
        params.relinearizeSkip = 1
        self._isam = gtsam.ISAM2(params)
        self._factors, self._values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        self._neighbours: list[list[int]] = []
        self.edges: list[Edge] = []
        self.poses: Float64 = np.zeros((0, 3))

    def __len__(self) -> int:
        return len(self.poses)

    def add_keyframe(self, pose: Float64) -> int:
        """Place a keyframe at `pose` (3,), map -> keyframe; returns its number. All but the first need an edge."""
        number = len(self.poses)
        self._values.insert(number, gtsam.Pose2(*pose))
        if number == 0:
            noise = gtsam.noiseModel.Diagonal.Sigmas(_FIRST_SIGMAS)
            self._factors.add(gtsam.PriorFactorPose2(0, gtsam.Pose2(*pose), noise))
        self.poses = np.concatenate([self.poses, pose[None]])
        self._neighbours.append([])
        return number

    def add_edge(self, edge: Edge) -> None:
        """Take a measurement between keyframes that are there."""
        turn = np.eye(3)
        c, s = np.cos(edge.motion[2]), np.sin(edge.motion[2])
        turn[:2, :2] = [[c, s], [-s, c]]
        noise: gtsam.noiseModel.Base = gtsam.noiseModel.Gaussian.Covariance(turn @ edge.covariance @ turn.T)
        if edge.loop:
            noise = gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Cauchy.Create(_CAUCHY), noise)
        self._factors.add(gtsam.BetweenFactorPose2(edge.start, edge.end, gtsam.Pose2(*edge.motion), noise))
        self._neighbours[edge.start].append(edge.end)
        self._neighbours[edge.end].append(edge.start)
        self.edges.append(edge)

    def solve(self) -> None:
        """One step of iSAM2 with what is new, then the poses anew."""
        self._isam.update(self._factors, self._values)
        self._factors, self._values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        self.poses = np.array(gtsam.utilities.extractPose2(self._isam.calculateEstimate()), np.float64).reshape(-1, 3)

    def linked(self, a: int, b: int) -> bool:
        """Whether a measurement joins two keyframes."""
        return b in self._neighbours[a]

    def around(self, number: int, count: int) -> list[int]:
        """Up to `count` keyframes that the fewest measurements separate from one, itself first."""
        found, waiting = {number: None}, deque([number])
        while waiting and len(found) < count:
            for neighbour in self._neighbours[waiting.popleft()]:
                if neighbour not in found and len(found) < count:
                    found[neighbour] = None
                    waiting.append(neighbour)
        return list(found)

    def covariance(self, number: int) -> Float64:
        """(3,3) of a solved keyframe's pose, along its own axes, as seen from the first."""
        return np.asarray(self._isam.marginalCovariance(number), np.float64)
