"""Point-to-line matching of a scan with a submap, under a prior from odometry.

The pose x = (x, y, yaw) minimises, by Gauss-Newton with Cauchy weights w,

    sum_i w_i e_i^2 / s^2  +  (x - x_prior)^T P^-1 (x - x_prior),     e_i = n_i^T (R(yaw) p_i + t - a_i)

(Censi 2008, "An ICP variant using a point-to-line metric"). Directions that the walls don't fix, as along a corridor,
have small eigenvalues of J^T W J. What is left of them there comes from noise in the normals, so it is taken out of
the step and of the information (Zhang, Kaess, Singh 2016, "On degeneracy of optimization-based state estimation
problems"), gradually between one and two times a share of the largest eigenvalue: such a direction follows odometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vla_core.types import Float64
from vla_navigation.core.slam.scan import Sweep
from vla_navigation.core.slam.submap import CELL_M, Int32, Submap

_ITERATIONS = 15
_SETTLED = 1e-5  # [m, rad]
_KERNEL_M = 0.05  # residual of which the weight is one half
_SIGMA_M = 0.02  # of a residual: lidar noise, roughness of walls, errors that neighbours share
_INLIER_M = 0.08
_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Match:
    """Where a scan fits into a submap.

    Attributes:
        pose: float64 (3,) submap -> base.
        covariance: float64 (3,3) of x, y, yaw in the submap's frame [m², m·rad, rad²].
        information: float64 (3,3) the walls' own part of its inverse.
        overlap: Share of the scan's points that lie on a wall of the submap, 0..1.
        residual_m: Root mean square distance of these from the walls' lines.
        weak: How much of the three directions the walls leave to odometry, 0..3.
    """

    pose: Float64
    covariance: Float64
    information: Float64
    overlap: float
    residual_m: float
    weak: float


def match(submap: Submap, seen: Sweep, prior: Float64, covariance: Float64, degenerate_share: float) -> Match:
    """Fit what the robot sees into a submap.

    Args:
        prior: (3,) expected submap -> base. covariance: (3,3) of it, positive definite.
        degenerate_share: Of the largest eigenvalue of the walls' information; directions below it follow the prior.
    """
    pose, walls = np.array(prior, np.float64), np.zeros((3, 3))
    expected = _inverse(covariance)
    overlap, residual, weak = fit(
        submap.corner, submap.nearest, submap.centre, submap.anchor, submap.normal, submap.view, seen.points,
        seen.origin, pose, expected, degenerate_share, walls,
    )  # fmt: skip
    return Match(pose, _inverse(walls + expected), walls, overlap, residual, weak)


def _inverse(matrix: Float64) -> Float64:
    return np.linalg.inv(matrix).astype(np.float64)


@numba.njit(cache=True)
def residual(pose: Float64, point: Float64, anchor: Float64, normal: Float64, jacobian: Float64) -> float:
    """Signed distance [m] of a point (2,) at a pose (3,) from a line; fills its derivative (3,) by the pose."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    rx, ry = c * point[0] - s * point[1], s * point[0] + c * point[1]
    jacobian[0], jacobian[1], jacobian[2] = normal[0], normal[1], normal[1] * rx - normal[0] * ry
    return float(normal[0] * (rx + pose[0] - anchor[0]) + normal[1] * (ry + pose[1] - anchor[1]))


@numba.njit(cache=True)
def fit(
    corner: Float64, nearest: Int32, centre: Float64, anchor: Float64, normal: Float64, view: Float64,
    points: Float64, origin: Float64, pose: Float64, expected: Float64, degenerate_share: float, trusted: Float64,
) -> tuple[float, float, float]:  # fmt: skip
    """Move `pose` (3,) from the prior to the fit, fill `trusted` (3,3); overlap, residual [m] and weak directions.

    Args:
        corner .. view: Of a `Submap`. points, origin: (P,2) and (2,) of a `Sweep`.
        expected: (3,3) information of the prior. trusted: That of the walls, in the directions that they fix.
    """
    height, width = nearest.shape
    prior, jacobian = pose.copy(), np.empty(3)
    size = np.sqrt(np.sum(points * points) / max(1, points.shape[0])) + _INLIER_M  # a radian moves points this far
    scale = np.array([1.0, 1.0, 1.0 / size])
    weak = 3.0
    inliers, lined, squares = 0, 0, 0.0
    for iteration in range(_ITERATIONS + 1):  # the last one only judges
        c, s = np.cos(pose[2]), np.sin(pose[2])
        hessian, gradient = np.zeros((3, 3)), np.zeros(3)
        inliers, lined, squares = 0, 0, 0.0
        for i in range(points.shape[0]):
            x = c * points[i, 0] - s * points[i, 1] + pose[0]
            y = s * points[i, 0] + c * points[i, 1] + pose[1]
            cx, cy = int((x - corner[0]) / CELL_M), int((y - corner[1]) / CELL_M)
            if x < corner[0] or y < corner[1] or cx >= width or cy >= height or nearest[cy, cx] < 0:
                continue
            k = nearest[cy, cx]
            bx, by = origin[0] - points[i, 0], origin[1] - points[i, 1]
            if (c * bx - s * by) * view[k, 0] + (s * bx + c * by) * view[k, 1] <= 0.0:
                continue  # the other face of a thin wall
            near = (x - centre[k, 0]) ** 2 + (y - centre[k, 1]) ** 2 < _INLIER_M * _INLIER_M
            inliers += near
            if normal[k, 0] == 0.0 and normal[k, 1] == 0.0:
                continue
            error = residual(pose, points[i], anchor[k], normal[k], jacobian)
            if near:
                lined, squares = lined + 1, squares + error * error
            weight = 1.0 / ((1.0 + (error / _KERNEL_M) ** 2) * _SIGMA_M * _SIGMA_M)
            for a in range(3):
                gradient[a] += weight * error * jacobian[a] * scale[a]
                for b in range(3):
                    hessian[a, b] += weight * jacobian[a] * jacobian[b] * scale[a] * scale[b]
        values, vectors = np.linalg.eigh(hessian)
        floor = degenerate_share * values[2] + _SMALLEST
        trust = np.minimum(np.maximum(values / floor - 1.0, 0.0), 1.0)
        trusted[:] = (vectors * (trust * values)) @ vectors.T / np.outer(scale, scale)
        weak = 3.0 - np.sum(trust)
        step = (vectors * trust) @ (vectors.T @ gradient) / scale
        if iteration == _ITERATIONS:
            break
        change = -np.linalg.solve(trusted + expected, step + expected @ (pose - prior))
        pose += change
        if np.max(np.abs(change)) < _SETTLED:
            break
    share = inliers / points.shape[0] if points.shape[0] else 0.0
    return share, np.sqrt(squares / lined) if lined else np.inf, weak
