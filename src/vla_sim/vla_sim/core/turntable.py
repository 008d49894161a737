"""The turntable world: two cylinders ride round, and the task is to catch either; stage 0 of the line.

What a policy sees of it is old by the time it acts, and the two cylinders are two equally good answers: what chunk
execution under delay has to cope with.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.types import Float64
from vla_sim.core.scene import CYLINDER, DISC_HEIGHT
from vla_sim.core.tasks import COLOURS, Item, Task
from vla_sim.core.world import RGB, World


class TurntableWorld(World):
    """See World.

    Attributes:
        speed_rad_s: Of the disc, positive counter-clockwise.
    """

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        """Put two cylinders on the disc and let it turn; only `seed` decides, all tasks are of family 'catch'."""
        rng = np.random.default_rng([seed, 23])
        table = self.scene["turntable"]
        mujoco.mj_resetData(self.model, self.data)
        self.clear()
        colours = rng.permutation(len(COLOURS))[:2]
        items = [Item(COLOURS[c], "cylinder") for c in colours]
        self.task = Task("catch", "catch one of the cylinders", tuple(items))
        self.slots = {item: f"cylinder{i}" for i, item in enumerate(items)}
        self.speed_rad_s = float(rng.choice([-1.0, 1.0]) * rng.uniform(*table["speed_rad_s"]))
        phase = rng.uniform(-np.pi, np.pi)
        for i, item in enumerate(items):
            angle = phase + i * np.pi
            radial = np.array([np.cos(angle), np.sin(angle)])
            self._ride(f"cylinder{i}", item, radial)
        self.data.qvel[self.model.joint("turntable").dofadr[0]] = self.speed_rad_s
        self.start_arm(rng)
        self._noise = np.random.default_rng([seed, 29])
        return self.task.instruction

    def _ride(self, slot: str, item: Item, radial: Float64) -> None:
        table, joint = self.scene["turntable"], self.model.joint(slot)
        self.model.geom(slot).rgba[:] = [*RGB[item.colour], 1.0]
        spot = np.array(table["centre_m"]) + table["orbit_m"] * radial
        pose = [*spot, DISC_HEIGHT + CYLINDER[1] + 5e-4, 1.0, 0.0, 0.0, 0.0]
        self.data.qpos[joint.qposadr[0] : joint.qposadr[0] + 7] = pose
        along = self.speed_rad_s * table["orbit_m"] * np.array([-radial[1], radial[0]])
        self.data.qvel[joint.dofadr[0] : joint.dofadr[0] + 6] = [*along, 0.0, 0.0, 0.0, self.speed_rad_s]
        self.model.body_gravcomp[self.model.body(slot).id] = 0.0

    def sensors(self) -> dict[str, Float64]:
        """A motion capture system with its noise: positions [m] and velocities [m/s] of both cylinders, (6,) each."""
        tracker = self.scene["tracker"]
        joints = [self.model.joint(self.slots[item]) for item in self.task.objects]
        position = np.concatenate([self.data.qpos[j.qposadr[0] : j.qposadr[0] + 3] for j in joints])
        velocity = np.concatenate([self.data.qvel[j.dofadr[0] : j.dofadr[0] + 3] for j in joints])
        return {
            "target_position": position + self._noise.normal(0.0, tracker["position_noise_m"], 6),
            "target_velocity": velocity + self._noise.normal(0.0, tracker["velocity_noise_m_s"], 6),
        }
