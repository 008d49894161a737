"""A whole map as one file: keyframes with what they saw and the measurements between them, as numpy's .npz."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from vla_core.errors import MapError
from vla_navigation.core.slam.place_map import PlaceMap
from vla_navigation.core.slam.pose_graph import Edge
from vla_navigation.core.slam.scan import Sweep

_FORMAT = "vla slam map 1"
_FIX = "save the map again"


def save(place: PlaceMap, path: Path) -> None:
    """Write `<path>.npz`, whole or not at all.

    Raises:
        MapError: there is no keyframe yet, or the file can't be written.
    """
    edges, sweeps = place.graph.edges, place.sweeps
    if not sweeps:
        raise MapError("a map without a keyframe", "at least one scan", "save after the first scan")
    target = path.with_name(f"{path.name}.npz")
    new = target.with_suffix(".new")
    try:
        with new.open("wb") as file:
            np.savez_compressed(
                file,
                format=np.array(_FORMAT),
                poses=place.graph.poses,
                origins=np.stack([sweep.origin for sweep in sweeps]),
                rays=np.array([len(sweep.ends) for sweep in sweeps]),
                ends=np.concatenate([sweep.ends for sweep in sweeps]).astype(np.float32),
                hit=np.concatenate([sweep.hit for sweep in sweeps]),
                joined=np.array([(edge.start, edge.end, edge.loop) for edge in edges], np.int64).reshape(-1, 3),
                motions=np.array([edge.motion for edge in edges]).reshape(-1, 3),
                covariances=np.array([edge.covariance for edge in edges]).reshape(-1, 3, 3),
            )
        new.replace(target)
    except OSError as error:
        raise MapError(f"{error}", "a folder to write to", "choose another path") from error


def load(path: Path, resolution_m: float) -> PlaceMap:
    """The map of `<path>.npz`, solved and drawn.

    Args:
        resolution_m: Side of a cell of its grid [m].

    Raises:
        MapError: the file is missing, broken or of another kind.
    """
    file = path.with_name(f"{path.name}.npz")
    try:
        with np.load(file, allow_pickle=False) as data:
            if str(data["format"]) != _FORMAT:
                raise MapError(f"{file.name} of format '{data['format']}'", f"'{_FORMAT}'", _FIX)
            return _place({key: data[key] for key in data.files}, resolution_m)
    except (OSError, EOFError, KeyError, ValueError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        raise MapError(f"{file.name}: {type(error).__name__} {error}", "a saved map", _FIX) from error


def _place(data: dict[str, np.ndarray], resolution_m: float) -> PlaceMap:
    place = PlaceMap(resolution_m)
    cuts = np.cumsum(data["rays"])[:-1]
    ends, hits = np.split(data["ends"].astype(np.float64), cuts), np.split(data["hit"], cuts)
    if not all(np.isfinite(data[key]).all() for key in ("poses", "origins", "ends", "motions", "covariances")):
        raise ValueError("numbers that aren't finite")
    for origin, end, hit, pose in zip(data["origins"], ends, hits, data["poses"], strict=True):
        place.add_keyframe(Sweep(origin, end, hit), pose)
    for (start, end, loop), motion, covariance in zip(
        data["joined"], data["motions"], data["covariances"], strict=True
    ):
        place.add_edge(Edge(int(start), int(end), motion, covariance, bool(loop)))
    while place.tend():
        pass
    return place
