"""The arm's part of an errand by itself: the robot stands before a thing, told to take it up or to put it down.

What a mission of the whole robot says to its arm when it has come there (`fetch_node`); demonstrations for the arm's
policy are made here, and it is scored here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import mujoco
import numpy as np

from vla_core.errors import PolicyError, UnknownNameError, UnknownObjectError
from vla_core.types import Float32, Float64
from vla_sim.core.flat.errands import Errand
from vla_sim.core.flat.expert import (
    CARRY_RAD,
    HAND_GOALS,
    PUT,
    TAKE,
    Grasp,
    find_grasp,
    hand_chunk,
    hand_done,
    place_down,
)
from vla_sim.core.flat.plan import FlatPlan, draw_plan
from vla_sim.core.flat.poses import PoseDrawer
from vla_sim.core.flat.spots import Thing
from vla_sim.core.flat.things import CATEGORIES, COLOURS
from vla_sim.core.flat.world import FlatWorld
from vla_sim.core.tasks import Item

#: Family → phrases; {a}: the thing. The first one is what fetch_node says, the last one is held out of training.
PHRASES = {
    TAKE: ("pick up the {a}", "take the {a}", "grab the {a}", "pick the {a} up", "lift the {a}"),
    PUT: ("put it down", "put it on the floor", "put the {a} down", "set it down"),
}
_FLATS, _NEXT_FLAT = 20, 1_000_003  # flats that are looked through for a place to stand, and the way to the next one
_STANDS = 40


class HandWorld(FlatWorld):
    """See FlatWorld; a reset takes the robot before a thing that its arm gets to, and gives it into its hand to put
    it down. `plan.target` is the thing.

    Attributes:
        T_tool_thing: How the thing lies in the hand that has taken it up from there (4,4).
    """

    T_tool_thing: Float64

    def __init__(self, scene: str = "flat") -> None:
        super().__init__(scene)
        self._poses = PoseDrawer(self)

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        """See FlatWorld.

        Raises:
            UnknownNameError: no such split or family.
            UnknownObjectError: the instruction is none for an arm, or no flat has such a thing within its reach.
        """
        if family and family not in HAND_GOALS:
            raise UnknownNameError("family of a hand's task", family, HAND_GOALS)
        rng = np.random.default_rng([seed, int(split != "train"), 59])
        wish = parse_hand(instruction) if instruction else None
        family = wish.family if wish else family or str(rng.choice(HAND_GOALS))
        for plan, thing in self._things(seed, split, wish, rng):
            stand = self._stand(rng, thing, family)
            if stand is None:
                continue
            text = instruction or _text(rng, split, family, thing)
            others = tuple(other for other in plan.things if other is not thing)
            task = Errand(family, text, (Item(thing.colour, thing.category),))
            there = replace(plan, things=(thing, *others), start=stand, errand=task)
            self.place(there)
            self.T_tool_thing = self._thing_in_tool(find_grasp(self))
            self._poses.enter()
            if family == PUT:  # where an errand ends, with room before the robot
                self.place(replace(there, start=plan.start))
                self._hand_over()
            return text
        raise UnknownObjectError(f"instruction '{instruction}'", "something within an arm's reach", "take another seed")

    def _hand_over(self) -> None:
        """The target comes into the hand as if it had been taken up."""
        self.put(CARRY_RAD, CATEGORIES[self.plan.target.category].grasp_m)
        self.hold(self.T_tool_thing)
        self.data.ctrl[self._grippers] = self._jaw.angle(0.0)  # they press
        self._settle()

    def stand_anew(self, rng: np.random.Generator) -> bool:
        """The thing is turned where it lies, and the robot stands elsewhere before it, its arm at home.

        Returns:
            False: no place was found from which the arm takes it up; the world is anyhow then, restore it.
        """
        thing, turn = _pose(self.data.body("thing0")), float(rng.uniform(-np.pi, np.pi))
        cos, sin = np.cos(turn), np.sin(turn)
        thing[:3, :3] = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ thing[:3, :3]
        self._lay(thing)
        for _ in range(_STANDS):
            if self._poses.before(rng, self.plan.target) is None:
                continue
            self.put(self.robot.home_rad, 0.0)
            try:
                self.T_tool_thing = self._thing_in_tool(find_grasp(self))
            except PolicyError:
                continue
            return True
        return False

    def _thing_in_tool(self, grasp: Grasp) -> Float64:
        """Pose of the target, as it lies, as seen from the tool around it (4,4)."""
        q = self.data.qpos[self.arm_q].copy()
        self.data.qpos[self.arm_q] = grasp.around
        mujoco.mj_kinematics(self.model, self.data)
        T: Float64 = np.linalg.inv(self._tool()) @ _pose(self.data.body("thing0"))
        self.data.qpos[self.arm_q] = q
        mujoco.mj_forward(self.model, self.data)
        return T

    def put(self, q_rad: Float64, width_m: float) -> None:
        """Arm and gripper to a state of rest, at once."""
        self.data.qvel[:] = 0.0
        self.data.qpos[self.arm_q] = self.data.ctrl[self._motors] = q_rad
        self.data.qpos[self.finger_q] = self.data.ctrl[self._grippers] = self._jaw.angle(width_m)
        mujoco.mj_forward(self.model, self.data)

    def hold(self, T_tool_thing: Float64) -> None:
        """The target to where the tool has it."""
        self._lay(self._tool() @ T_tool_thing)

    def let_go(self, q_rad: Float64) -> None:
        """The target onto the floor below where the hand has it at q."""
        self.data.qpos[self.arm_q] = q_rad
        mujoco.mj_kinematics(self.model, self.data)
        T = self._tool() @ self.T_tool_thing
        cos, sin = (part / np.hypot(T[0, 0], T[1, 0]) for part in (T[0, 0], T[1, 0]))
        T[:3, :3], T[2, 3] = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], 0.0
        self._lay(T)

    def _lay(self, T_world_thing: Float64) -> None:
        """The target to a place."""
        address = self.model.jnt_qposadr[self.model.body("thing0").jntadr[0]]
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, T_world_thing[:3, :3].ravel())
        self.data.qpos[address : address + 7] = [*T_world_thing[:3, 3], *quaternion]
        mujoco.mj_forward(self.model, self.data)

    def touches(self) -> bool:
        """Whether the robot touches the flat, or something in it but what it holds."""
        return self._poses.touches()

    def _tool(self) -> Float64:
        return _pose(self.data.site(self.robot.tool_frame))

    def _things(
        self, seed: int, split: str, wish: Errand | None, rng: np.random.Generator
    ) -> Iterator[tuple[FlatPlan, Thing]]:
        """Flats that the world is in, and things in them that may be taken."""
        for k in range(_FLATS):
            asked = f"bring me the {wish.objects[0].name}" if wish and wish.objects else None
            plan = draw_plan(seed + k * _NEXT_FLAT, split, asked)
            self.place(plan)
            things = [plan.target] if asked else [thing for thing in plan.things if thing.reachable]
            for index in rng.permutation(len(things)):
                yield plan, things[index]

    def _stand(self, rng: np.random.Generator, thing: Thing, family: str) -> tuple[float, float, float] | None:
        """A place before a thing from where the arm takes it, or None."""
        self._poses.enter()
        plan = self.plan
        others = tuple(other for other in plan.things if other is not thing)
        if thing is not plan.target:
            self.place(replace(plan, things=(thing, *others)))
            self._poses.enter()
        for _ in range(_STANDS):
            stand = self._poses.before(rng, thing)
            if stand is None:
                continue
            try:
                find_grasp(self)
                if family == PUT:
                    place_down(self)
            except PolicyError:
                continue
            return stand
        return None


def parse_hand(text: str) -> Errand:
    """What an arm is told, as a task.

    Raises:
        UnknownObjectError: neither to take something up nor to put it down, or nothing that is known.
    """
    said = " ".join(text.lower().split())
    names = "|".join(f"{colour} {category}" for colour in COLOURS for category in CATEGORIES)
    for family, phrases in PHRASES.items():
        for phrase in phrases:
            found = re.fullmatch(phrase.replace("{a}", f"(?P<a>{names})"), said)
            if found:
                name = found.groupdict().get("a")
                return Errand(family, text, (Item(*name.split()),) if name else ())
    known = f"one of {', '.join(phrases[0] for phrases in PHRASES.values())}"
    raise UnknownObjectError(f"instruction '{text}'", known, "say it like 'pick up the red mug' or 'put it down'")


def chunk(world: HandWorld, horizon: int, dt_s: float) -> Float32:
    """The scripted expert, see `hand_chunk`."""
    return hand_chunk(world, world.task.instruction, horizon, dt_s)


def hand_succeeded(world: HandWorld) -> bool:
    """See `hand_done`."""
    return hand_done(world, world.task.instruction)


def _text(rng: np.random.Generator, split: str, family: str, thing: Thing) -> str:
    phrases = PHRASES[family][-1:] if split == "heldout_phrase" else PHRASES[family][:-1]
    return str(rng.choice(phrases)).format(a=thing.name)


def _pose(frame: object) -> Float64:
    """(4,4) of a body or a site, world frame."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = frame.xmat.reshape(3, 3), frame.xpos  # type: ignore[attr-defined]
    return T
