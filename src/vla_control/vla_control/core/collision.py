"""Distances between the arm, itself and what stands around it, and how fast a motion may close them.

A pair of shapes a, b at distance d, with the unit normal n from a to b at their nearest points, may only come nearer as
a control barrier allows (Ames et al., "Control Barrier Functions: Theory and Applications", 2019):

    n^T (J_b - J_a) dq >= -gain (d - d_safe)

J_a and J_b are the Jacobians of the two nearest points. Shapes are those of the robot's model file, distances come
from coal, and only pairs that the robot file names count: fingers may touch what a hand must not.

Where a face lies flat on another, the nearest point jumps from corner to corner, and holding one lets the other sink.
So against obstacles the corners of boxes and the ends of capsules are kept apart too, each for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import coal
import numba
import numpy as np
import pinocchio as pin

from vla_core.errors import ChunkError, ConfigError
from vla_core.types import Float64

_ROUNDING_M = 1e-4
_LARGEST_RETREAT_M = 0.02  # per iteration, of a pair that is nearer than it may be


@dataclass(frozen=True, slots=True)
class Box:
    """A box that stands still: name, lowest and highest corner [m] (3,), base frame."""

    name: str
    min_m: Float64
    max_m: Float64


@dataclass(frozen=True, slots=True)
class CollisionConfig:
    """Section `collision` of `config/robots/<name>.yaml`.

    Attributes:
        safe_m: Distance that inverse kinematics keeps; smoothing and blends may use up half of it.
        influence_m: Pairs further apart are not looked at.
        gain: Share of the distance left that one step of inverse kinematics may take, 0 .. 1.
        pairs: Names of the shapes that keep apart: geoms of the model file, or obstacles.
    """

    safe_m: float
    influence_m: float
    gain: float
    pairs: tuple[tuple[str, str], ...]


def parse_obstacles(data: Sequence[Mapping[str, Any]], path: Path) -> tuple[Box, ...]:
    """Turn the section `obstacles` of a robot file into boxes; `path` is only used in messages.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or no number.
        ConfigError: a corner isn't three finite numbers, or a box has no volume.
    """
    boxes = tuple(Box(str(box["name"]), _three(box["min_m"], path), _three(box["max_m"], path)) for box in data)
    if any(np.any(box.min_m >= box.max_m) for box in boxes):
        raise ConfigError(f"{path.name}: an obstacle without volume", "min_m < max_m", f"mend {path}")
    return boxes


def parse_collision(data: Mapping[str, Any], path: Path) -> CollisionConfig:
    """Turn the section into a CollisionConfig; `path` is only used in messages.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or no number.
        ConfigError: a number is out of range.
    """
    config = CollisionConfig(
        safe_m=float(data["safe_m"]),
        influence_m=float(data["influence_m"]),
        gain=float(data["gain"]),
        pairs=tuple((str(a), str(b)) for entry in data["pairs"] for a in entry["of"] for b in entry["with"]),
    )
    if not (0.0 <= config.safe_m < config.influence_m and 0.0 < config.gain <= 1.0):
        got = f"{path.name}: safe_m {config.safe_m}, influence_m {config.influence_m}, gain {config.gain}"
        raise ConfigError(got, "0 <= safe_m < influence_m and 0 < gain <= 1", f"mend {path}")
    return config


class CollisionModel:
    """Pairs of one robot. One instance belongs to one thread.

    Attributes:
        config: As given.
        count: P, the pairs of the configuration first, then those of corners and ends.
    """

    def __init__(self, config: CollisionConfig, obstacles: Sequence[Box], model: Any, geometry: Any) -> None:
        """Prepare the pairs.

        Args:
            config: Distances, and the pairs by name.
            obstacles: What stands around the robot.
            model: pinocchio.Model. geometry: pinocchio.GeometryModel on it; obstacles and pairs are added to a copy.

        Raises:
            ConfigError: a pair names a shape that there is not, or one without bounds.
        """
        self.config, self._model = config, model
        self._tips: dict[int, range] = {}
        geometry, standing = geometry.copy(), {box.name for box in obstacles}
        for box in obstacles:
            place = pin.SE3(np.eye(3), 0.5 * (box.min_m + box.max_m))
            geometry.addGeometryObject(pin.GeometryObject(box.name, 0, place, coal.Box(*(box.max_m - box.min_m))))
        known = [str(shape.name) for shape in geometry.geometryObjects]
        for pair in config.pairs:
            missing = [name for name in pair if name not in known]
            if missing:
                raise ConfigError(f"collision pair {list(pair)}", f"among {known}", "name shapes of the model file")
            geometry.addCollisionPair(pin.CollisionPair(*(geometry.getGeometryId(name) for name in pair)))
        for k, (a, b) in enumerate(config.pairs):
            if not {a, b} & standing:
                continue
            shape, obstacle = (a, b) if b in standing else (b, a)
            first = len(geometry.collisionPairs)
            for tip in _tips(geometry.geometryObjects[geometry.getGeometryId(shape)]):
                added = geometry.addGeometryObject(tip)
                geometry.addCollisionPair(pin.CollisionPair(added, geometry.getGeometryId(obstacle)))
            self._tips[k] = range(first, len(geometry.collisionPairs))
        self.count = len(geometry.collisionPairs)
        self._geometry, self._distances = geometry, pin.GeometryData(geometry)
        self._results = list(self._distances.distanceResults)  # references: they change with every computation
        for k in range(len(config.pairs), self.count):  # only looked at where the whole shape is near
            self._distances.deactivateCollisionPair(k)
        self._data = model.createData()
        self._wrenches, self._room = np.zeros((self.count, 2, 6)), np.zeros(self.count)
        _add_moments(self._wrenches)  # compile before the first chunk
        self._moves = np.zeros((self.count, 2, model.nv), dtype=bool)
        for row, pair in zip(self._moves, geometry.collisionPairs, strict=True):
            for mask, shape in zip(row, (pair.first, pair.second), strict=True):
                joints = list(model.supports[geometry.geometryObjects[shape].parentJoint])[1:]
                mask[[model.joints[joint].idx_v for joint in joints]] = True

    def distances(self, q: Float64) -> Float64:
        """Distance of every pair of the configuration (P,) [m] at q [rad] (J,), negative where they overlap."""
        pin.forwardKinematics(self._model, self._data, q)
        return np.array(self._measure(self._data))

    def check(self, path: Float64) -> None:
        """Look at a finished motion: pairs keep half of `safe_m`, or what they had at its beginning where that is less.

        Args:
            path: Joint positions (N,J) [rad], N >= 1.

        Raises:
            ChunkError: two shapes come too near.
        """
        least = np.minimum(self.distances(path[0]), 0.5 * self.config.safe_m) - _ROUNDING_M
        for q in path[1:]:
            distances = self.distances(q)
            if np.any(distances < least):
                k = int(np.argmin(distances - least))
                got = f"a motion that brings {' and '.join(self.config.pairs[k])} within {1e3 * distances[k]:.1f} mm"
                raise ChunkError(got, f"at least {1e3 * least[k]:.1f} mm", "let the policy stay away from there")

    def rows(self, data: Any) -> tuple[Float64, Float64]:
        """What a change dq (J,) of the joints must satisfy: rows dq >= low, for pairs within `influence_m`.

        Args:
            data: pinocchio.Data after computeJointJacobians.

        Returns:
            Rows float64 (R,J) and low (R,) [m].
        """
        config, jacobian = self.config, data.J
        distances = self._measure(data)
        near = [k for k, distance in enumerate(distances) if distance < config.influence_m]
        if not near:
            return np.zeros((0, self._model.nv)), np.zeros(0)
        tips = [tip for k in near for tip in self._tips.get(k, ())]
        for k in tips:
            pin.computeDistance(self._geometry, self._distances, k)
        near += [k for k in tips if self._results[k].min_distance < config.influence_m]
        wrenches, room = self._wrenches[: len(near)], self._room[: len(near)]
        for row, k in enumerate(near):
            result = self._results[k]
            wrenches[row, 0, 3:], wrenches[row, 1, 3:] = result.getNearestPoint1(), result.getNearestPoint2()
            wrenches[row, :, :3], room[row] = result.normal, result.min_distance
        _add_moments(wrenches)
        speeds = np.where(self._moves[near], wrenches @ jacobian, 0.0)
        return speeds[:, 1] - speeds[:, 0], np.minimum(config.gain * (config.safe_m - room), _LARGEST_RETREAT_M)

    def _measure(self, data: Any) -> list[float]:
        """Distances of the pairs of the configuration, for joints placed in `data`."""
        pin.updateGeometryPlacements(self._model, data, self._geometry, self._distances)
        pin.computeDistances(self._geometry, self._distances)
        return [result.min_distance for result in self._results[: len(self.config.pairs)]]


def _tips(shape: Any) -> list[Any]:
    """Corners of a box and ends of a capsule, as spheres that move with it."""
    form, radius = shape.geometry, 0.0
    if isinstance(form, coal.Box):
        places = [form.halfSide * np.array(signs) for signs in product((-1.0, 1.0), repeat=3)]
    elif isinstance(form, coal.Capsule):
        places, radius = [np.array([0.0, 0.0, end]) for end in (-form.halfLength, form.halfLength)], form.radius
    else:
        return []
    return [
        pin.GeometryObject(
            f"{shape.name}/{i}", shape.parentJoint, shape.placement * pin.SE3(np.eye(3), place), coal.Sphere(radius)
        )
        for i, place in enumerate(places)
    ]


@numba.njit(cache=True)
def _add_moments(wrenches: Float64) -> None:
    """Replace the points in wrenches (R,2,6), each a normal and a point, by the normals' moments about the origin."""
    for row in range(wrenches.shape[0]):
        for side in range(2):
            w = wrenches[row, side]
            x, y, z = w[3], w[4], w[5]
            w[3], w[4], w[5] = y * w[2] - z * w[1], z * w[0] - x * w[2], x * w[1] - y * w[0]


def _three(values: Any, path: Path) -> Float64:
    array = np.array(values, dtype=np.float64)
    if array.shape != (3,) or not np.all(np.isfinite(array)):
        raise ConfigError(f"{path.name}: obstacle with {values}", "three finite numbers", f"mend {path}")
    array.setflags(write=False)
    return array
