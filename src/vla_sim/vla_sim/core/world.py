"""The tabletop world: one compiled model, refilled from a seed; stage 0 of the line.

A reset is a pure function of (seed, task, split): any process that makes the same reset and restores a snapshot draws
the same picture.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_control.core.robot import RobotConfig, load_robot_config
from vla_core.errors import ConfigError
from vla_core.types import NS, Float64, RobotState
from vla_sim.core.scene import BUTTON_TRAVEL, DRAWER_TRAVEL, HALF_HEIGHT, build_model, load_scene
from vla_sim.core.tasks import COLOURS, HELD_OUT_PAIRS, SHAPES, Item, Task, parse_instruction, sample_task

RGB = {
    "red": (0.82, 0.08, 0.08),
    "green": (0.10, 0.58, 0.14),
    "blue": (0.10, 0.22, 0.85),
    "yellow": (0.95, 0.82, 0.10),
    "purple": (0.50, 0.14, 0.62),
}
LIT, DARK = (0.25, 1.0, 0.35), (0.92, 0.92, 0.92)  # the button's cap once it has been pressed, and before
PRESSED_M = 0.6 * BUTTON_TRAVEL
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class World:
    """Torque in, physics out, 1 kHz.

    Args:
        scene: Name of `config/scenes/<scene>.yaml`.

    Attributes:
        task: What the last reset asks for.
        slots: Item → body name of every thing and bowl on the table.
        robot: Parsed robot file of the scene.
        arm_q, arm_v, finger_q: Where the joints of the arms and of the fingers lie in MuJoCo's qpos and qvel.
    """

    def __init__(self, scene: str = "tabletop") -> None:
        self.scene = load_scene(scene)
        self.robot: RobotConfig = load_robot_config(self.scene["robot"])
        self.model = build_model(self.scene, self.robot.model_path)
        self.data = mujoco.MjData(self.model)
        grippers = self.robot.grippers
        joints = [self.model.joint(n) for n in self.robot.joints]
        fingers = [self.model.joint(n) for gripper in grippers for n in gripper.joints]
        self.arm_q = np.array([j.qposadr[0] for j in joints])
        self.arm_v = np.array([j.dofadr[0] for j in joints])
        self.finger_q = np.array([j.qposadr[0] for j in fingers])
        self._first_finger = np.cumsum([0, *(len(gripper.joints) for gripper in grippers[:-1])])
        self._motors = np.array([self.model.actuator(n).id for n in self.robot.joints])
        self._grippers = np.array([self.model.actuator(gripper.actuator).id for gripper in grippers])
        self.torque_limit_nm: Float64 = self.model.actuator_ctrlrange[self._motors, 1].copy()
        self.gripper_force_limit_n: Float64 = self.model.actuator_forcerange[self._grippers, 1].copy()
        self._tool = self.model.site("tool").id
        owners = [self.model.body(i).name for i in self.model.geom_bodyid]
        self._is_robot = np.array([name.startswith("panda_") for name in owners])
        self.task = Task("pick", "")
        self.slots: dict[Item, str] = {}
        self.has_drawer = self.has_button = False
        self.button_pressed = False
        self.time_offset_ns = 0
        self._max_contact_n = 0.0
        self.reset(0)

    # -- reset ---------------------------------------------------------------------------------------------------

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        """Refill the table.

        Args:
            seed: Decides everything that is random.
            instruction: Build the scene for this task instead of drawing one.
            split: Which pairs and phrases may be drawn; see `tasks.SPLITS`.
            family: Draw a task of this family.

        Returns:
            The instruction.

        Raises:
            UnknownObjectError: the instruction is not a task of the suite.
        """
        rng = np.random.default_rng([seed, 17])
        self.task = parse_instruction(instruction) if instruction else sample_task(rng, split, family)
        mujoco.mj_resetData(self.model, self.data)
        self.button_pressed = False
        self._max_contact_n = 0.0
        self._paint(rng)
        self._place(rng, split)
        home = self.robot.home_rad
        self.data.qpos[self.arm_q] = home + rng.uniform(-0.08, 0.08, home.shape)
        self.data.qpos[self.finger_q] = 0.04
        self.data.ctrl[self._grippers] = 0.04
        mujoco.mj_forward(self.model, self.data)
        self._paint_button()
        return self.task.instruction

    def _paint(self, rng: np.random.Generator) -> None:
        tint = rng.uniform(0.55, 1.0) * np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.72, 0.98)])
        self.model.mat("table").rgba[:3] = tint
        self.model.geom("floor").rgba[:3] = rng.uniform(0.3, 0.7)
        lamp = self.model.light("lamp")
        lamp.pos[:] = [rng.uniform(0.1, 0.9), rng.uniform(-0.5, 0.5), rng.uniform(1.3, 1.8)]
        lamp.dir[:] = np.array([0.47, 0.0, 0.0]) - lamp.pos
        lamp.diffuse[:] = rng.uniform(0.35, 0.65)
        self.model.vis.headlight.ambient[:] = rng.uniform(0.32, 0.45)
        self.model.vis.headlight.diffuse[:] = rng.uniform(0.3, 0.45)

    def _cast(self, rng: np.random.Generator, split: str) -> list[Item]:
        """The things that the task names, then distractors that don't make the instruction ambiguous."""
        named = list(dict.fromkeys([*self.task.objects, *self.task.places]))
        free = dict(self.scene["slots"])
        for item in named:
            free[item.shape] -= 1
        if any(n < 0 for n in free.values()):
            raise ConfigError(f"instruction '{self.task.instruction}'", f"at most {self.scene['slots']}", "name fewer")
        counts = self.scene["distractors"]
        pool = [Item(c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT_PAIRS]
        if split == "heldout_pair":
            pool = [Item(c, s) for c in COLOURS for s in SHAPES]
        bowls = [Item(c, "bowl") for c in COLOURS]
        cast = list(named)
        wishes = ((pool, int(rng.integers(counts["things"][0], counts["things"][1] + 1))),
                  (bowls, int(rng.integers(counts["bowls"][0], counts["bowls"][1] + 1))))  # fmt: skip
        for candidates, wish in wishes:
            for k in rng.permutation(len(candidates)):
                item = candidates[k]
                if wish > 0 and item not in cast and free[item.shape] > 0:
                    cast.append(item)
                    free[item.shape] -= 1
                    wish -= 1
        return cast

    def _place(self, rng: np.random.Generator, split: str) -> None:
        for slot in self._all_slots():
            self._park(slot)
        cast = self._cast(rng, split)
        family, chance = self.task.family, self.scene["distractors"]
        self.has_drawer = bool(rng.random() < chance["drawer"]) or "drawer" in family
        self.has_button = bool(rng.random() < chance["button"]) or family == "press_button"
        named = len({*self.task.objects, *self.task.places})
        for crowd in range(60):
            spots = self._lay_out(rng, cast, self.has_drawer, self.has_button)
            if spots is not None:
                break
            if crowd % 6 == 5:  # too full: leave out a distractor
                if len(cast) > named:
                    cast.pop()
                elif "drawer" not in family:
                    self.has_drawer = False
        else:
            raise ConfigError(f"no room on the table for seed with {len(cast)} things", "fewer things", "change slots")
        assert spots is not None
        used = dict.fromkeys(self.scene["slots"], 0)
        self.slots = {}
        for item, spot in zip(cast, spots[: len(cast)], strict=True):
            slot = f"{item.shape}{used[item.shape]}"
            used[item.shape] += 1
            self.slots[item] = slot
            self._put(slot, item, spot, float(rng.uniform(-0.6, 0.6)))
        rest = list(spots[len(cast) :])
        if self.has_drawer:
            self._move_static("cabinet", rest.pop(0) + np.array([0.05, 0.0]))
            openness = {"open_drawer": rng.uniform(0, 0.015), "close_drawer": rng.uniform(0.08, DRAWER_TRAVEL)}
            joint = self.model.joint("drawer")
            self.data.qpos[joint.qposadr[0]] = openness.get(family, 0.0 if rng.random() < 0.6 else rng.uniform(0, 0.1))
        if self.has_button:
            self._move_static("button_base", rest.pop(0))
        elif not self.has_button:
            self._move_static("button_base", np.array([9.0, 9.0]))
        if not self.has_drawer:
            self._move_static("cabinet", np.array([9.0, -9.0]))

    def _lay_out(
        self, rng: np.random.Generator, cast: list[Item], drawer: bool, button: bool
    ) -> list[NDArray[np.float64]] | None:
        """Non-overlapping spots (2,) for the cast, then the drawer's handle, then the button; None when crowded."""
        (x0, x1), (y0, y1) = self.scene["workspace"]["x_m"], self.scene["workspace"]["y_m"]
        boxes: list[tuple[float, float, float, float]] = []  # keep-out rectangles of the drawer
        tail: list[NDArray[np.float64]] = []
        if drawer:
            handle = np.array([rng.uniform(0.53, 0.58), rng.uniform(-0.17, 0.17)])
            boxes.append((handle[0] - DRAWER_TRAVEL - 0.02, handle[0] + 0.21, handle[1] - 0.105, handle[1] + 0.105))
            tail.append(handle)
        taken: list[tuple[NDArray[np.float64], float]] = []

        def spot(radius: float, low: float, high: float) -> NDArray[np.float64] | None:
            for _ in range(80):
                p = np.array([rng.uniform(x0, x1), rng.uniform(low, high)])
                clear = all(np.linalg.norm(p - q) > radius + r for q, r in taken)
                outside = all(
                    not (a - radius < p[0] < b + radius and c - radius < p[1] < d + radius) for a, b, c, d in boxes
                )
                if clear and outside:
                    taken.append((p, radius))
                    return p
            return None

        spots = []
        for item in cast:
            pushed = self.task.family == "push" and item in self.task.objects
            bowl = item.shape == "bowl"
            p = spot(0.062 if bowl else 0.047, *((-0.1, 0.1) if pushed else (y0, y1)))
            if p is None:
                return None
            spots.append(p)
            if pushed:  # keep the way free
                sign = 1.0 if self.task.side == "left" else -1.0
                start, end = sorted((p[1] - sign * 0.09, sign * 0.32))
                lane = (p[0] - 0.045, p[0] + 0.045, start, end)
                if any(a < lane[1] and lane[0] < b and c < lane[3] and lane[2] < d for a, b, c, d in boxes):
                    return None
                boxes.append(lane)
        if button:
            p = spot(0.05, y0, y1)
            if p is None:
                return None
            tail.append(p)
        return spots + tail

    def _all_slots(self) -> list[str]:
        return [f"{shape}{i}" for shape, n in self.scene["slots"].items() for i in range(n)]

    def _park(self, slot: str) -> None:
        index = self._all_slots().index(slot)
        far = np.array([4.0 + 0.3 * index, 4.0, -0.5])
        if slot.startswith("bowl"):
            self.model.body(slot).pos[:] = far
            return
        body = self.model.body(slot)
        self.model.body_gravcomp[body.id] = 1.0
        geom = self.model.geom(slot)
        geom.contype[:], geom.conaffinity[:] = 0, 0
        address = self.model.joint(slot).qposadr[0]
        self.data.qpos[address : address + 7] = [*far, 1, 0, 0, 0]

    def _put(self, slot: str, item: Item, spot: NDArray[np.float64], yaw: float) -> None:
        colour = [*RGB[item.colour], 1.0]
        body = self.model.body(slot)
        if item.shape == "bowl":
            body.pos[:] = [*spot, 0.0]
            first = int(body.geomadr[0])
            self.model.geom_rgba[first : first + int(body.geomnum[0])] = colour
            return
        self.model.body_gravcomp[body.id] = 0.0
        geom = self.model.geom(slot)
        geom.contype[:], geom.conaffinity[:], geom.rgba[:] = 1, 1, colour
        address = self.model.joint(slot).qposadr[0]
        pose = [*spot, HALF_HEIGHT[item.shape] + 5e-4, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        self.data.qpos[address : address + 7] = pose

    def _move_static(self, body: str, spot: NDArray[np.float64]) -> None:
        self.model.body(body).pos[:2] = spot

    def _paint_button(self) -> None:
        self.model.geom("button").rgba[:3] = LIT if self.button_pressed else DARK

    # -- run -----------------------------------------------------------------------------------------------------

    @property
    def time_ns(self) -> int:
        """Simulated time [ns]; never jumps back, also not over a reset when the owner moves `time_offset_ns`."""
        return self.time_offset_ns + round(float(self.data.time) * NS)

    def step(self, tau_nm: Float64, gripper_width_m: Float64, gripper_force_n: Float64) -> None:
        """Advance by one step of the scene's timestep.

        Args:
            tau_nm: Joint torques [N*m] (J,).
            gripper_width_m, gripper_force_n: Of each gripper [m], [N] (G,).
        """
        self.data.ctrl[self._motors] = tau_nm
        # below its own opening the target presses on: a servo with a force limit
        self.data.ctrl[self._grippers] = gripper_width_m / 2 - 0.01 * (gripper_width_m < 0.01)
        self.model.actuator_forcerange[self._grippers, 0] = -gripper_force_n
        self.model.actuator_forcerange[self._grippers, 1] = gripper_force_n
        mujoco.mj_step(self.model, self.data)
        if self.has_button and not self.button_pressed and self.button_m() > PRESSED_M:
            self.button_pressed = True
            self._paint_button()
        if self.data.ncon:
            self._max_contact_n = max(self._max_contact_n, self._robot_contact_n())

    def robot_state(self) -> RobotState:
        """Proprioception now."""
        return RobotState(
            self.time_ns,
            self.data.qpos[self.arm_q].copy(),
            self.data.qvel[self.arm_v].copy(),
            self.data.ctrl[self._motors].copy(),
            np.add.reduceat(self.data.qpos[self.finger_q], self._first_finger),
        )

    def snapshot(self) -> Float64:
        """Everything that a picture depends on after the same reset: physics state and the button's lamp."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE) + 1)
        mujoco.mj_getState(self.model, self.data, state[:-1], _STATE)
        state[-1] = float(self.button_pressed)
        return state

    def restore(self, snapshot: Float64) -> None:
        """Take over a snapshot of a world with the same last reset."""
        mujoco.mj_setState(self.model, self.data, snapshot[:-1], _STATE)
        self.button_pressed = bool(snapshot[-1])
        self._paint_button()
        mujoco.mj_forward(self.model, self.data)

    # -- ground truth, for judges, experts and training labels only ------------------------------------------------

    def tool_pose(self) -> tuple[Float64, Float64]:
        """Tool position (3,) [m] and rotation matrix (3,3), base frame."""
        return self.data.site_xpos[self._tool].copy(), self.data.site_xmat[self._tool].reshape(3, 3).copy()

    def position(self, item: Item) -> Float64:
        """Centre of a thing, or the bottom centre of a bowl, (3,) [m]."""
        return np.array(self.data.xpos[self.model.body(self.slots[item]).id])

    def handle(self) -> Float64:
        """Centre of the drawer's handle (3,) [m]."""
        return np.array(self.data.geom_xpos[self.model.geom("drawer_handle").id])

    def drawer_m(self) -> float:
        """How far the drawer is open [m]."""
        return float(self.data.qpos[self.model.joint("drawer").qposadr[0]])

    def button(self) -> Float64:
        """Top centre of the button's cap at rest (3,) [m]."""
        top: Float64 = self.data.xpos[self.model.body("button_base").id] + np.array([0.0, 0.0, 0.036])
        return top

    def button_m(self) -> float:
        """How far the button is pressed in [m]."""
        return float(self.data.qpos[self.model.joint("button").qposadr[0]])

    def contact_force_n(self) -> float:
        """Largest normal force of one contact between robot and surroundings since the reset [N]; grasping counts."""
        return self._max_contact_n

    def _robot_contact_n(self) -> float:
        pairs = self._is_robot[self.data.contact.geom]
        force, largest = np.zeros(6), 0.0
        for i in np.flatnonzero(pairs[:, 0] != pairs[:, 1]):
            mujoco.mj_contactForce(self.model, self.data, int(i), force)
            largest = max(largest, float(force[0]))
        return largest
