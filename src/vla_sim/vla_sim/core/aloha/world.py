"""The bimanual world: two arms, one thing on the table, refilled from a seed; stage 0 of the line."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.types import Float64
from vla_sim.core.aloha.scene import HALF_SIZE, build_model
from vla_sim.core.aloha.tasks import SHAPE, parse_instruction, sample_task
from vla_sim.core.robot_world import RobotWorld
from vla_sim.core.world import RGB

LEFT, RIGHT = 0, 1  # arms in the robot file's order
_SPREAD_RAD = 0.05
_FAR = (4.0, 4.0, -0.5)


class AlohaWorld(RobotWorld):
    """See RobotWorld. The task's thing lies on the table, the other one is out of sight.

    Attributes:
        thing: Name of the body that the task is about, 'cube' or 'bar'.
    """

    def __init__(self, scene: str = "aloha") -> None:
        super().__init__(scene)
        model = self.model
        owner = [model.body(body).name for body in model.geom_bodyid]
        finger_links = [
            {model.body(int(model.joint(joint).bodyid[0])).name for joint in gripper.joints}
            for gripper in self.robot.grippers
        ]
        self._finger_geoms = [np.array([name in links for name in owner]) for links in finger_links]
        self.thing = "cube"
        self.reset(0)

    def build(self) -> mujoco.MjModel:
        return build_model(self.scene, self.robot.model_path)

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        rng = np.random.default_rng([seed, 31])
        self.task = parse_instruction(instruction) if instruction else sample_task(rng, split, family)
        self.clear()
        self._light(rng)
        (item,) = self.task.objects
        self.thing = SHAPE[self.task.family]
        self.slots = {item: self.thing}
        place = self.scene["places"][self.thing]
        spot = np.array([rng.uniform(*place["x_m"]), rng.uniform(*place["y_m"])])
        yaw = float(rng.uniform(*place["yaw_rad"]))
        for shape in HALF_SIZE:
            self._put(shape, item.colour, spot if shape == self.thing else None, yaw)
        self.start_robot(rng, _SPREAD_RAD)
        return self.task.instruction

    def _light(self, rng: np.random.Generator) -> None:
        tint = rng.uniform(0.55, 1.0) * np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.72, 0.98)])
        self.model.mat("table").rgba[:3] = tint
        self.model.geom("floor").rgba[:3] = rng.uniform(0.3, 0.7)
        lamp = self.model.light("lamp")
        lamp.pos[:] = [rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5), rng.uniform(1.3, 1.8)]
        lamp.dir[:] = -lamp.pos
        lamp.diffuse[:] = rng.uniform(0.35, 0.65)
        self.model.vis.headlight.ambient[:] = rng.uniform(0.32, 0.45)
        self.model.vis.headlight.diffuse[:] = rng.uniform(0.3, 0.45)

    def _put(self, shape: str, colour: str, spot: Float64 | None, yaw: float) -> None:
        """Lay a thing on the table, or away where it touches nothing."""
        body, geom = self.model.body(shape), self.model.geom(shape)
        here = spot is not None
        self.model.body_gravcomp[body.id] = 0.0 if here else 1.0
        geom.contype[:], geom.conaffinity[:], geom.rgba[:] = here, here, [*RGB[colour], 1.0]
        position = (*spot, HALF_SIZE[shape][2] + 5e-4) if spot is not None else _FAR
        address = self.model.joint(shape).qposadr[0]
        self.data.qpos[address : address + 7] = [*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]

    # -- ground truth, for judges, experts and training labels only ------------------------------------------------

    def thing_pose(self) -> tuple[Float64, Float64]:
        """Centre (3,) [m] and rotation matrix (3,3) of the task's thing, base frame."""
        body = self.data.body(self.thing)
        return body.xpos.copy(), body.xmat.reshape(3, 3).copy()

    def touched(self) -> tuple[bool, bool, bool]:
        """What touches the task's thing: fingers of the left arm, of the right arm, anything else."""
        contacts, thing = self.data.contact.geom, self.model.geom(self.thing).id
        others = np.where(contacts[:, 0] == thing, contacts[:, 1], contacts[:, 0])[(contacts == thing).any(1)]
        left, right = (fingers[others] for fingers in self._finger_geoms)
        return bool(left.any()), bool(right.any()), bool((~(left | right)).any())
