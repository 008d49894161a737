"""Labelled single states without simulating the way there: the expert's rule is Markov, so any state can be labelled.

A still is a freshly filled table with the robot put at a random pose, half of the time near what the task is about,
sometimes with the thing already between the fingers. One rendered frame each: far more tables per second than episodes.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.types import Float64
from vla_sim.core.expert import OPEN_WIDTH, grasp_offset, graspable, width_of
from vla_sim.core.rig import Rig
from vla_sim.core.scene import DRAWER_TRAVEL
from vla_sim.core.tasks import Item

_DOWN = np.diag([1.0, -1.0, -1.0])
_REACH = np.array([[0.30, -0.30, 0.015], [0.68, 0.30, 0.40]])
_CLEARANCE_M = 0.075  # below carrying height the fingers keep this far from what they don't hold


def pose_still(rig: Rig, rng: np.random.Generator) -> bool:
    """Put the robot of a freshly reset rig somewhere plausible; False when no pose was found."""
    world = rig.table
    keys = graspable(world.task)
    if "drawer" in world.task.family and rng.random() < 0.6:
        world.data.qpos[world.model.joint("drawer").qposadr[0]] = rng.uniform(0, DRAWER_TRAVEL)
        mujoco.mj_forward(world.model, world.data)
    held: Item | str | None = None
    if keys and rng.random() < 0.45:
        held = keys[int(rng.integers(len(keys)))]
    for _ in range(12):
        tool = _draw(rig, rng, held)
        if held == "handle" or _free(rig, tool, held):
            break
    else:
        return False
    q = _inverse(rig, tool, rng)
    if q is None:
        return False
    world.data.qpos[world.arm_q] = q
    width = _width(rng, held, world.task.family)
    world.data.qpos[world.finger_q] = width / 2
    if isinstance(held, Item):
        _put_in_hand(rig, held, tool + rng.normal(0, [0.003, 0.003, 0.004]))
    mujoco.mj_forward(world.model, world.data)
    return True


def _width(rng: np.random.Generator, held: Item | str | None, family: str) -> float:
    if held is not None:
        return width_of(held) - rng.uniform(0.0, 0.001)
    if family in ("push", "close_drawer", "press_button"):
        return float(rng.choice([0.0, rng.uniform(0, OPEN_WIDTH), OPEN_WIDTH], p=[0.75, 0.1, 0.15]))
    return float(rng.choice([OPEN_WIDTH, rng.uniform(0, OPEN_WIDTH)], p=[0.85, 0.15]))


def _draw(rig: Rig, rng: np.random.Generator, held: Item | str | None) -> Float64:
    world = rig.table
    if held == "handle":
        return world.handle() + grasp_offset("handle") + rng.normal(0, [0.002, 0.002, 0.004])
    focus = [world.position(i) for i in (*world.task.objects, *world.task.places)]
    if "drawer" in world.task.family:
        focus = [world.handle()]
    if world.task.family == "press_button":
        focus = [world.button()]
    tool = rng.uniform(*_REACH)
    if rng.random() < 0.65:
        spot = focus[int(rng.integers(len(focus)))]
        spread = rng.choice([0.006, 0.025, 0.06])
        tool = np.array([*(spot[:2] + rng.normal(0, spread, 2)), spot[2] + rng.choice([0.0, rng.uniform(0, 0.18)])])
        tool[2] += 0.05 if held is not None and tool[2] < 0.06 and rng.random() < 0.5 else 0.0
    return np.asarray(np.clip(tool, *_REACH))


def _free(rig: Rig, tool: Float64, held: Item | str | None) -> bool:
    """The fingers stand clear of everything, or above it, or astride what the task grasps."""
    world = rig.table
    for item in world.slots:
        gap = tool - world.position(item)
        top = 0.055 if held is None else 0.09
        if item == held or gap[2] > top:
            continue
        astride = held is None and item in graspable(world.task) and abs(gap[0]) < 0.03 and abs(gap[1]) < 0.012
        if np.hypot(*gap[:2]) < (0.10 if item.shape == "bowl" and held is None else _CLEARANCE_M) and not astride:
            return item.shape == "bowl" and np.hypot(*gap[:2]) < 0.02 and gap[2] > 0.03
    return not world.has_drawer or tool[2] > 0.09 or "drawer" in world.task.family


def _put_in_hand(rig: Rig, item: Item, spot: Float64) -> None:
    world = rig.table
    address = world.model.joint(world.slots[item]).qposadr[0]
    world.data.qpos[address : address + 3] = spot
    world.data.qpos[address + 3 : address + 7] = [1, 0, 0, 0]


def _inverse(rig: Rig, tool: Float64, rng: np.random.Generator) -> Float64 | None:
    """Damped least squares from the present posture to a tool that points down; None when out of reach."""
    robot, config = rig.robot, rig.robot.config
    q = rig.table.robot_state().q_rad
    tilt = rng.normal(0, 0.02, 3)
    for _ in range(60):
        position, quaternion = robot.tool_pose(q)
        x, y, z, w = quaternion
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, np.array([w, x, y, z]))
        turn = _DOWN @ rotation.reshape(3, 3).T
        axis = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) + tilt
        error = np.concatenate([tool - position, axis])
        if np.linalg.norm(error) < 1e-3:
            inside = np.all(q > config.position_min_rad) and np.all(q < config.position_max_rad)
            return q if inside else None
        jacobian = robot.jacobian(q)
        q = q + jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
    return None
