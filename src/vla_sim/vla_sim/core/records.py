"""The records between the simulator and its camera process: what to draw, and what has been drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.errors import ConfigError

MAX_STATE = 4096

#: sim_node -> camera_node: the world at one instant. `generation` counts resets; the strings and the seed say
#: which world to build before `state[:n]` is restored into it.
SNAPSHOT = np.dtype(
    [
        ("stamp_ns", np.int64),  # ROS clock
        ("monotonic_ns", np.int64),  # when the world was in this state
        ("generation", np.int64),
        ("seed", np.int64),
        ("instruction", "S512"),  # UTF-8
        ("split", "S32"),
        ("family", "S32"),
        ("n", np.int64),
        ("state", np.float64, MAX_STATE),
    ],
    align=True,
)

#: camera_node -> sim_node: the newest instant whose images of every camera are published.
RENDERED = np.dtype([("stamp_ns", np.int64)], align=True)


@dataclass(frozen=True, slots=True)
class Start:
    """What a world is filled from; the same start gives the same world in every process.

    Attributes:
        seed: Decides everything that is random.
        instruction: Build the scene for this task; empty: draw one.
        split: Which pairs and phrases may be drawn.
        family: Draw a task of this family; empty: of any.

    Raises:
        ConfigError: a text is too long for its field of SNAPSHOT.
    """

    seed: int
    instruction: str
    split: str
    family: str

    def __post_init__(self) -> None:
        for field in ("instruction", "split", "family"):
            limit = SNAPSHOT[field].itemsize
            if len(getattr(self, field).encode()) > limit:
                raise ConfigError(f"a {field} of more than {limit} bytes", "a shorter one", "say it in one sentence")

    @classmethod
    def from_record(cls, record: np.ndarray) -> Start:
        """Read the start out of a SNAPSHOT record of shape (1,)."""
        texts = (record[field][0].decode() for field in ("instruction", "split", "family"))
        return cls(int(record["seed"][0]), *texts)
