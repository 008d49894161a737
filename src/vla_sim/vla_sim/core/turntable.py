"""The turntable world: two cylinders ride round, and the task is to catch either; stage 0 of the line.

What a policy sees of it is old by the time it acts, and the two cylinders are two equally good answers: what chunk
execution under delay has to cope with.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.errors import UnknownObjectError
from vla_core.types import Float64
from vla_sim.core.judge import LIFT_M, gripper_near
from vla_sim.core.scene import CYLINDER, add_table, add_thing
from vla_sim.core.scene_parts import SOFT, add_cameras, add_room, new_spec
from vla_sim.core.tasks import COLOURS, Item, Task
from vla_sim.core.world import RGB, World

FAMILIES = ("catch",)
INSTRUCTION = "catch one of the cylinders"
DISC_HEIGHT = 0.012
_GEOM = mujoco.mjtGeom


class TurntableWorld(World):
    """See World.

    Attributes:
        speed_rad_s: Of the disc, positive counter-clockwise.
    """

    def build(self) -> mujoco.MjModel:
        spec = new_spec(self.scene, self.robot.model_path)
        add_room(spec)
        add_table(spec)
        for k in range(2):
            add_thing(spec, "cylinder", f"cylinder{k}")
        table = self.scene["turntable"]
        body = spec.worldbody.add_body(name="turntable", pos=[*table["centre_m"], DISC_HEIGHT / 2])
        # it goes on turning as it was started: its armature is far heavier than whatever touches it
        body.add_joint(name="turntable", type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1], armature=1e4)
        radius = float(table["radius_m"])
        body.add_geom(name="turntable", type=_GEOM.mjGEOM_CYLINDER, size=[radius, DISC_HEIGHT / 2, 0], mass=1.0,
                      rgba=[0.75, 0.75, 0.78, 1], condim=4, friction=[1.0, 0.02, 0.0005], **SOFT)  # fmt: skip
        body.add_geom(name="turntable_mark", type=_GEOM.mjGEOM_BOX, size=[radius / 2, 0.003, 0.0005], mass=0.0,
                      pos=[radius / 2, 0, DISC_HEIGHT / 2], rgba=[0.3, 0.3, 0.32, 1], contype=0,
                      conaffinity=0)  # fmt: skip
        spec.add_exclude(bodyname1="world", bodyname2="turntable")  # it turns on its bearing, not on the table top
        add_cameras(spec, self.scene["cameras"])
        return spec.compile()

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        """Put two cylinders on the disc and let it turn; only `seed` decides."""
        if instruction:
            parse_instruction(instruction)
        rng = np.random.default_rng([seed, 23])
        table = self.scene["turntable"]
        self.clear()
        colours = rng.permutation(len(COLOURS))[:2]
        items = [Item(COLOURS[c], "cylinder") for c in colours]
        self.task = Task("catch", INSTRUCTION, tuple(items))
        self.slots = {item: f"cylinder{i}" for i, item in enumerate(items)}
        self.speed_rad_s = float(rng.choice([-1.0, 1.0]) * rng.uniform(*table["speed_rad_s"]))
        phase = rng.uniform(-np.pi, np.pi)
        for i, item in enumerate(items):
            angle = phase + i * np.pi
            radial = np.array([np.cos(angle), np.sin(angle)])
            self._ride(f"cylinder{i}", item, radial)
        self.data.qvel[self.model.joint("turntable").dofadr[0]] = self.speed_rad_s
        self.start_robot(rng, 0.08)
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


def succeeded(world: TurntableWorld) -> bool:
    """Either cylinder is in the gripper, well above the disc."""
    return any(world.position(item)[2] > LIFT_M and gripper_near(world, item) for item in world.task.objects)


def parse_instruction(text: str) -> Task:
    """The one task that there is.

    Raises:
        UnknownObjectError: another one is asked for.
    """
    if text.strip().rstrip(".").lower() != INSTRUCTION:
        raise UnknownObjectError(f"instruction '{text}'", f"'{INSTRUCTION}'", "say it like this")
    return Task("catch", INSTRUCTION)
