"""Ground truth of what the robot bumps into: for judges only."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

_APART_S = 0.3  # touching the same thing again sooner is the same collision
_GROUND, _ROLLING = "ground", ("left_tyre", "right_tyre", "castor_front", "castor_rear")


@dataclass(slots=True)
class Collision:
    """One collision: when it began [s], with which body, its largest normal force so far [N]."""

    time_s: float
    body: str
    force_n: float


class CollisionCounter:
    """Counts what touches the robot from outside: walls, furniture, the floor but for the wheels; not things.

    Args:
        model: Of the flat.
        robot: Name of the robot's root body.
        force_n: A contact counts from this force on.

    Attributes:
        events: One per collision, in the order of their beginnings.
        largest_n: Largest normal force of one contact so far, things included.
    """

    def __init__(self, model: mujoco.MjModel, robot: str, force_n: float) -> None:
        self._model, self._force_n = model, force_n
        self._is_robot = model.body_rootid[model.geom_bodyid] == model.body(robot).id
        self._rolls = np.isin(np.arange(model.ngeom), [model.geom(name).id for name in (_GROUND, *_ROLLING)])
        self._last: dict[str, tuple[float, Collision]] = {}
        self.events: list[Collision] = []
        self.largest_n = 0.0

    def update(self, data: mujoco.MjData) -> None:
        """Look at the contacts of the step that has just been made."""
        pairs = data.contact.geom
        robot = self._is_robot[pairs]
        outside = (robot[:, 0] != robot[:, 1]) & ~self._rolls[pairs].all(1)
        if not outside.any():
            return
        force = np.zeros(6)
        for i in np.flatnonzero(outside):
            mujoco.mj_contactForce(self._model, data, int(i), force)
            other = int(pairs[i, 0] if robot[i, 1] else pairs[i, 1])
            self._note(other, float(data.time), float(force[0]))

    def _note(self, geom: int, time_s: float, force_n: float) -> None:
        self.largest_n = max(self.largest_n, force_n)
        body = int(self._model.geom_bodyid[geom])
        if self._model.body_dofnum[body] or force_n < self._force_n:
            return
        name = self._model.body(body).name if body else self._model.geom(geom).name
        last_s, event = self._last.get(name, (-np.inf, None))
        if event is None or time_s - last_s > _APART_S:
            event = Collision(time_s, name, force_n)
            self.events.append(event)
        event.force_n = max(event.force_n, force_n)
        self._last[name] = time_s, event
