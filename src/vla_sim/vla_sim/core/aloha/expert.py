"""Scripted experts for two arms: a Markov waypoint rule per task, rolled out into a chunk of joint positions.

As for one arm (see vla_sim.core.expert), the rule reads only the present ground truth, so it also goes on from where
noise or a learning policy has led. Hand-over as in ALOHA's simulation: the right hand takes the cube from above, both
meet in mid-air with their fingers at right angles, the right hand lets go once the left one holds.

Between pointing ahead and pointing down the wrist passes its singularity (hand in line with the forearm). Off the plane
of the arm's base the forearm would have to spin there, so hands turn over within it; where a path still asks for more
than the joints can do, the chunk takes more time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pinocchio as pin

from vla_control.core.robot import RobotModel
from vla_core.types import Float32, Float64
from vla_sim.core.aloha.kinematics import TwoArms
from vla_sim.core.aloha.world import LEFT, RIGHT, AlohaWorld

SPEED_M_S, SLOW_M_S, TURN_RAD_S = 0.25, 0.08, 1.2
STEPS = 60  # of a chunk, 1.2 s
WIDTH_M = {"cube": 0.04, "bar": 0.03}
OPEN_M, CLEAR_M = 0.069, 0.056  # from CLEAR_M on an opening hand lets go of the cube
CLOSE_M_S, OPENING_M_S = 0.10, 0.15
HOVER_M, CARRY_M, LIFT_M = 0.09, 0.14, 0.17
GRASP_M = 0.006  # the tool stays this far short of a thing's centre
END_M = 0.115  # from the bar's centre to where each hand takes it
MEET = np.array([0.0, 0.0, 0.28])
AWAY_M = 0.14
TURN_OVER = np.array([0.0, 0.19, 0.22])  # where the left hand turns over; the right one at the mirrored place
IN_PLANE_M, IN_PLANE = 0.012, 0.06  # of the tool, of its directions
SPEED_SHARE = 0.7  # of the joints' speed that a chunk uses
_SMOOTH = 13  # steps of the moving average that rounds a chunk's corners, odd; applied twice
_DOWN = np.array([0.0, 0.0, -1.0])
_UP = np.array([0.0, 0.0, 1.0])
_SIDE = (1.0, -1.0)  # of the base frame's y on which each arm stands


@dataclass(slots=True)
class Hand:
    """Tool of one arm: position (3,) [m], rotation (3,3), opening [m], whether it holds the thing."""

    position: Float64
    rotation: Float64
    width: float
    holds: bool = False


@dataclass(slots=True)
class Scene:
    """What the rule reads, and what the roll-out moves: both hands, and the thing's pose."""

    hands: tuple[Hand, Hand]
    thing: str
    position: Float64
    rotation: Float64


@dataclass(frozen=True, slots=True)
class Command:
    """Where a tool goes next, how fast [m/s], and whether its hand opens."""

    position: Float64
    rotation: Float64
    speed_m_s: float
    open: bool


def frame(approach: Float64, opening: Float64) -> Float64:
    """Tool rotation (3,3) from the direction it points in and the one its fingers open along."""
    return np.stack([approach, opening, np.cross(approach, opening)], axis=1)


def observe(world: AlohaWorld) -> Scene:
    """Read the ground truth that the task's rule needs."""
    widths = world.robot_state().gripper_width_m
    hands = tuple(Hand(*world.tool_pose(arm), float(widths[arm])) for arm in (LEFT, RIGHT))
    scene = Scene((hands[LEFT], hands[RIGHT]), world.thing, *world.thing_pose())
    touches = world.touched()
    for arm, hand in enumerate(scene.hands):
        near = np.linalg.norm(hand.position - _grip(scene, arm)) < 0.03
        hand.holds = bool(near and touches[arm] and abs(hand.width - WIDTH_M[scene.thing]) < 0.008)
    return scene


def decide(scene: Scene) -> tuple[Command, Command]:
    """The expert's rule: a command for the left hand and one for the right."""
    return _transfer(scene) if scene.thing == "cube" else _lift(scene)


def _grip(scene: Scene, arm: int) -> Float64:
    """The point of the thing that an arm takes (3,) [m]."""
    if scene.thing == "cube":
        return scene.position
    along = scene.rotation[:, 1] * (1.0 if scene.rotation[1, 1] > 0 else -1.0)
    return scene.position + _SIDE[arm] * END_M * along


def _from_above(scene: Scene, arm: int) -> Float64:
    """Tool rotation that takes the thing from above: fingers along the horizontal edge nearest to the arm's own x."""
    axes = scene.rotation[:, [0]] if scene.thing == "bar" else scene.rotation
    flat = axes[:, np.argmin(np.abs(axes[2]))]
    angle = float(np.arctan2(flat[1], flat[0]))
    quarter = np.pi if scene.thing == "bar" else np.pi / 2
    angle -= quarter * round(angle / quarter)
    return frame(_DOWN, _SIDE[arm] * np.array([np.cos(angle), np.sin(angle), 0.0]))


def _grasp(scene: Scene, arm: int) -> Command:
    """Above the grip first, then straight down, then close."""
    hand, rotation = scene.hands[arm], _from_above(scene, arm)
    if not _points_down(hand):
        return _turn_over(hand, arm)
    spot = _grip(scene, arm) + np.array([0.0, 0.0, GRASP_M])
    off = float(np.hypot(*(hand.position - spot)[:2]))
    height, turned = hand.position[2] - spot[2], _angle(hand.rotation, rotation)
    if off < 0.008 and height < 0.006 and turned < 0.1:
        return Command(spot, rotation, SLOW_M_S, False)
    if off > 0.02 or turned > 0.25:
        low = height < 0.5 * HOVER_M and off > 0.03
        above = np.array([*(hand.position if low else spot)[:2], spot[2] + HOVER_M])
        return Command(above, hand.rotation if low else rotation, SPEED_M_S, True)
    return Command(spot, rotation, SPEED_M_S if height > 0.05 else SLOW_M_S, True)


def _points_down(hand: Hand) -> bool:
    return bool(hand.rotation[:, 0] @ _DOWN > 0.88)


def _in_plane(hand: Hand) -> bool:
    """The hand lies in the vertical plane of its arm's base, with its fingers across."""
    return bool(abs(hand.position[0]) < IN_PLANE_M and np.abs(hand.rotation[0, [0, 2]]).max() < IN_PLANE)


def _turn_over(hand: Hand, arm: int) -> Command:
    """From pointing ahead to pointing down."""
    across = np.array([_SIDE[arm], 0.0, 0.0])
    if _in_plane(hand):
        return Command(TURN_OVER * [1.0, _SIDE[arm], 1.0], frame(_DOWN, across), SPEED_M_S, True)
    ahead = frame(np.array([0.0, -_SIDE[arm], 0.0]), across)
    return Command(hand.position * [0.0, 1.0, 1.0], ahead, SPEED_M_S, True)


def _transfer(scene: Scene) -> tuple[Command, Command]:
    left, right = scene.hands
    across = frame(np.array([0.0, 1.0, 0.0]), np.array([-1.0, 0.0, 0.0]))
    receive = frame(np.array([0.0, -1.0, 0.0]), _UP)
    give_at, take_at = MEET - [0.0, GRASP_M, 0.0], MEET + [0.0, GRASP_M, 0.0]
    ready = Command(take_at + [0.0, 0.10, 0.0], receive, SPEED_M_S, True)
    if left.holds:
        free = right.width > CLEAR_M and not right.holds
        back = Command(right.position - AWAY_M * right.rotation[:, 0], right.rotation, SPEED_M_S, True)
        gone = np.linalg.norm(right.position - scene.position) > AWAY_M
        rest = Command(right.position, right.rotation, SLOW_M_S, True)
        return Command(take_at, receive, SLOW_M_S, False), back if free and not gone else rest
    if not right.holds:
        return ready, _grasp(scene, RIGHT)
    if _points_down(right) and right.position[2] < CARRY_M - 0.02:
        up = np.array([*right.position[:2], CARRY_M])
        return ready, Command(up, right.rotation, SPEED_M_S, False)
    if _points_down(right) and not _in_plane(right):
        over = TURN_OVER * [1.0, -1.0, 1.0]
        return ready, Command(over, frame(_DOWN, np.array([-1.0, 0.0, 0.0])), SPEED_M_S, False)
    give = Command(give_at, across, SPEED_M_S, False)
    if np.linalg.norm(right.position - give_at) > 0.012 or _angle(right.rotation, across) > 0.1:
        return ready, give
    aside = float(np.hypot(*(left.position - take_at)[[0, 2]]))
    if aside > 0.012 or _angle(left.rotation, receive) > 0.12:
        return ready, give
    arrived = np.linalg.norm(left.position - take_at) < 0.010
    return Command(take_at, receive, SLOW_M_S, not arrived), give


def _lift(scene: Scene) -> tuple[Command, Command]:
    if all(hand.holds for hand in scene.hands):
        up = []
        for arm, hand in enumerate(scene.hands):
            over = np.array([*_grip(scene, arm)[:2], LIFT_M + GRASP_M])
            up.append(Command(over, hand.rotation, SLOW_M_S, False))
        return up[LEFT], up[RIGHT]
    commands = [_grasp(scene, arm) for arm in (LEFT, RIGHT)]
    if any(command.open for command in commands):  # close together
        commands = [replace(c, open=not hand.holds) for c, hand in zip(commands, scene.hands, strict=True)]
    return commands[LEFT], commands[RIGHT]


def _angle(rotation: Float64, target: Float64) -> float:
    """Between two rotations [rad]."""
    return float(np.arccos(np.clip(0.5 * (np.trace(rotation.T @ target) - 1.0), -1.0, 1.0)))


def advance(scene: Scene, commands: tuple[Command, Command], dt_s: float) -> None:
    """Move the kinematic state by one step of the commands."""
    before = [hand.position for hand in scene.hands]
    for arm, (hand, command) in enumerate(zip(scene.hands, commands, strict=True)):
        way, turn = command.position - hand.position, pin.log3(hand.rotation.T @ command.rotation)
        time_s = max(float(np.linalg.norm(way)) / command.speed_m_s, float(np.linalg.norm(turn)) / TURN_RAD_S)
        share = min(0.5, dt_s / max(time_s, 1e-9))
        hand.position, hand.rotation = hand.position + share * way, hand.rotation @ pin.exp3(share * turn)
        _move_fingers(scene, arm, command.open, dt_s)
    holding = [arm for arm, hand in enumerate(scene.hands) if hand.holds]
    if holding:
        moves = [scene.hands[arm].position - before[arm] for arm in holding]
        scene.position = scene.position + np.mean(moves, axis=0)


def _move_fingers(scene: Scene, arm: int, opens: bool, dt_s: float) -> None:
    hand, wide = scene.hands[arm], WIDTH_M[scene.thing]
    if opens:
        hand.width, hand.holds = min(hand.width + OPENING_M_S * dt_s, OPEN_M), False
        return
    around = np.linalg.norm(hand.position - _grip(scene, arm)) < 0.02 and hand.width >= wide - 0.008
    hand.width = max(hand.width - CLOSE_M_S * dt_s, wide if around else 0.0)
    hand.holds = bool(around and hand.width <= wide + 1e-3)


@lru_cache(maxsize=1)
def _arms() -> tuple[RobotModel, TwoArms]:
    robot = RobotModel.load("aloha")
    return robot, TwoArms(robot)


def clean_chunk(world: AlohaWorld, horizon: int, dt_s: float) -> Float32:
    """The expert's chunk from the present state.

    Args:
        horizon: Steps at most; the chunk has STEPS of them if that is less.

    Returns:
        float32 (T,14) by contract `aloha`: joint positions [rad] and opening of the left arm, then of the right;
        step i lies i * dt_s ahead. Positions lead by what the drives give way under gravity.
    """
    _, arms = _arms()
    scene, q = observe(world), world.robot_state().q_rad
    steps = min(horizon, STEPS)
    total = steps + 2 * (_SMOOTH // 2)
    path, opened = np.empty((total, len(q))), np.empty((total, 2))
    stiffness = world.drive_stiffness_nm_rad
    for i in range(total):
        commands = decide(scene)
        q, _ = arms.solve([(hand.position, hand.rotation) for hand in scene.hands], q, 3)
        path[i], opened[i] = q + arms.sag(q, stiffness), [command.open for command in commands]
        advance(scene, commands, dt_s)
    path, opened = _slowed(path, opened, SPEED_SHARE * world.robot.velocity_rad_s * dt_s)
    smooth = _rounded(_rounded(path))
    left, right = np.split(smooth[:steps], 2, axis=1)
    columns = [left, opened[:steps, :1], right, opened[:steps, 1:]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _slowed(path: Float64, opened: Float64, step_rad: Float64) -> tuple[Float64, Float64]:
    """The same path (T,J) and openings (T,2), with more time where it goes further than `step_rad` (J,) in a step."""
    need = np.maximum(1.0, np.abs(np.diff(path, axis=0) / step_rad).max(axis=1))
    when = np.concatenate([[0.0], np.cumsum(need)])
    asked = np.arange(len(path), dtype=np.float64)
    slow = np.stack([np.interp(asked, when, column) for column in path.T], axis=1)
    return slow, opened[np.searchsorted(when, asked, side="right") - 1]


def _rounded(path: Float64) -> Float64:
    """Moving average over a path (T,J), T - 2 * (_SMOOTH // 2) // 2 steps of which count; it begins as it goes on."""
    half = _SMOOTH // 2
    before = path[0] - np.arange(half, 0, -1)[:, None] * (path[1] - path[0])
    padded = np.concatenate([before, path])
    mean: Float64 = np.mean([padded[k : len(padded) - 2 * half + k] for k in range(_SMOOTH)], axis=0)
    return mean
