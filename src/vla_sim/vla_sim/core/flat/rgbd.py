"""The robot's RGB-D cameras: colour as it is, depth with the noise, limits and lost edges of structured light."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.types import Float32
from vla_sim.core.cameras import Cameras
from vla_sim.core.flat.world import FlatWorld

_EDGE_M = 0.05  # neighbours further apart than this are an edge


class RgbdCameras(Cameras):
    """See Cameras; depth comes as sensed. Follows the world into every flat.

    Depth noise has a standard deviation of `noise_m + noise_m_per_m2 z^2` (Nguyen, Izadi & Lovell, "Modeling Kinect
    sensor noise for improved 3D reconstruction and tracking", 2012). The same instant of the same flat has the same
    noise in every process.
    """

    def __init__(self, world: FlatWorld, sizes: dict[str, tuple[int, int]] | None = None) -> None:
        super().__init__(world, sizes)
        self._flat, self._model = world, world.model

    def _prepare(self, name: str) -> mujoco.Renderer:
        if self._flat.model is not self._model:
            self.close()
            self.__init__(self._flat, self.sizes)  # type: ignore[misc]
        return super()._prepare(name)

    def depth(self, name: str) -> Float32:
        """Distance along the optical axis, float32 (H,W) [m], NaN where nothing was measured (REP-118)."""
        true, sensed = super().depth(name), self._flat.scene["depth"]
        index = list(self.sizes).index(name)
        rng = np.random.default_rng([self._flat.plan.seed, self._flat.time_ns, index])
        spread = sensed["noise_m"] + sensed["noise_m_per_m2"] * true**2
        depth = true + spread * rng.standard_normal(true.shape, dtype=np.float32)
        edge = np.zeros(true.shape, bool)
        edge[:, 1:] |= np.abs(np.diff(true, axis=1)) > _EDGE_M
        edge[1:] |= np.abs(np.diff(true, axis=0)) > _EDGE_M
        low, high = sensed["range_m"]
        lost = (
            (edge & (rng.random(true.shape, dtype=np.float32) < sensed["edge_dropout"])) | (true < low) | (true > high)
        )
        return np.where(lost, np.nan, depth).astype(np.float32)

    def exact_depth(self, name: str) -> Float32:
        """Ground truth of `depth`, float32 (H,W) [m], for tests."""
        return super().depth(name)
