"""A camera that repeats one picture: its stamps are fresh, so nothing else notices."""

from __future__ import annotations

import numpy as np

from vla_core.errors import ObservationError
from vla_core.types import NS, Float64, UInt8


class FrozenPicture:
    """Compares each picture of one camera with the last one, and how far the arm has moved since it first came.

    A picture that stays the same to the last bit is no proof: a rendered scene may stand still. With the arm in motion
    it is one, for a camera that sees the arm or moves with it; and sensor noise makes every picture of a real camera
    another one.

    Args:
        after_s: A picture may be repeated for so long [s, by its stamps].
        motion_rad: ... or while no joint moves further than this [rad].
    """

    def __init__(self, after_s: float, motion_rad: float) -> None:
        self._after_ns, self._motion_rad = round(after_s * NS), motion_rad
        self._pixels: UInt8 | None = None
        self._since_ns = 0
        self._joints: Float64 = np.zeros(0)

    def check(self, stamp_ns: int, pixels: UInt8, joints: Float64) -> None:
        """Take a picture.

        Args:
            stamp_ns: Capture time [ns, ROS clock].
            pixels: uint8, any shape; kept, so not to be changed afterwards.
            joints: Joint positions (N,) [rad] when it was taken, (0,) while unknown.

        Raises:
            ObservationError: it is the picture of some time ago, and the arm has moved since.
        """
        if self._pixels is None or stamp_ns < self._since_ns or not np.array_equal(pixels, self._pixels):
            self._pixels, self._since_ns, self._joints = pixels, stamp_ns, joints
            return
        if len(joints) != len(self._joints):  # the driver has only now begun to speak
            self._joints = joints
        same_ns, moved_rad = stamp_ns - self._since_ns, float(np.abs(joints - self._joints).max(initial=0.0))
        if same_ns > self._after_ns and moved_rad > self._motion_rad:
            got = "the same picture, to the last bit, as before the arm moved"
            raise ObservationError(got, "pictures of now", "restart the camera or its driver")
