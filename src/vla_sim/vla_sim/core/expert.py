"""Scripted experts: a Markov waypoint rule per task family, rolled out kinematically into a clean action chunk.

The rule reads only the current (ground-truth) state, so it labels any state, also one that noise or a learning policy
has led into. The chunk is the rule's own continuation from there: noise never enters a label.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vla_core.types import Float32, Float64
from vla_sim.core.judge import OPEN_M, SHUT_M, SIDE_M
from vla_sim.core.scene import DRAWER_TRAVEL, HALF_HEIGHT
from vla_sim.core.tasks import Item, Task
from vla_sim.core.world import World

SPEED_M_S = 0.28
SLOW_M_S = 0.14  # in contact
HOVER_M, CARRY_M, RETREAT_M = 0.10, 0.16, 0.20
WIDTH = {"cube": 0.04, "cylinder": 0.04, "ball": 0.044, "handle": 0.028}
OPEN_WIDTH, CLOSE_M_S, OPENING_M_S = 0.08, 0.16, 0.20
PRESS_M = 0.016  # how far below the cap at rest the tool aims; its tip lies another 9 mm lower
AT_XY_M, AT_Z_M = 0.008, 0.006
_SMOOTH = 5  # steps of the moving average that rounds a chunk's corners, odd
DOWN = np.array([1.0, 0.0, 0.0, 0.0])  # quaternion xyzw of a tool that points down


@dataclass(slots=True)
class Scene:
    """What the rule reads, and what the kinematic roll-out moves.

    Attributes:
        tool: Tool position (3,) [m].
        width: Opening of the gripper [m].
        things: Position (3,) of each thing and bowl of the task; 'handle' and 'button' by these names.
        held: Key of what the gripper holds, or None.
    """

    tool: Float64
    width: float
    things: dict[Item | str, Float64]
    drawer_m: float
    pressed: bool
    held: Item | str | None = None
    released: set[Item | str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Command:
    """Where the tool goes next (3,) [m] at which speed [m/s], and whether the gripper opens."""

    tool: Float64
    speed_m_s: float
    open: bool


def observe(world: World) -> Scene:
    """Read the ground truth that the task's rule needs."""
    things: dict[Item | str, Float64] = {}
    for item in (*world.task.objects, *world.task.places):
        things[item] = world.position(item)
    if "drawer" in world.task.family:
        things["handle"] = world.handle()
    if world.task.family == "press_button":
        things["button"] = world.button()
    tool, _ = world.tool_pose()
    scene = Scene(tool, float(world.robot_state().gripper_width_m[0]), things, world.drawer_m(), world.button_pressed)
    for key in graspable(world.task):
        if grips(scene, key):
            scene.held = key
    return scene


def graspable(task: Task) -> tuple[Item | str, ...]:
    """What the task grasps."""
    return ("handle",) if task.family == "open_drawer" else () if task.family == "push" else task.objects


def width_of(key: Item | str) -> float:
    """Width of a thing between the fingers [m]."""
    return WIDTH[key if isinstance(key, str) else key.shape]


def grips(scene: Scene, key: Item | str) -> bool:
    """The fingers have closed on the thing."""
    near = np.linalg.norm(scene.tool - (scene.things[key] + grasp_offset(key))) < 0.025
    # a cube that lies askew is gripped a little wider
    return bool(near) and -0.006 < scene.width - width_of(key) < 0.010


def grasp_offset(key: Item | str) -> Float64:
    """Tool position relative to the thing's centre when it is gripped (3,) [m]."""
    return np.array([0.0, 0.0, 0.008 if key == "handle" else 0.0])


def decide(scene: Scene, task: Task) -> Command:
    """The expert's rule."""
    match task.family:
        case "pick" | "place_in" | "stack" | "sort":
            return _transport(scene, task)
        case "push":
            side = 1.0 if task.side == "left" else -1.0
            thing = scene.things[task.objects[0]]
            done = side * thing[1] > SIDE_M + 0.02
            return _shove(scene, thing, np.array([0.0, side, 0.0]), 0.070, 0.022, done)
        case "close_drawer":
            done = scene.drawer_m < 0.5 * SHUT_M
            return _shove(scene, scene.things["handle"], np.array([1.0, 0.0, 0.0]), 0.050, 0.042, done)
        case "open_drawer":
            return _pull(scene)
        case _:
            return _press(scene)


def _retreat(scene: Scene, opened: bool = True) -> Command:
    if opened and scene.width < 0.9 * OPEN_WIDTH and scene.tool[2] < RETREAT_M - 0.05:
        return Command(scene.tool, SPEED_M_S, True)
    return Command(np.array([*scene.tool[:2], RETREAT_M]), SPEED_M_S, opened)


def _transport(scene: Scene, task: Task) -> Command:
    places = task.places or (None,) * len(task.objects)
    for item, place in zip(task.objects, places, strict=True):
        if place is None:
            if scene.held == item:
                return Command(np.array([*scene.tool[:2], CARRY_M]), SPEED_M_S, False)
            return _grasp(scene, item)
        at_place = _placed(scene, item, place)
        if scene.held == item and not (at_place and scene.width > width_of(item) + 0.006):
            return _carry(scene, item, place)
        if not at_place:
            return _grasp(scene, item)
        if scene.tool[2] < scene.things[item][2] + 0.06 and np.hypot(*(scene.tool - scene.things[item])[:2]) < 0.05:
            return _retreat(scene)
    return _retreat(scene)


def _placed(scene: Scene, item: Item, place: Item) -> bool:
    gap = scene.things[item] - scene.things[place]
    if place.shape == "bowl":
        return bool(np.hypot(*gap[:2]) < 0.042 and gap[2] < 0.05)
    height = HALF_HEIGHT[item.shape] + HALF_HEIGHT[place.shape]
    return bool(np.hypot(*gap[:2]) < 0.020 and abs(gap[2] - height) < 0.008)


def _release_z(item: Item, place: Item) -> float:
    if place.shape == "bowl":
        return HALF_HEIGHT[item.shape] + 0.022
    return HALF_HEIGHT[item.shape] + 2 * HALF_HEIGHT[place.shape] + 0.003


def _carry(scene: Scene, item: Item, place: Item) -> Command:
    goal, release = scene.things[place], _release_z(item, place)
    # the thing may sit off-centre between the fingers: bring the thing, not the tool, over its place
    aim = goal[:2] - (scene.things[item] - scene.tool)[:2]
    off = np.hypot(*(scene.tool[:2] - aim))
    if off > AT_XY_M + 0.004:
        low = scene.tool[2] < CARRY_M - 0.04
        if low and off > 0.03:
            return Command(np.array([*scene.tool[:2], CARRY_M]), SPEED_M_S, False)
        return Command(np.array([*aim, CARRY_M if off > 0.03 else max(scene.tool[2], release)]), SPEED_M_S, False)
    if scene.tool[2] < release + AT_Z_M:
        return Command(np.array([*scene.tool[:2], release]), SLOW_M_S, True)
    return Command(np.array([*aim, release]), SPEED_M_S, False)


def _grasp(scene: Scene, key: Item | str) -> Command:
    spot = scene.things[key] + grasp_offset(key)
    off = np.hypot(*(scene.tool - spot)[:2])
    if off < AT_XY_M + 0.004 and scene.tool[2] < spot[2] + AT_Z_M + 0.004:
        return Command(spot, SLOW_M_S, False)
    if scene.width < 0.85 * OPEN_WIDTH and scene.tool[2] < spot[2] + 0.05:
        return Command(scene.tool, SPEED_M_S, True)  # open before moving on
    return _descend(scene, spot, HOVER_M, True)


def _descend(scene: Scene, spot: Float64, hover_m: float, opened: bool) -> Command:
    """Above the spot first, then straight down; near the axis, correct sideways while descending."""
    off = np.hypot(*(scene.tool - spot)[:2])
    height = scene.tool[2] - spot[2]
    if off > AT_XY_M:
        if off > 0.03 and height < 0.5 * hover_m:
            return Command(np.array([*scene.tool[:2], spot[2] + hover_m]), SPEED_M_S, opened)
        level = spot[2] + hover_m if off > 0.03 else max(min(scene.tool[2], spot[2] + hover_m), spot[2] + 0.03)
        return Command(np.array([*spot[:2], level]), SPEED_M_S, opened)
    return Command(spot, SPEED_M_S if height > 0.05 else SLOW_M_S, opened)


def _shove(scene: Scene, thing: Float64, along: Float64, gap_m: float, z_m: float, done: bool) -> Command:
    """Push `thing` along a direction with closed fingers from `gap_m` behind it."""
    if done:
        return _retreat(scene, opened=False)
    behind = thing - gap_m * along
    offset = scene.tool - thing
    across = np.abs(offset - (offset @ along) * along)[:2].sum()
    if scene.tool[2] < z_m + 0.02 and across < 0.015 and offset @ along < -0.018:
        ahead = scene.tool + 0.05 * along
        ahead[:2] += np.where(np.abs(along[:2]) > 0.5, 0.0, (thing - scene.tool)[:2])
        return Command(np.array([*ahead[:2], z_m]), SLOW_M_S, False)
    return _descend(scene, np.array([*behind[:2], z_m]), 0.09, False)


def _pull(scene: Scene) -> Command:
    if scene.drawer_m > 0.5 * (OPEN_M + DRAWER_TRAVEL):
        return _retreat(scene)
    if scene.held == "handle":
        grip = scene.things["handle"] + grasp_offset("handle")
        return Command(np.array([scene.tool[0] - 0.05, grip[1], grip[2]]), SLOW_M_S, False)
    return _grasp(scene, "handle")


def _press(scene: Scene) -> Command:
    if scene.pressed:
        return _retreat(scene, opened=False)
    return _descend(scene, scene.things["button"] - np.array([0.0, 0.0, PRESS_M]), 0.06, False)


def advance(scene: Scene, command: Command, task: Task, dt_s: float) -> None:
    """Move the kinematic state by one step of the command."""
    way = command.tool - scene.tool
    distance = float(np.linalg.norm(way))
    pace = min(command.speed_m_s * dt_s, 0.6 * distance)
    if distance > 1e-9:
        scene.tool = scene.tool + way * (pace / distance)
    step = (OPENING_M_S if command.open else -CLOSE_M_S) * dt_s
    held = scene.held
    stop = width_of(held) if held is not None else 0.0
    scene.width = float(np.clip(scene.width + step, stop, OPEN_WIDTH))
    if held is None:
        for key in graspable(task):
            near = np.linalg.norm(scene.tool - scene.things[key] - grasp_offset(key)) < 0.02
            if near and not command.open:
                scene.width = max(scene.width, width_of(key))
                scene.held = key if scene.width <= width_of(key) + 0.001 else None
    elif command.open:
        scene.held = None
        _drop(scene, held, task)
    _carry_along(scene, command, task)


def _drop(scene: Scene, key: Item | str, task: Task) -> None:
    if isinstance(key, str):
        return
    spot = scene.things[key].copy()
    spot[2] = HALF_HEIGHT[key.shape]
    for place in task.places:
        if np.hypot(*(spot - scene.things[place])[:2]) < 0.045:
            base = 0.006 if place.shape == "bowl" else scene.things[place][2] + HALF_HEIGHT[place.shape]
            spot[2] = base + HALF_HEIGHT[key.shape]
    scene.things[key] = spot


def _carry_along(scene: Scene, command: Command, task: Task) -> None:
    if scene.held == "handle":
        x = scene.tool[0]
        moved = float(np.clip(scene.drawer_m + scene.things["handle"][0] - x, 0.0, DRAWER_TRAVEL))
        scene.things["handle"] = scene.things["handle"] + np.array([scene.drawer_m - moved, 0.0, 0.0])
        scene.drawer_m = moved
    elif scene.held is not None:
        scene.things[scene.held] = scene.tool - grasp_offset(scene.held)
    if task.family == "push" and scene.tool[2] < 0.04:
        side, thing = (1.0 if task.side == "left" else -1.0), scene.things[task.objects[0]]
        touch = scene.tool[1] + side * 0.028
        if abs(scene.tool[0] - thing[0]) < 0.02 and 0 < side * (touch - thing[1]) < 0.04:
            scene.things[task.objects[0]] = np.array([thing[0], touch, thing[2]])
    if task.family == "close_drawer" and scene.tool[2] < 0.06:
        handle = scene.things["handle"]
        push = scene.tool[0] + 0.02 - handle[0]
        if abs(scene.tool[1] - handle[1]) < 0.02 and 0 < push < 0.04:
            moved = max(scene.drawer_m - push, 0.0)
            scene.things["handle"] = handle + np.array([scene.drawer_m - moved, 0.0, 0.0])
            scene.drawer_m = moved
    if task.family == "press_button":
        gap = scene.tool - scene.things["button"]
        scene.pressed |= bool(np.hypot(*gap[:2]) < 0.02 and gap[2] < 0.004 - PRESS_M)


def clean_chunk(world: World, horizon: int, dt_s: float) -> Float32:
    """The expert's chunk from the present state.

    Returns:
        float32 (T,8): tool position [m], quaternion xyzw, gripper opening 0..1; step i lies i * dt_s ahead.
    """
    scene, task = observe(world), world.task
    steps = horizon + _SMOOTH // 2
    out = np.empty((steps, 8), np.float32)
    for i in range(steps):
        command = decide(scene, task)
        out[i, :3], out[i, 3:7], out[i, 7] = scene.tool, DOWN, float(command.open)
        advance(scene, command, task, dt_s)
    out[:horizon, :3] = rounded(out[:, :3])
    return out[:horizon]


def rounded(path: Float32) -> Float32:
    """Round the corners of a path (T,...) by a moving average; the start goes on as it began, so it lags nowhere."""
    half = _SMOOTH // 2
    before = path[0] - np.multiply.outer(np.arange(half, 0, -1), path[1] - path[0])
    padded = np.concatenate([before, path])
    out: Float32 = np.mean([padded[k : len(padded) - 2 * half + k] for k in range(_SMOOTH)], axis=0)
    return out
