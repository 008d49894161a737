"""A copy of the simulated world in another process, kept up to date from the snapshots on the link."""

from __future__ import annotations

import numpy as np

from vla_sim.core.records import Start
from vla_sim.core.robot_world import RobotWorld


class Mirror:
    """Brings a world of the same scene to the state of snapshots.

    Attributes:
        world: The copy.
        stamp_ns: Instant that it shows; 0: none yet.
    """

    def __init__(self, world: RobotWorld) -> None:
        self.world, self.stamp_ns = world, 0
        self._generation = -1

    def take(self, record: np.ndarray) -> bool:
        """Show a SNAPSHOT record (1,); after a reset fill the world anew first, and return True."""
        generation = int(record["generation"][0])
        fresh = generation != self._generation
        if fresh:
            start = Start.from_record(record)
            self.world.reset(start.seed, start.instruction or None, start.split, start.family or None)
            self._generation = generation
        self.world.restore(record["state"][0, : int(record["n"][0])])
        self.stamp_ns = int(record["stamp_ns"][0])
        return fresh
