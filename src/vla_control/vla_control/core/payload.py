"""What the gripper carries, as part of the rigid-body model, so that every model term knows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pinocchio as pin

from vla_core.types import Float64

_NO_ROTATION = np.zeros((3, 3))


class Payload:
    """A point mass at the tool.

    Args:
        model: pinocchio.Model, changed in place.
        tool_id: Index of the tool frame.
    """

    def __init__(self, model: Any, tool_id: int) -> None:
        frame = model.frames[tool_id]
        self._model, self._joint, self._place = model, frame.parentJoint, pin.SE3(frame.placement)
        self._empty = pin.Inertia(model.inertias[self._joint])

    def set(self, load: Float64) -> None:
        """Carry this load from now on.

        Args:
            load: float64 (4,): mass [kg], first moment of mass in the tool frame [kg*m].
        """
        mass = max(0.0, float(load[0]))
        if mass == 0.0:
            self._model.inertias[self._joint] = self._empty
            return
        body = pin.Inertia(mass, load[1:] / mass, _NO_ROTATION)
        self._model.inertias[self._joint] = self._empty + body.se3Action(self._place)
