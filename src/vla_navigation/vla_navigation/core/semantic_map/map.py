"""The semantic map: detections of one view after the other become objects; what isn't there any more goes.

    detections + depth → surfaces → assigned to objects (Hungarian) → evidence; what should show and doesn't: less

A detection counts for the object whose place and class fit best; from where it was already seen an object gains little,
since a detector errs the same way twice. Seen through (the depth behind it was measured) is evidence that it has gone;
hidden (something nearer was measured) is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from vla_core.errors import ConfigError, ObservationError
from vla_core.types import Float64
from vla_navigation.core.semantic_map.instance import Instance, middles
from vla_navigation.core.semantic_map.views import OUTSIDE, THERE, THROUGH, Detection, View, compare, surface

_FORMAT = 1
_NO = 1e6  # cost of what can't be the same
_IN_HAND_M = 0.15  # from the tool to the middle of what is seen of a thing
_OWN_M = 0.05  # a depth that differs more from a voxel's is another surface's
_UNLIKE = 0.12  # probability of the same class below which it isn't


@dataclass(frozen=True, slots=True)
class SemanticMapParameters:
    """Thresholds.

    Attributes:
        least_score: Detections below aren't looked at.
        near_m: A detection so far from an object may still be that object.
        apart_m: Views closer to each other aren't independent.
        sure: Existence and probability of class from which an object counts as confirmed.
        views: Independent views that this takes.
        forget: Existence below which an object is taken out.
        seen_through: Log odds that a view through an object takes from it.
        overlooked: The same of a view in which something is at its place, but no detection.
        behind_m: A depth so much greater than the object's means that it was seen through.
    """

    least_score: float
    near_m: float
    apart_m: float
    sure: float
    views: int
    forget: float
    seen_through: float
    overlooked: float
    behind_m: float

    def __post_init__(self) -> None:
        shares = self.least_score, self.sure, self.forget
        lengths = self.near_m, self.apart_m, self.behind_m, self.seen_through
        if not all(0.0 < share < 1.0 for share in shares) or min(lengths) <= 0.0 or self.views < 1:
            raise ConfigError(f"{self}", "shares in 0..1, lengths > 0, views >= 1", "mend config/navigation.yaml")


class SemanticMap:
    """See the module.

    Args:
        classes: (K,) names of what the detector tells apart.
        colours: (C,) names of colours.
        params: Thresholds.

    Attributes:
        objects: By id.
        gone: Ids of objects that were seen from enough places and then vanished, newest last.
    """

    def __init__(self, classes: Sequence[str], colours: Sequence[str], params: SemanticMapParameters) -> None:
        self.classes, self.colours, self.params = tuple(classes), tuple(colours), params
        self.objects: dict[int, Instance] = {}
        self.gone: list[int] = []
        self._next = 1
        self._newest_ns = -1

    def update(self, view: View, detections: Sequence[Detection]) -> list[int]:
        """Take one view into account.

        Returns:
            Ids of the objects that the detections were taken for.

        Raises:
            ObservationError: a detection doesn't fit the map or the image, or the view is older than the last.
        """
        if view.stamp_ns < self._newest_ns:
            got = f"a view of {view.stamp_ns} ns after one of {self._newest_ns} ns"
            raise ObservationError(got, "views in order", "drop it, or clear the map when time jumped")
        self._newest_ns = view.stamp_ns
        seen: list[tuple[Detection, Float64]] = []
        for detection in detections:
            if len(detection.classes) != len(self.classes) or len(detection.colours) != len(self.colours):
                got = f"{len(detection.classes)} classes and {len(detection.colours)} colours"
                expected = f"{len(self.classes)} and {len(self.colours)}"
                raise ObservationError(got, expected, "use the detector that the map was made for")
            points = surface(view, detection) if detection.score >= self.params.least_score else None
            if points is not None and not _in_hand(view, points):
                seen.append((detection, points))
        ids = self._assign(view, seen)
        self._doubt(view, set(ids))
        self._tidy()
        return [id for id in ids if id in self.objects]

    def confirmed(self, thing: Instance) -> bool:
        """Whether it was seen well enough, from enough places."""
        params = self.params
        sure = thing.existence >= params.sure and float(thing.class_probability.max()) >= params.sure
        return sure and len(thing.eyes_m) >= params.views

    def widen(self, classes: Sequence[str]) -> None:
        """From now on the detector tells more classes apart.

        Args:
            classes: All of them, in the detector's order.

        Raises:
            ConfigError: one of those of before isn't among them.
        """
        if lost := [name for name in self.classes if name not in classes]:
            raise ConfigError(f"a map that knows {', '.join(lost)}", ", ".join(classes), "use the map's own detector")
        places = [list(classes).index(name) for name in self.classes]
        for thing in self.objects.values():
            thing.widen(places, len(classes))
        self.classes = tuple(classes)

    def clear(self) -> None:
        """Forget everything; ids are not given again."""
        self.objects.clear()
        self.gone.clear()
        self._newest_ns = -1

    def save(self, path: Path) -> None:
        """Write it as .npz."""
        things = list(self.objects.values())
        counts = np.array([len(thing.voxels) for thing in things], np.int64)
        views = np.array([len(thing.eyes_m) for thing in things], np.int64)
        notes = {"format": _FORMAT, "classes": self.classes, "colours": self.colours, "next": self._next}
        np.savez_compressed(
            path,
            notes=np.array(json.dumps(notes)),
            ids=np.array([thing.id for thing in things], np.int64),
            voxel_counts=counts,
            voxels=_stacked([thing.voxels for thing in things], 3, np.int64),
            hits=np.concatenate([np.zeros(0, np.int64), *(thing.hits for thing in things)]),
            view_counts=views,
            eyes=_stacked([np.array(thing.eyes_m).reshape(-1, 3) for thing in things], 3, np.float64),
            evidence=_stacked([np.concatenate([thing.classes, thing.colours])[None] for thing in things],
                              len(self.classes) + len(self.colours), np.float64),
            log_odds=np.array([thing.log_odds for thing in things]),
            stamps=np.array([[thing.first_ns, thing.last_ns] for thing in things], np.int64).reshape(-1, 2),
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path, params: SemanticMapParameters) -> SemanticMap:
        """Inverse of `save`.

        Raises:
            ConfigError: no such file, or not one of these.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                notes = json.loads(str(file["notes"]))
                if notes["format"] != _FORMAT:
                    raise ConfigError(f"{path.name} of format {notes['format']}", str(_FORMAT), "map anew")
                made = cls(notes["classes"], notes["colours"], params)
                made._next = notes["next"]
                voxel_ends, view_ends = np.cumsum(file["voxel_counts"]), np.cumsum(file["view_counts"])
                for i, id in enumerate(file["ids"].tolist()):
                    voxels = slice(voxel_ends[i] - file["voxel_counts"][i], voxel_ends[i])
                    eyes = file["eyes"][view_ends[i] - file["view_counts"][i] : view_ends[i]]
                    evidence, (first_ns, last_ns) = file["evidence"][i], file["stamps"][i].tolist()
                    made.objects[id] = Instance(
                        id, file["voxels"][voxels], file["hits"][voxels], evidence[: len(made.classes)],
                        evidence[len(made.classes) :], first_ns, last_ns, list(eyes), float(file["log_odds"][i]),
                    )  # fmt: skip
                return made
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{path.name}: {reason}", "a saved semantic map", "choose another file") from error

    def _assign(self, view: View, seen: list[tuple[Detection, Float64]]) -> list[int]:
        ids, things = [-1] * len(seen), list(self.objects.values())
        if things and seen:
            extents = [np.percentile(points, (5.0, 95.0), axis=0) for _, points in seen]
            pairs = [(detection, extent) for (detection, _), extent in zip(seen, extents, strict=True)]
            cost = np.array([[self._cost(thing, *one) for thing in things] for one in pairs])
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                if cost[row, column] < _NO:
                    ids[row] = things[column].id
        for row, (detection, points) in enumerate(seen):
            if ids[row] < 0:
                ids[row], self._next = self._next, self._next + 1
                begun = Instance.begin(ids[row], points, detection.classes, detection.colours, view.stamp_ns)
                self.objects[ids[row]] = begun
            else:
                self._fade(view, self.objects[ids[row]])
            self.objects[ids[row]].see(
                points, detection.score, detection.classes, detection.colours, view.eye_m, view.stamp_ns,
                self.params.apart_m,
            )  # fmt: skip
        return ids

    @staticmethod
    def _fade(view: View, thing: Instance) -> None:
        """What a view of the thing could show counts by what it shows: it may have been pushed a little, or turned."""
        said = compare(view, middles(thing.voxels), _OWN_M)
        thing.fade(said == THROUGH, said == THERE)

    def _cost(self, thing: Instance, detection: Detection, seen_m: Float64) -> float:
        """How far the middles lie apart, and how different they look; what is apart or unlike can't be the same.

        Args:
            seen_m: (2,3) lower and upper corner of what was seen.
        """
        (low, high), (low_seen, high_seen) = thing.extent_m, seen_m
        gap = float(np.linalg.norm(np.maximum(0.0, np.maximum(low - high_seen, low_seen - high))))
        alike = float(thing.class_probability @ detection.classes)
        if gap > self.params.near_m or alike < _UNLIKE:
            return _NO
        away = float(np.linalg.norm(0.5 * (low_seen + high_seen) - thing.position_m))
        return away + 0.1 * (2.0 - alike - float(thing.colour_probability @ detection.colours))

    def _doubt(self, view: View, seen: set[int]) -> None:
        """Negative evidence."""
        for thing in self.objects.values():
            if thing.id in seen:
                continue
            sure = thing.voxels[thing.hits * 3 >= thing.hits.max()]
            said = compare(view, middles(sure), self.params.behind_m)
            inside = np.count_nonzero(said != OUTSIDE)
            if inside * 2 <= len(sure):
                continue  # less than half of it would be in the image
            if np.count_nonzero(said == THROUGH) * 3 >= 2 * inside:
                thing.miss(self.params.seen_through)
            elif np.count_nonzero(said == THERE) * 3 >= 2 * inside:
                thing.miss(self.params.overlooked)

    def _tidy(self) -> None:
        """Take out what has gone, and put together what has turned out to be one thing."""
        for thing in list(self.objects.values()):
            if thing.existence < self.params.forget:
                if self._confirmed_once(thing):
                    self.gone.append(thing.id)
                del self.objects[thing.id]
        things = sorted(self.objects.values(), key=lambda thing: thing.id)
        for i, one in enumerate(things):
            for other in things[i + 1 :]:
                if one.id in self.objects and other.id in self.objects and self._same(one, other):
                    one.merge(other)
                    del self.objects[other.id]

    def _confirmed_once(self, thing: Instance) -> bool:
        """Whether it had been seen from enough places before it went."""
        return len(thing.eyes_m) >= self.params.views

    def _same(self, one: Instance, other: Instance) -> bool:
        """Overlapping by half of the smaller one, and of the same likeliest class."""
        if int(one.classes.argmax()) != int(other.classes.argmax()):
            return False
        (low, high), (low_other, high_other) = one.extent_m, other.extent_m
        common = np.minimum(high, high_other) - np.maximum(low, low_other)
        if (common <= 0.0).any():
            return False
        smaller = min(float(np.prod(high - low)), float(np.prod(high_other - low_other)))
        return float(np.prod(common)) >= 0.5 * smaller


def _stacked(parts: list[np.ndarray], width: int, dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros((0, width), dtype), *parts])


def _in_hand(view: View, points_m: Float64) -> bool:
    """What is carried is no object of the room: it would be one anew at every place that the robot passes."""
    return view.hand_m is not None and float(np.linalg.norm(points_m.mean(axis=0) - view.hand_m)) < _IN_HAND_M
