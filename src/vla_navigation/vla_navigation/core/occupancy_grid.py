"""An occupancy grid as nav_msgs/OccupancyGrid has it, with the .yaml and .pgm files of ROS's map server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from vla_core import se2
from vla_core.errors import MapError, VlaError
from vla_core.files import load_yaml
from vla_core.types import Float64, UInt8

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
OCCUPIED_FROM, FREE_BELOW = 65, 25  # [%]
_WHITE, _BLACK, _GREY = 254, 0, 205
_THRESHOLDS = {"occupied_thresh": 0.65, "free_thresh": 0.196}  # of darkness; 205 is just not free
_FIX = "save the map again"


@dataclass(frozen=True, slots=True)
class OccupancyGrid:
    """A map of the floor.

    Attributes:
        resolution_m: Side of a cell [m].
        origin: float64 (3,) map -> the outer corner of cell (row 0, column 0) [m, m, rad].
        cells: int8 (H,W), row along y, column along x: 0..100 likelihood of an obstacle [%], -1 unknown.
    """

    resolution_m: float
    origin: Float64
    cells: NDArray[np.int8]

    def __post_init__(self) -> None:
        if not 0.0 < self.resolution_m < math.inf or self.origin.shape != (3,) or not np.isfinite(self.origin).all():
            got = f"resolution {self.resolution_m} m, origin {self.origin}"
            raise MapError(got, "a resolution > 0 and a finite x, y, yaw", _FIX)
        if self.cells.dtype != np.int8 or self.cells.ndim != 2:
            raise MapError(f"cells {self.cells.dtype} {self.cells.shape}", "int8 (H,W)", _FIX)

    def to_cell(self, points: Float64) -> NDArray[np.int64]:
        """Row and column (N,2) of the cells that points (N,2) [m] of the map lie in; they may be outside the grid."""
        local = se2.transform(se2.inverse(self.origin), points)
        return np.floor(local[:, ::-1] / self.resolution_m).astype(np.int64)

    def to_world(self, cells: NDArray[np.int64]) -> Float64:
        """Middles (N,2) [m] of cells given as row and column (N,2)."""
        middles = (cells[:, ::-1].astype(np.float64) + 0.5) * self.resolution_m
        return se2.transform(self.origin, middles)

    def contains(self, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows and columns (N,2) the grid has, (N,)."""
        return np.asarray(((cells >= 0) & (cells < self.cells.shape)).all(axis=1))

    def save(self, path: Path) -> None:
        """Write `<path>.yaml` and `<path>.pgm`; of each cell remains whether it is free, occupied or neither.

        Raises:
            MapError: the files can't be written.
        """
        picture = np.full(self.cells.shape, _GREY, np.uint8)
        picture[self.cells >= OCCUPIED_FROM] = _BLACK
        picture[(self.cells >= 0) & (self.cells < FREE_BELOW)] = _WHITE
        height, width = self.cells.shape[:2]
        head = {
            "image": f"{path.name}.pgm",
            "mode": "trinary",
            "resolution": float(self.resolution_m),
            "origin": self.origin.tolist(),
            "negate": 0,
            **_THRESHOLDS,
        }
        try:
            data = f"P5\n{width} {height}\n255\n".encode() + np.flipud(picture).tobytes()
            path.with_name(f"{path.name}.pgm").write_bytes(data)
            path.with_name(f"{path.name}.yaml").write_text(yaml.safe_dump(head, sort_keys=False), encoding="utf-8")
        except OSError as error:
            raise MapError(f"{error}", "a folder to write to", "choose another path") from error

    @classmethod
    def load(cls, path: Path) -> OccupancyGrid:
        """Read `<path>.yaml` and the picture that it names: cells are 0, 100 or -1.

        Raises:
            MapError: files that are missing or broken, or another mode than 'trinary'.
        """
        file = path.with_name(f"{path.name}.yaml")
        try:
            head = load_yaml(file)
            picture = read_pgm(file.parent / str(head["image"]))
            if head.get("mode", "trinary") != "trinary":
                raise MapError(f"{file.name} in mode '{head['mode']}'", "mode 'trinary'", "save it in that mode")
            dark = (picture if head["negate"] else 255 - picture.astype(np.int16)) / 255.0
            cells = np.full(picture.shape, UNKNOWN, np.int8)
            cells[dark > float(head["occupied_thresh"])] = OCCUPIED
            cells[dark < float(head["free_thresh"])] = FREE
            return cls(float(head["resolution"]), np.array(head["origin"], np.float64), np.flipud(cells).copy())
        except (KeyError, TypeError, ValueError) as error:
            got = f"{file.name}: {type(error).__name__} {error}"
            raise MapError(got, "a map of ROS's map server", _FIX) from error
        except VlaError as error:
            raise MapError(error.got, error.expected, error.fix) from error


def read_pgm(path: Path) -> UInt8:
    """Grey values (H,W) of a binary PGM file with at most 255 levels.

    Raises:
        MapError: the file is missing or something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MapError(f"{error}", "the map's picture", "keep both files in one folder") from error
    words: list[bytes] = []
    at = 0
    while len(words) < 4 and at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        words += data[at:end].partition(b"#")[0].split()
        at = end + 1
    numbers = [int(word) for word in words[1:] if word.isdigit()]
    if len(words) != 4 or words[0] != b"P5" or len(numbers) != 3 or numbers[2] > 255:
        raise MapError(f"{path.name} beginning with {data[:12]!r}", "a binary PGM of 8 bits", _FIX)
    width, height, _ = numbers
    if len(data) - at != width * height:
        raise MapError(f"{len(data) - at} pixels in {path.name}", f"{width} x {height}", _FIX)
    return np.frombuffer(data, np.uint8, offset=at).reshape(height, width)
