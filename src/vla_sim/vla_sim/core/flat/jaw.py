"""The gripper with one turning jaw: angle of its joint <-> distance of the pads."""

from __future__ import annotations

import mujoco
import numpy as np

_SAMPLES = 200


class Jaw:
    """Geometry of the gripper, read from the model.

    Args:
        model: With the joint, the geoms `fixed_jaw_pad` and `moving_jaw_pad`, boxes whose x faces each other.
        joint: Of the moving jaw; it opens towards positive angles.

    Attributes:
        lever_m: From the joint's axis to the pad: what turns a force between the pads into a torque.
    """

    def __init__(self, model: mujoco.MjModel, joint: str) -> None:
        data = mujoco.MjData(model)
        low, high = model.joint(joint).range
        fixed, moving = (model.geom(name).id for name in ("fixed_jaw_pad", "moving_jaw_pad"))
        angles, widths = np.linspace(low, high, _SAMPLES), np.empty(_SAMPLES)
        for i, angle in enumerate(angles):
            data.joint(joint).qpos[0] = angle
            mujoco.mj_kinematics(model, data)
            across = data.geom_xmat[fixed].reshape(3, 3)[:, 0]
            apart = across @ (data.geom_xpos[moving] - data.geom_xpos[fixed])
            tilt = abs(across @ data.geom_xmat[moving].reshape(3, 3)[:, 0])
            widths[i] = apart - model.geom_size[fixed, 0] - tilt * model.geom_size[moving, 0]
        self.lever_m = float(np.linalg.norm(data.geom_xpos[moving] - data.joint(joint).xanchor))
        opening = slice(int(np.argmin(widths)), int(np.argmax(widths)) + 1)
        self._angles, self._widths = angles[opening], widths[opening]

    def angle(self, width_m: float) -> float:
        """Joint angle [rad] at which the pads are `width_m` apart."""
        return float(np.interp(width_m, self._widths, self._angles))

    def width(self, angle_rad: float) -> float:
        """Distance of the pads [m], 0 where they touch."""
        return max(0.0, float(np.interp(angle_rad, self._angles, self._widths)))
