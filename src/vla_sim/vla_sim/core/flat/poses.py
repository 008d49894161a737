"""Where the robot may be in a flat when it looks: driving about, or with its arm before a thing."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_control.core.reach import Reach
from vla_control.core.robot import RobotModel
from vla_core.types import Float64
from vla_sim.core.flat.free_space import FreeSpace
from vla_sim.core.flat.jaw import Jaw
from vla_sim.core.flat.spots import REACH_LEAST_M, Thing, reach_m
from vla_sim.core.flat.things import CATEGORIES, FLOOR
from vla_sim.core.flat.world import FlatWorld

_FACING = 0.6  # share of front views that look towards something that lies about
_SEEN_M = 3.0
_HOME = 0.75  # share of front views with the arm at home; else it is somewhere
_WIDE_RAD = 0.5
_BEFORE = 0.85  # share of wrist views before a thing
_ABOVE_M = (0.04, 0.22)
_ASIDE_M = 0.08
_NEARER_M, _FURTHER_M, _BESIDE_RAD = 0.02, 0.05, 0.12  # where the last decimetres by sight may end before a thing
_TRIES = 30


class PoseDrawer:
    """Puts the robot of a world to random poses that it could have, touching nothing.

    Args:
        world: Its robot is moved; nothing else.
    """

    def __init__(self, world: FlatWorld) -> None:
        self._world = world
        self._robot = RobotModel.load(world.robot.name)
        self._reach = Reach(self._robot)
        self._widest_m = float(world.robot.grippers[0].max_width_m)

    def enter(self) -> None:
        """Look at the flat that the world is in now; call it after every reset."""
        world, plan = self._world, self._world.plan
        space = FreeSpace(plan.floor)
        lying = [(t.x, t.y, CATEGORIES[t.category].radius) for t in plan.things if t.on == FLOOR]
        space.take([placed.rect for placed in plan.furniture], lying)
        reached = space.reached()
        assert reached is not None, "a plan keeps every room reachable"
        self._stands: Float64 = space.centres(reached)
        self._free = int(world.model.joint("base_free").qposadr[0])
        self._jaw = Jaw(world.model, world.robot.grippers[0].joints[0])
        self._height_m = float(world.data.qpos[self._free + 2])

    def before(self, rng: np.random.Generator, thing: Thing) -> tuple[float, float, float] | None:
        """Before a thing, turned to it, the arm at home and the jaws shut: x, y, yaw of the base; None: it touches
        something there.
        """
        away = float(rng.uniform(REACH_LEAST_M - _NEARER_M, reach_m(thing.z) + _FURTHER_M))
        side = float(rng.uniform(-np.pi, np.pi))
        x, y = thing.x - away * np.cos(side), thing.y - away * np.sin(side)
        yaw = side + float(rng.normal(0.0, _BESIDE_RAD))
        self._put(x, y, yaw, self._robot.config.home_rad, 0.0)
        return None if self.touches() else (x, y, yaw)

    def front(self, rng: np.random.Generator) -> None:
        """Somewhere in free space, often looking towards a thing or a piece of furniture."""
        for _ in range(_TRIES):
            x, y = self._stands[int(rng.integers(len(self._stands)))]
            yaw = float(rng.uniform(-np.pi, np.pi))
            if rng.random() < _FACING:
                yaw = self._towards(rng, float(x), float(y), yaw)
            home = rng.random() < _HOME
            q = self._robot.config.home_rad + rng.uniform(-0.05, 0.05, 5) if home else self._anyhow(rng)
            self._put(float(x), float(y), yaw, q, float(rng.uniform(0.0, self._widest_m)) * (rng.random() < 0.3))
            if not self.touches():
                return

    def wrist(self, rng: np.random.Generator) -> bool:
        """Before a thing that the arm gets to; False where there is no such thing, or no such pose was found."""
        near = [thing for thing in self._world.plan.things if thing.reachable]
        for _ in range(_TRIES):
            if rng.random() > _BEFORE or not near:
                x, y = self._stands[int(rng.integers(len(self._stands)))]
                yaw, q = float(rng.uniform(-np.pi, np.pi)), self._anyhow(rng)
            else:
                drawn = self._before(rng, near[int(rng.integers(len(near)))])
                if drawn is None:
                    continue
                x, y, yaw, q = drawn
            self._put(float(x), float(y), yaw, q, float(rng.uniform(0.0, self._widest_m)))
            if not self.touches():
                return True
        return False

    def _before(self, rng: np.random.Generator, thing: Thing) -> tuple[float, float, float, Float64] | None:
        away = np.hypot(self._stands[:, 0] - thing.x, self._stands[:, 1] - thing.y)
        stands = self._stands[(away > REACH_LEAST_M) & (away < reach_m(thing.z) + 0.06)]
        if not len(stands):
            return None
        x, y = stands[int(rng.integers(len(stands)))]
        yaw = float(np.arctan2(thing.y - y, thing.x - x) + rng.normal(0.0, 0.25))
        ahead, aside = thing.x - x, thing.y - y
        cos, sin = np.cos(yaw), np.sin(yaw)
        place = np.array([cos * ahead + sin * aside, cos * aside - sin * ahead, thing.z])
        place += [*rng.uniform(-_ASIDE_M, _ASIDE_M, 2), rng.uniform(*_ABOVE_M)]
        pitch, roll = float(rng.uniform(0.3, np.pi / 2)), float(rng.uniform(-0.9, 0.9) * np.pi / 2)
        q = self._reach.solve(place, pitch, roll, self._robot.config.home_rad)
        return None if q is None else (float(x), float(y), yaw, q)

    def _towards(self, rng: np.random.Generator, x: float, y: float, otherwise: float) -> float:
        places = np.array([(t.x, t.y) for t in self._world.plan.things])
        near = places[np.hypot(places[:, 0] - x, places[:, 1] - y) < _SEEN_M]
        if not len(near):
            return otherwise
        to = near[int(rng.integers(len(near)))]
        return float(np.arctan2(to[1] - y, to[0] - x) + rng.normal(0.0, 0.35))

    def _anyhow(self, rng: np.random.Generator) -> Float64:
        config = self._robot.config
        q = config.home_rad + rng.uniform(-_WIDE_RAD, _WIDE_RAD, 5) * [2.0, 1.0, 1.0, 1.0, 3.0]
        out: Float64 = np.clip(q, config.position_min_rad, config.position_max_rad)
        return out

    def _put(self, x: float, y: float, yaw: float, q: Float64, width_m: float) -> None:
        world, free = self._world, self._free
        pose = [x, y, self._height_m, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        world.data.qpos[free : free + 7] = pose
        world.data.qpos[world.arm_q] = q
        world.data.qpos[world.finger_q] = self._jaw.angle(width_m)
        mujoco.mj_forward(world.model, world.data)

    def touches(self) -> bool:
        """Whether the robot touches the flat with more than its wheels."""
        world, model = self._world, self._world.model
        pairs = world.data.contact.geom[: world.data.ncon]
        robot = world.is_robot[pairs]
        mixed = pairs[robot[:, 0] != robot[:, 1]]
        return bool((mixed != model.geom("ground").id).all(1).any())
