"""The expert that catches a cylinder from the turntable, for many states at once, and the states it is trained on.

As in `expert.py` the rule is Markov and reads ground truth; a chunk is its own continuation from a state, rolled out
kinematically. Which cylinder it goes for is drawn: both alike from the middle, nearly always the nearer one elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32, Float64
from vla_sim.core.expert import AT_XY_M, AT_Z_M, CLOSE_M_S, DOWN, OPEN_WIDTH, OPENING_M_S, SLOW_M_S, SPEED_M_S
from vla_sim.core.expert import rounded as rounded_path
from vla_sim.core.scene import CYLINDER
from vla_sim.core.turntable import DISC_HEIGHT, TurntableWorld

HOVER_M, LIFT_Z_M = 0.07, 0.18
CHOICE_M = 0.03  # from this much nearer on one of two cylinders is clearly preferred
BETWEEN_M = 0.015  # fingers that have begun to close go on with the cylinder so far from their middle
_BEGUN_M = 0.004
REST_Z_M = DISC_HEIGHT + CYLINDER[1]
WIDTH_M = 2 * CYLINDER[0]
_KICK_M = 0.0015
_ERROR_M = 0.015  # how far off cylinders are thought to be
_EXTRA = 2  # steps that rounding a chunk needs beyond its end


@dataclass(frozen=True, slots=True)
class Catching:
    """N states side by side.

    Attributes:
        tool: (N,3) tool position [m]. width: (N,) gripper opening [m].
        things: (N,K,3) positions of the cylinders [m]. speed: (N,) of the disc [rad/s].
        choice: (N,) index of the cylinder gone for. held: (N,) whether it is gripped.
    """

    tool: Float64
    width: Float64
    things: Float64
    speed: Float64
    choice: NDArray[np.int64]
    held: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tool)

    def __getitem__(self, rows: NDArray[Any]) -> Catching:
        parts = (self.tool, self.width, self.things, self.speed, self.choice, self.held)
        return Catching(*(part[rows] for part in parts))

    @property
    def target(self) -> Float64:
        """(N,3) where the chosen cylinder is."""
        out: Float64 = self.things[np.arange(len(self)), self.choice]
        return out

    def velocities(self, centre: Float64) -> Float64:
        """(N,K,3) velocity of the cylinders [m/s]; of a held one that of the disc under it, which nobody needs."""
        arm = self.things[..., :2] - centre
        turned = np.stack([-arm[..., 1], arm[..., 0], np.zeros(arm.shape[:2])], -1)
        return turned * self.speed[:, None, None]


def choose(state: Catching, rng: np.random.Generator) -> Catching:
    """Draw which cylinder to go for: a softmax of the distances; one that is held or between the fingers stays."""
    distance = np.linalg.norm(state.things - state.tool[:, None], axis=-1)
    score = -distance / CHOICE_M + rng.gumbel(size=distance.shape)
    near = distance.min(1)
    choice = np.where(near < WIDTH_M, distance.argmin(1), score.argmax(1))
    gripped = (near < 0.025) & (np.abs(state.width - WIDTH_M) < 0.006)
    return replace(state, choice=choice, held=gripped)


def advance(state: Catching, dt_s: float, centre: Float64) -> tuple[Catching, NDArray[np.bool_]]:
    """One step of the rule: the next state, and whether the gripper is told to open (N,)."""
    row = np.arange(len(state))
    turned = _turn(state.things, state.speed * dt_s, centre)
    goal = turned[row, state.choice]
    drift = goal - state.target
    gap = goal - (state.tool + drift)
    off = np.linalg.norm(gap[:, :2], axis=1)
    low = state.tool[:, 2] - goal[:, 2] < AT_Z_M
    around = (off < 2 * AT_XY_M) | ((state.width < OPEN_WIDTH - _BEGUN_M) & (off < BETWEEN_M))
    closing = around & low & ~state.held
    down = (off < AT_XY_M) | ((off < 2 * AT_XY_M) & (state.tool[:, 2] < goal[:, 2] + HOVER_M - 0.01))
    gap[:, 2] += np.where(down, 0.0, HOVER_M)
    pace = np.where(down & (off < 2 * AT_XY_M), SLOW_M_S, SPEED_M_S) * dt_s
    length = np.linalg.norm(gap, axis=1)
    chase = drift * [1.0, 1.0, 0.0] + gap * (np.minimum(pace, 0.6 * length) / np.maximum(length, 1e-9))[:, None]
    rise = np.minimum(SPEED_M_S * dt_s, 0.6 * np.maximum(LIFT_Z_M - state.tool[:, 2], 0.0))
    lift = np.stack([np.zeros(len(state)), np.zeros(len(state)), rise], 1)
    tool = state.tool + np.where(state.held[:, None], lift, chase)
    opens = ~(closing | state.held)
    stop = np.where(closing | state.held, WIDTH_M, 0.0)
    step = np.where(opens, OPENING_M_S, -CLOSE_M_S) * dt_s
    width = np.clip(state.width + step, stop, OPEN_WIDTH)
    held = state.held | (closing & (width <= WIDTH_M + 0.001))
    turned[row, state.choice] = np.where(held[:, None], tool, goal)
    return replace(state, tool=tool, width=width, things=turned, held=held), opens


def _turn(things: Float64, angle: Float64, centre: Float64) -> Float64:
    """Positions (N,K,3) after the disc has turned by angle (N,) [rad]."""
    arm = things[..., :2] - centre
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    out = things.copy()
    out[..., 0] = centre[0] + c * arm[..., 0] - s * arm[..., 1]
    out[..., 1] = centre[1] + s * arm[..., 0] + c * arm[..., 1]
    return out


def chunks(state: Catching, horizon: int, dt_s: float, centre: Float64, drift: Float64 | None = None) -> Float32:
    """The expert's chunks (N,T,8) from these states: tool pose (position [m], quaternion xyzw) and opening 0..1.

    Args:
        state: Where they begin.
        horizon: T.
        dt_s: Time between steps [s].
        centre: Of the disc (2,) [m].
        drift: What the tool is carried off by per step (N,T,3) [m].
    """
    out = np.empty((len(state), horizon + _EXTRA, 8), np.float32)
    for k in range(horizon + _EXTRA):
        out[:, k, :3], out[:, k, 3:7] = state.tool, DOWN
        state, opens = advance(state, dt_s, centre)
        out[:, k, 7] = opens
        if drift is not None and k < horizon:
            state = replace(state, tool=state.tool + np.where(state.held[:, None], 0.0, drift[:, k]))
    out[:, :horizon, :3] = rounded_path(out[..., :3].transpose(1, 0, 2)).transpose(1, 0, 2)[:, :horizon]
    return out[:, :horizon]


def continued(
    state: Catching, given: NDArray[np.int64], horizon: int, dt_s: float, centre: Float64, rng: np.random.Generator
) -> Float32:
    """Chunks (N,T,8) whose first `given` (N,) steps were planned in error; from there on the expert does its best.

    That is what steps in execution are by the time a policy continues them: planned for cylinders that were thought
    elsewhere, for the other one, for one that was thought gripped.
    """
    count, longest = len(state), int(given.max(initial=0)) + 1
    astray = rng.random(count) < 0.6
    beside = rng.normal(0.0, _ERROR_M, state.things.shape) * [1.0, 1.0, 0.0] * astray[:, None, None]
    other = np.where(rng.random(count) < 0.2, 1 - state.choice, state.choice)
    believed = replace(
        state,
        things=state.things + beside,
        choice=np.where(state.held, state.choice, other),
        held=state.held | ((rng.random(count) < 0.1) & (state.width < 1.5 * WIDTH_M)),
    )
    before = chunks(believed, longest + 1, dt_s, centre, random_drift(rng, count, longest + 1))
    now = choose(follow(state, before, given, dt_s, centre), rng)
    rest = chunks(now, horizon, dt_s, centre)
    steps = np.arange(horizon)
    told = steps < given[:, None]
    after = rest[np.arange(count)[:, None], np.maximum(steps - given[:, None], 0)]
    out: Float32 = np.where(told[..., None], before[:, np.minimum(steps, longest)], after)
    return out


def clean_chunk(world: TurntableWorld, horizon: int, dt_s: float) -> Float32:
    """The expert's chunk (T,8) from the present state of a turntable world; its choice follows from the time."""
    things = np.stack([world.position(item) for item in world.task.objects])[None]
    width, speed = world.robot_state().gripper_width_m, np.array([world.speed_rad_s])
    now = Catching(world.tool_pose()[0][None], width, things, speed, np.zeros(1, np.int64), np.zeros(1, bool))
    now = choose(now, np.random.default_rng(world.time_ns % 2**31))
    chunk: Float32 = chunks(now, horizon, dt_s, np.array(world.scene["turntable"]["centre_m"]))[0]
    return chunk


def starts(rng: np.random.Generator, count: int, table: dict[str, Any]) -> Catching:
    """States of a beginning, and states from which one has to recover: anywhere above the disc, gripper as it may."""
    centre, orbit = np.array(table["centre_m"]), float(table["orbit_m"])
    phase = rng.uniform(-np.pi, np.pi, count)
    angle = np.stack([phase, phase + np.pi], 1)
    things = np.empty((count, 2, 3))
    things[..., 0] = centre[0] + orbit * np.cos(angle)
    things[..., 1] = centre[1] + orbit * np.sin(angle)
    things[..., 2] = REST_Z_M
    home = np.array([0.44, 0.0, 0.36]) + rng.normal(0.0, [0.05, 0.05, 0.03], (count, 3))
    spread = np.array([*centre, 0.2]) + rng.uniform([-0.2, -0.2, -0.13], [0.2, 0.2, 0.18], (count, 3))
    tool = np.where(rng.random((count, 1)) < 0.5, home, spread)
    width = np.where(rng.random(count) < 0.7, OPEN_WIDTH, rng.uniform(0.0, OPEN_WIDTH, count))
    speed = rng.choice([-1.0, 1.0], count) * rng.uniform(table["speed_rad_s"][0], table["speed_rad_s"][1], count)
    nobody = np.zeros(count, np.int64)
    return choose(Catching(tool, width, things, speed, nobody, np.zeros(count, bool)), rng)


def visited(rng: np.random.Generator, count: int, steps: int, table: dict[str, Any], dt_s: float) -> Catching:
    """(count * steps) states that disturbed experts come through, choices redrawn in each."""
    state, centre, rows = starts(rng, count, table), np.array(table["centre_m"]), []
    drift = random_drift(rng, count, steps)
    for k in range(steps):
        rows.append(state)
        state, _ = advance(state, dt_s, centre)
        state = replace(state, tool=state.tool + np.where(state.held[:, None], 0.0, drift[:, k]))
    return choose(concatenate(rows), rng)


def random_drift(rng: np.random.Generator, count: int, steps: int) -> Float64:
    """How much the tool is carried off per step (count,steps,3) [m]: an Ornstein-Uhlenbeck process."""
    kicks = rng.normal(0.0, _KICK_M, (steps, count, 3))
    drift = np.zeros((steps, count, 3))
    for k in range(steps):
        drift[k] = 0.8 * drift[k - 1] * (k > 0) + kicks[k]
    return drift.transpose(1, 0, 2)


def concatenate(states: list[Catching]) -> Catching:
    """All of them in one."""
    names = ("tool", "width", "things", "speed", "choice", "held")
    return Catching(*(np.concatenate([getattr(s, name) for s in states]) for name in names))


def follow(state: Catching, actions: Float32, steps: NDArray[np.int64], dt_s: float, centre: Float64) -> Catching:
    """States after the arm has followed the first `steps` (N,) steps of chunks (N,T,8); who is gripped is found out."""
    for k in range(1, int(steps.max(initial=0)) + 1):
        moving = k <= steps
        turned = np.where(moving[:, None, None], _turn(state.things, state.speed * dt_s, centre), state.things)
        opens = actions[:, k - 1, 7] > 0.5
        tool = np.where(moving[:, None], actions[:, k, :3].astype(np.float64), state.tool)
        gap = np.linalg.norm(turned - tool[:, None], axis=-1)
        nearest, near = gap.argmin(1), gap.min(1) < BETWEEN_M + 0.005
        choice = np.where(state.held, state.choice, nearest)
        grips = (state.held & ~opens) | (near & ~opens & (state.width <= WIDTH_M + CLOSE_M_S * dt_s))
        held = np.where(moving, grips, state.held)
        stop = np.where(near | state.held, WIDTH_M, 0.0)
        width = np.clip(state.width + np.where(opens, OPENING_M_S, -CLOSE_M_S) * dt_s, stop, OPEN_WIDTH)
        row = np.arange(len(state))
        turned[row, choice] = np.where(held[:, None], tool, turned[row, choice])
        width = np.where(moving, width, state.width)
        state = replace(state, tool=tool, width=width, things=turned, choice=choice, held=held)
    return state


def heading(state: Catching, actions: Float32) -> Catching:
    """States with the cylinder chosen that chunks (N,T,8) lead to."""
    gap = np.linalg.norm(state.things[..., :2] - actions[:, -1:, :2], axis=-1)
    return replace(state, choice=np.where(state.held, state.choice, gap.argmin(1)))
