"""One object: evidence from several views, each of which may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32, Float64

VOXEL_M = 0.02
_FAR = 1 << 20  # no voxel lies further from the origin, in voxels
_MOST_VOXELS = 600
_MOST_VIEWS = 12
_ONE_VIEW = (0.02, 0.9)  # a single score isn't believed beyond these
_BOUNDS = (-4.0, 6.0)  # of the log odds that it exists


@dataclass(slots=True)
class Instance:
    """See the module.

    Attributes:
        id: Never given again.
        voxels: int64 (N,3) cells of VOXEL_M; `hits` (N,) how often each was seen.
        classes, colours: Evidence, the sum over independent views of score times probability (K,), (C,).
        eyes_m: (V,3) where it was seen from, each from elsewhere.
        log_odds: That it (still) exists.
        first_ns, last_ns: When it was seen first and last.
        misses: Views in a row that should have shown it.
    """

    id: int
    voxels: NDArray[np.int64]
    hits: NDArray[np.int64]
    classes: Float64
    colours: Float64
    first_ns: int
    last_ns: int
    eyes_m: list[Float64] = field(default_factory=list)
    log_odds: float = 0.0
    misses: int = 0
    #: Of which hits, and both corners.
    _extent: tuple[NDArray[np.int64], Float64, Float64] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def begin(cls, id: int, points_m: Float64, classes: Float32, colours: Float32, stamp_ns: int) -> Instance:
        """One that nobody has seen before; tell `see` next."""
        empty = np.zeros((0, 3), np.int64)
        made = cls(id, empty, np.zeros(0, np.int64), np.zeros(len(classes)), np.zeros(len(colours)), stamp_ns, stamp_ns)
        made._add(points_m)
        return made

    @property
    def position_m(self) -> Float64:
        """(3,) middle of the well seen voxels."""
        low, high = self.extent_m
        out: Float64 = 0.5 * (low + high)
        return out

    @property
    def extent_m(self) -> tuple[Float64, Float64]:
        """Lower and upper corner (3,) of nine tenths of its voxels per axis, so that strays don't count."""
        if self._extent is None or self._extent[0] is not self.hits:
            sure = self.voxels[self.hits * 3 >= self.hits.max()]
            low, high = np.percentile(sure, (5.0, 95.0), axis=0)
            self._extent = self.hits, VOXEL_M * low, VOXEL_M * (high + 1.0)
        return self._extent[1], self._extent[2]

    @property
    def existence(self) -> float:
        """Probability 0..1 that it is there."""
        return float(1.0 / (1.0 + np.exp(-self.log_odds)))

    @property
    def class_probability(self) -> Float64:
        """(K,), of what it is."""
        return _normalised(self.classes)

    @property
    def colour_probability(self) -> Float64:
        """(C,), of its colour."""
        return _normalised(self.colours)

    def see(self, points_m: Float64, score: float, classes: Float32, colours: Float32, eye_m: Float64, stamp_ns: int,
            apart_m: float) -> None:  # fmt: skip
        """Take one view into account; from where it was already seen it hardly counts, errors would repeat there."""
        self._add(points_m)
        self.last_ns, self.misses = max(self.last_ns, stamp_ns), 0
        independent = all(np.linalg.norm(eye_m - eye) >= apart_m for eye in self.eyes_m)
        if independent and len(self.eyes_m) < _MOST_VIEWS:
            self.eyes_m.append(eye_m.copy())
        weight = 1.0 if independent else 0.05
        bounded = float(np.clip(score, *_ONE_VIEW))
        self.log_odds = float(np.clip(self.log_odds + weight * np.log(bounded / (1.0 - bounded)), *_BOUNDS))
        self.classes += weight * bounded * classes
        self.colours += weight * bounded * colours

    def miss(self, evidence: float) -> None:
        """It should have been seen and wasn't; `evidence` >= 0 in log odds."""
        self.log_odds = max(_BOUNDS[0], self.log_odds - evidence)
        self.misses += 1

    def fade(self, through: NDArray[np.bool_], in_sight: NDArray[np.bool_]) -> None:
        """Believe less in voxels (N,) before a new view renews what it shows: half, where it looked through them, and
        three quarters, where they are in sight. Those without a hit are taken out, but for all at once.
        """
        lost = np.select([through, in_sight], [np.ceil(self.hits / 2), np.ceil(self.hits / 4)], 0.0)
        hits = self.hits - lost.astype(np.int64)
        if (hits > 0).any():
            self.voxels, self.hits = self.voxels[hits > 0], hits[hits > 0]

    def merge(self, other: Instance) -> None:
        """It was the same thing."""
        self.voxels, self.hits = _summed(
            np.concatenate([self.voxels, other.voxels]), np.concatenate([self.hits, other.hits])
        )
        self.classes, self.colours = self.classes + other.classes, self.colours + other.colours
        self.eyes_m = (self.eyes_m + other.eyes_m)[:_MOST_VIEWS]
        self.log_odds = min(_BOUNDS[1], max(self.log_odds, other.log_odds))
        self.first_ns, self.last_ns = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)

    def widen(self, places: Sequence[int], count: int) -> None:
        """Classes become `count`; those of before stand at `places` (K,) among them, of the others nothing is known."""
        classes = np.zeros(count)
        classes[list(places)] = self.classes
        self.classes = classes

    def _add(self, points_m: Float64) -> None:
        cells = _unpacked(np.unique(_packed(np.floor(points_m / VOXEL_M).astype(np.int64))))
        voxels, hits = _summed(
            np.concatenate([self.voxels, cells]), np.concatenate([self.hits, np.ones(len(cells), np.int64)])
        )
        if len(voxels) > _MOST_VOXELS:
            keep = np.sort(np.argsort(_scattered(voxels), kind="stable")[:_MOST_VOXELS])
            voxels, hits = voxels[keep], hits[keep]
        self.voxels, self.hits = voxels, hits


def middles(voxels: NDArray[np.int64]) -> Float64:
    """(N,3) middles of voxels (N,3) [m]."""
    out: Float64 = VOXEL_M * (voxels.astype(np.float64) + 0.5)
    return out


def _summed(voxels: NDArray[np.int64], hits: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    unique, inverse = np.unique(_packed(voxels), return_inverse=True)
    return _unpacked(unique), np.bincount(inverse, hits, len(unique)).astype(np.int64)


def _packed(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number (N,) per voxel (N,3), in the order of its rows: many times faster to sort than rows are."""
    out: NDArray[np.int64] = ((voxels[:, 0] + _FAR) << 42) + ((voxels[:, 1] + _FAR) << 21) + (voxels[:, 2] + _FAR)
    return out


def _unpacked(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    mask = (1 << 21) - 1
    return np.stack([numbers >> 42, (numbers >> 21) & mask, numbers & mask], axis=1) - _FAR


def _scattered(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) in no order of space, but always the same for a cell (Teschner et al. 2003), to thin large things evenly."""
    products = voxels * np.array([73_856_093, 19_349_663, 83_492_791])
    found: NDArray[np.int64] = np.bitwise_xor.reduce(products, axis=1) * 2_654_435_761 % 2**32
    return found


def _normalised(evidence: Float64) -> Float64:
    total = evidence.sum()
    out: Float64 = evidence / total if total > 0.0 else np.full(len(evidence), 1.0 / max(1, len(evidence)))
    return out
