"""The tabletop world: one compiled model, refilled from a seed; stage 0 of the line."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError
from vla_core.types import Float64
from vla_sim.core.robot_world import RobotWorld
from vla_sim.core.scene import BUTTON_TRAVEL, DRAWER_TRAVEL, HALF_HEIGHT, build_model
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


class World(RobotWorld):
    """See RobotWorld."""

    def __init__(self, scene: str = "tabletop") -> None:
        super().__init__(scene)
        self.task = Task("pick", "")
        self.slots = {}
        self.has_drawer = self.has_button = False
        self.button_pressed = False
        self.reset(0)

    def build(self) -> mujoco.MjModel:
        return build_model(self.scene, self.robot.model_path)

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
        self.clear()
        self._paint(rng)
        self._place(rng, split)
        self.start_robot(rng, 0.08)
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

    def clear(self) -> None:
        super().clear()
        self.button_pressed = False

    # -- run -----------------------------------------------------------------------------------------------------

    def step(self, command: Float64, gripper_width_m: Float64, gripper_force_n: Float64) -> None:
        super().step(command, gripper_width_m, gripper_force_n)
        if self.has_button and not self.button_pressed and self.button_m() > PRESSED_M:
            self.button_pressed = True
            self._paint_button()

    def facts(self) -> dict[str, Any]:
        """`drawer_m` and `button_pressed`, None where there is none."""
        return {
            "drawer_m": self.drawer_m() if self.has_drawer else None,
            "button_pressed": self.button_pressed if self.has_button else None,
        }

    def snapshot(self) -> Float64:
        """Everything that a picture depends on after the same reset: physics state and the button's lamp."""
        return np.append(super().snapshot(), float(self.button_pressed))

    def restore(self, snapshot: Float64) -> None:
        self.button_pressed = bool(snapshot[-1])
        self._paint_button()
        super().restore(snapshot[:-1])

    # -- ground truth, for judges, experts and training labels only ------------------------------------------------

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
