"""The scripted expert of the flat's arm: take the target up from where the robot stands, carry it, put it down.

A rule on ground truth, rolled out into a chunk: before the thing, to it, shut the jaws, lift, to the carrying posture.
A bowl is taken by its rim, one jaw in it. It drives nowhere: away from the target it refuses. It also refuses tall
things on the floor, which the arm gets at from above only. Told to put down what it holds, it does so on the floor
before the robot (`hand_chunk`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vla_control.core.guard import Guard
from vla_control.core.reach import Reach
from vla_control.core.robot import RobotModel
from vla_core.errors import PolicyError
from vla_core.types import Float32, Float64
from vla_sim.core.flat import truth
from vla_sim.core.flat.things import CATEGORIES
from vla_sim.core.flat.world import FlatWorld

#: Direction of a thing's own frame along which its jaws close; those that aren't named are round.
_ACROSS = {"mug": (0.0, 1.0), "carton": (1.0, 0.0), "block": (0.0, 1.0), "car": (0.0, 1.0), "duck": (0.0, 1.0)}
_TURNS = {"block": 2}  # how often it looks the same to the jaws in half a turn
_RIM_M = {"bowl": 0.058}  # what is taken by a wall around it: the wall's distance from the middle
_RIM_PLACES = np.radians([0, 90, 180, 270])  # from the side that is turned to the robot
_ASTRAY = 0.5  # sine between where the jaws close and where they should, at most
_OVER_RIM_RAD = 0.7  # a jaw gets into a bowl only from above
_LOWER = (1.0, 0.6)  # shares of a thing's usual grasp height: what stands high is taken further down
_PITCHES_RAD = np.radians([80, 70, 60, 45, 30, 15, 0])
_STEEPER_RAD = 0.1  # a detour of the joints that the next steeper pitch is worth
_CLEARANCES = 2.0
_TALL_M, _SLANTING_RAD = 0.08, 0.85  # what reaches up so far between the jaws is met by the hand from above
_BEFORE_M, _LIFT_M = 0.09, 0.08
_LESS_STEEP_RAD = (0.0, 0.2, 0.4, 0.7, 1.0)  # than now, when it lifts
_FIXED_JAW_M = 0.016  # the tool lies so far from the pad of the jaw that doesn't move, less half of the thing
_SPEED_RAD_S, _SLOW_RAD_S = 1.0, 0.5
_ACCELERATION_RAD_S2, _BRAKE_RAD_S2 = 4.0, 3.0
_SHUT_M_S = 0.15
_NEAR_RAD, _ABOUT_RAD = 0.05, 0.2
_STILL_RAD_S, _WIDE_M, _BETWEEN_M = 0.05, 0.008, 0.05
_LEAST = 0.3  # jaws that hold a thing are at least this share of its width apart
_LIFTED_M = 0.04
_IN_M = 0.04
_BACK = 0.7  # share of the way before the thing on which shut jaws aren't opened
_DOWN_M, _OVER_FLOOR_M = (0.27, 0.30, 0.33), 0.01  # ahead of the base, and under the thing, where it is let go
_HOME_RAD = 0.1
#: How it carries things (J,): over all furniture that it takes them from, within the robot's outline.
CARRY_RAD = np.array([0.0, -0.97, -0.35, 1.31, 0.0])
#: What an arm is told: to take something up, to put down what it holds.
TAKE, PUT = HAND_GOALS = ("take", "put")


@dataclass(frozen=True, slots=True)
class Grasp:
    """Joint positions (J,) [rad]: before the thing, around it, and with it lifted."""

    before: Float64
    around: Float64
    lifted: Float64


@lru_cache(maxsize=1)
def _arm() -> tuple[RobotModel, Reach, Guard]:
    robot = RobotModel.load("so101_mobile")
    return robot, Reach(robot), Guard(robot)


def clean_chunk(world: FlatWorld, horizon: int, dt_s: float) -> Float32:
    """The expert's chunk from the present state.

    Returns:
        float32 (horizon,6) by contract `fetch_so101`: joint positions [rad] and the gripper's opening; step i lies
        i * dt_s ahead.

    Raises:
        PolicyError: there is no grasp for the target from here.
    """
    state = world.robot_state()
    q, qd = world.commanded_rad(), state.qd_rad_s.copy()  # from the command: the drives follow it with a delay
    width, most_m = float(state.gripper_width_m[0]), float(world.robot.gripper_width_max_m[0])
    holds = _grips(world, width)
    lifted = holds and _clear(world)
    grasp_m = CATEGORIES[world.plan.target.category].grasp_m
    stops_m = grasp_m if width > _LEAST * grasp_m else 0.0  # where jaws that shut now will come to rest
    grasp = None if holds else find_grasp(world)
    home = world.robot.home_rad
    carried = home if not holds else CARRY_RAD if lifted else _above(q, _LIFT_M, CARRY_RAD)
    first = None if grasp is None else raised(q, grasp, home)
    rows = np.empty((horizon, len(q) + 1))
    for i in range(horizon):
        goal, speed, opens = carried, _SPEED_RAD_S if lifted else _SLOW_RAD_S, False
        if grasp is not None:
            goal, speed, opens = _decide(grasp, q, width < most_m - _WIDE_M, width < _LEAST * grasp_m)
            goal = first if goal is grasp.before and first is not None else goal
        rows[i] = [*q, 1.0 if opens else 0.0]
        q, qd = _towards(goal, q, qd, speed, dt_s)
        width = float(np.clip(width + (1 if opens else -1) * _SHUT_M_S * dt_s, min(width, stops_m), most_m))
    return rows.astype(np.float32)


def hand_chunk(world: FlatWorld, instruction: str, horizon: int, dt_s: float) -> Float32:
    """The chunk for what a mission tells the arm: 'put ...' puts down what is held, all else takes the target up.

    Args and returns as `clean_chunk`.

    Raises:
        PolicyError: there is no grasp, or no place to put it down.
    """
    if not _puts(instruction):
        return clean_chunk(world, horizon, dt_s)
    state = world.robot_state()
    q, qd = world.commanded_rad(), state.qd_rad_s.copy()
    width, most_m = float(state.gripper_width_m[0]), float(world.robot.gripper_width_max_m[0])
    holds, place = _grips(world, width), place_down(world)
    rows = np.empty((horizon, len(q) + 1))
    for i in range(horizon):
        goal, speed, opens = _release(place, q, holds, width < most_m - _WIDE_M, world.robot.home_rad)
        rows[i] = [*q, 1.0 if opens else 0.0]
        q, qd = _towards(goal, q, qd, speed, dt_s)
        width = float(np.clip(width + (1 if opens else -1) * _SHUT_M_S * dt_s, 0.0, most_m))
        holds = holds and not opens
    return rows.astype(np.float32)


def hand_done(world: FlatWorld, instruction: str) -> bool:
    """Whether what `hand_chunk` does is done: the target carried, or put down and the arm at home."""
    puts, q = _puts(instruction), world.robot_state().q_rad
    there = bool(np.abs(q - (world.robot.home_rad if puts else CARRY_RAD)).max() < _HOME_RAD)
    return there and (truth.put_down(world) if puts else truth.held(world))


def _puts(instruction: str) -> bool:
    return instruction.strip().lower().startswith("put")


def _release(place: Grasp, q: Float64, holds: bool, shut: bool, home: Float64) -> tuple[Float64, float, bool]:
    """Where to go, how fast [rad/s], and whether with open jaws, to put down what is held and to let go of it."""
    down = bool(np.abs(q - place.around).max() < (_NEAR_RAD if holds else _ABOUT_RAD))
    if holds and not down:
        on_the_way = _off(place, q) < _NEAR_RAD
        return (place.around if on_the_way else place.before), _SLOW_RAD_S, False
    if shut and down:
        return place.around, _SLOW_RAD_S, True
    if _off(place, q) < _NEAR_RAD and np.abs(q - place.before).max() > _NEAR_RAD:
        return place.before, _SLOW_RAD_S, True
    return home, _SPEED_RAD_S, False


def place_down(world: FlatWorld) -> Grasp:
    """The arm before the robot: over the floor with the thing, and with it on the floor.

    Raises:
        PolicyError: it reaches no place there.
    """
    _, reach, guard = _arm()
    kind, home = CATEGORIES[world.plan.target.category], world.robot.home_rad
    for ahead in _DOWN_M:
        for pitch in _PITCHES_RAD:
            low = np.array([ahead, 0.0, kind.grasp_height + _OVER_FLOOR_M])
            around = reach.solve(low, float(pitch), np.pi / 2, home)
            before = None if around is None else reach.solve(low + [0.0, 0.0, _LIFT_M], float(pitch), np.pi / 2, around)
            if around is None or before is None:
                continue
            least_m = _CLEARANCES * world.robot.self_clearance_m
            if min(guard.distances(q)[0] for q in (before, around)) >= least_m:
                return Grasp(before, around, before)
    raise PolicyError(f"no place before the robot for the {world.plan.target.name}", "one", "drive somewhere else")


def _towards(goal: Float64, q: Float64, qd: Float64, speed: float, dt_s: float) -> tuple[Float64, Float64]:
    """One step on the straight line to a goal, all joints together, with bounded acceleration: next q, qd (J,)."""
    way = goal - q
    far = max(float(np.abs(way).max()), 1e-9)
    wanted = way / far * min(speed, float(np.sqrt(_BRAKE_RAD_S2 * far)), far / dt_s)
    change = np.clip(wanted - qd, -_ACCELERATION_RAD_S2 * dt_s, _ACCELERATION_RAD_S2 * dt_s)
    return q + (qd + change) * dt_s, qd + change


def _grips(world: FlatWorld, width_m: float) -> bool:
    """The jaws have come to rest at the thing."""
    target = world.plan.target
    kind = CATEGORIES[target.category]
    thing, tool = world.data.body("thing0"), world.data.site(world.robot.tool_frame)
    x, y, z = thing.xmat.reshape(3, 3).T @ (tool.xpos - thing.xpos) - [0.0, 0.0, kind.grasp_height]
    off = float(np.hypot(np.hypot(x, y) - _RIM_M.get(target.category, 0.0), z))
    still = abs(float(world.data.joint(world.robot.grippers[0].joints[0]).qvel[0])) < _STILL_RAD_S
    return still and _LEAST * kind.grasp_m < width_m < kind.grasp_m + _WIDE_M and off < _BETWEEN_M


def _above(q: Float64, by_m: float, otherwise: Float64) -> Float64:
    """Joints (J,) with the tool straight above where it is at q, as steep as can be; `otherwise` where it can't be."""
    robot, reach, _ = _arm()
    pose = robot.tool_se3(q)
    axis, above = np.array(pose.rotation)[:, 0], np.array(pose.translation) + [0.0, 0.0, by_m]
    pitch = float(np.arctan2(-axis[2], np.hypot(axis[0], axis[1])))
    for less in _LESS_STEEP_RAD:
        found = reach.solve(above, pitch - less, float(q[-1]), q)
        if found is not None:
            return found
    return otherwise


def _tool(q: Float64) -> Float64:
    return np.array(_arm()[0].tool_se3(q).translation)


def raised(q: Float64, grasp: Grasp, home: Float64) -> Float64 | None:
    """Where the arm (J,) goes before it goes before the thing: over its home, as high as that; None: it is so high.

    Home can be lower than the furniture that a thing lies on.
    """
    now, before = _tool(q), _tool(grasp.before)
    return _above(home, before[2] - _tool(home)[2], grasp.before) if now[2] < before[2] - _IN_M else None


def _decide(grasp: Grasp, q: Float64, shutting: bool, missed: bool) -> tuple[Float64, float, bool]:
    """Where to go, how fast [rad/s], and whether with open jaws.

    Jaws that have begun to shut aren't opened again about the thing; those that shut on nothing draw back first.
    """
    off = float(np.abs(q - grasp.around).max())
    if shutting and off < min(_ABOUT_RAD, _BACK * float(np.abs(grasp.before - grasp.around).max())):
        return (grasp.before if missed else grasp.around), _SLOW_RAD_S, False
    if off < _NEAR_RAD:
        return grasp.around, _SLOW_RAD_S, False
    if _off(grasp, q) < _NEAR_RAD and not shutting:
        return grasp.around, _SLOW_RAD_S, True
    return grasp.before, _SPEED_RAD_S, True


def _clear(world: FlatWorld) -> bool:
    """What is held has left what it lay on: it was lifted, or has been drawn in."""
    far, carried = (float(np.hypot(*_tool(q)[:2])) for q in (world.robot_state().q_rad, CARRY_RAD))
    return bool(truth.thing_position(world)[2] - world.plan.target.z > _LIFTED_M) or far < carried + _IN_M


def _off(grasp: Grasp, q: Float64) -> float:
    """How far an arm at q (J,) is beside the straight way to the thing [rad]."""
    way = grasp.around - grasp.before
    share = float(np.clip((q - grasp.before) @ way / (way @ way), 0.0, 1.0))
    return float(np.abs(q - grasp.before - share * way).max())


def find_grasp(world: FlatWorld) -> Grasp:
    """How the arm takes the target from where the base stands: steeply, but as it has begun to.

    Raises:
        PolicyError: it can't.
    """
    target = world.plan.target
    kind = CATEGORIES[target.category]
    x, y, yaw = world.base_pose()  # level: a base that rocks under the arm would make it change its mind
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    place = world.data.body("thing0")
    T_base_thing = np.eye(4)
    T_base_thing[:3, :3] = turn.T @ place.xmat.reshape(3, 3)
    T_base_thing[:3, 3] = turn.T @ (place.xpos - [x, y, 0.0])
    tall, turns = kind.height - kind.grasp_height > _TALL_M, _TURNS.get(target.category, 1)
    pitches = _PITCHES_RAD[_PITCHES_RAD < _SLANTING_RAD] if tall else _PITCHES_RAD
    if target.category in _RIM_M:
        pitches = pitches[pitches > _OVER_RIM_RAD]
    q = world.commanded_rad()
    for share in _LOWER:
        found = [
            (k, _solve(middle, axis, float(pitch), kind.grasp_m, turns, world))
            for middle, axis in _holds(target.category, T_base_thing, share)
            for k, pitch in enumerate(pitches)
        ]
        ranked = [(_off(g, q) + _STEEPER_RAD * k, g) for k, g in found if g is not None]
        if ranked:
            return min(ranked, key=lambda row: row[0])[1]
    got = f"the {target.name} {float(np.hypot(*T_base_thing[:2, 3])):.2f} m from the base"
    fix = "drive nearer; this expert takes nothing tall off the floor, and bowls from above"
    raise PolicyError(got, "something that the arm reaches", fix)


def _holds(category: str, T_base_thing: Float64, share: float) -> list[tuple[Float64, Float64 | None]]:
    """Where a thing can be taken (3,), and what the jaws close along there (3,), None: anywhere; base frame.

    Args:
        category: Of the thing.
        T_base_thing: (4,4) of its underside.
        share: Of its usual grasp height.
    """
    rotation, kind = T_base_thing[:3, :3], CATEGORIES[category]
    middle = T_base_thing[:3, 3] + rotation @ [0.0, 0.0, share * kind.grasp_height]
    if category in _RIM_M:
        towards = np.arctan2(-middle[1], -middle[0]) + _RIM_PLACES
        outwards = np.stack([np.cos(towards), np.sin(towards), np.zeros(len(towards))], 1)
        return [(middle + _RIM_M[category] * out, out) for out in outwards] if share == 1.0 else []
    across = _ACROSS.get(category)
    return [(middle, None if across is None else rotation @ [*across, 0.0])]


def _solve(
    middle: Float64, axis: Float64 | None, pitch: float, grasp_m: float, turns: int, world: FlatWorld
) -> Grasp | None:
    """A grasp of one pitch; `axis` (3,) is where the jaws close along, None: anywhere. All in the base frame."""
    robot, reach, guard = _arm()
    home, roll = world.robot.home_rad, np.pi / 2
    rough = reach.solve(middle, pitch, roll, home)
    if rough is None:
        return None
    if axis is not None:  # turn the jaws about the approach direction until they close along the axis
        rotation = np.array(robot.tool_se3(rough).rotation)
        angle = float(np.arctan2(-axis @ rotation[:, 1], axis @ rotation[:, 2]))
        quarter = np.pi / turns
        angle -= quarter * round(angle / quarter)
        rolls = roll + angle, roll - angle
        roll = rolls[int(np.argmin([_misfit(r, rough, axis, turns) for r in rolls]))]
        rough = reach.solve(middle, pitch, roll, rough)
        if rough is None:
            return None
    rotation = np.array(robot.tool_se3(rough).rotation)
    goal = middle + rotation[:, 2] * (_FIXED_JAW_M - grasp_m / 2)
    around = reach.solve(goal, pitch, roll, rough)
    before = None if around is None else reach.solve(goal - _BEFORE_M * rotation[:, 0], pitch, roll, around)
    lifted = None if around is None else reach.solve(goal + [0.0, 0.0, _LIFT_M], pitch, roll, around)
    if around is None or before is None or lifted is None:
        return None
    if axis is not None:
        beside = np.arccos(np.clip(axis @ np.array(robot.tool_se3(around).rotation)[:, 2], -1.0, 1.0))
        if abs(np.sin(turns * beside)) > _ASTRAY:
            return None
    least_m = _CLEARANCES * world.robot.self_clearance_m  # of what the servo keeps
    if min(guard.distances(q)[0] for q in (before, around, lifted)) < least_m:
        return None
    return Grasp(before, around, lifted)


def _misfit(roll: float, q: Float64, axis: Float64, turns: int) -> float:
    """How far the jaws close beside the axis at a roll: the sine of the angle between, of what looks the same."""
    robot, _, _ = _arm()
    rotation = np.array(robot.tool_se3(np.append(q[:-1], roll)).rotation)
    angle = float(np.arctan2(-axis @ rotation[:, 1], axis @ rotation[:, 2]))
    return abs(float(np.sin(turns * angle)))
