"""Future-state awareness (Tang et al., "VLASH: Real-Time VLAs via Future-State-Aware Asynchronous Inference", 2025,
arXiv:2512.01031).

    A = pi(picture_t, s_{t+d}),   s_{t+d} = s_t moved by the steps a_t .. a_{t+d-1} that run

By the time a chunk takes effect the robot is elsewhere, and where, is known: what is executed until then is decided.
The policy is given the state of that moment, s_{t+d}, with the picture of now, and its chunk begins there. The steps
before it are those that run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.strategies import VLASH
from vla_core.types import NS, Float32, Float64, Observation, Running
from vla_policy.core.processors import ToolPoseRelative

AHEAD = 8  # numbers that tell a model of a future state, see `features`
WIDTH_SCALE_M = 0.1


@dataclass(frozen=True, slots=True)
class Gripper:
    """How a gripper moves with nothing between its fingers: widest opening [m] and speeds [m/s]."""

    open_m: float
    opening_m_s: float
    closing_m_s: float

    def follow(self, width_m: Float64, openings: Float64, dt_s: float) -> Float64:
        """Widths (...,N+1) [m] from width_m (...) on, obeying openings (...,N), 0 closed .. 1 open, for dt_s each."""
        widths = [np.asarray(width_m, np.float64)]
        for goal in np.moveaxis(self.open_m * np.asarray(openings, np.float64), -1, 0):
            wider, narrower = widths[-1] + self.opening_m_s * dt_s, widths[-1] - self.closing_m_s * dt_s
            widths.append(np.clip(goal, narrower, wider))
        return np.stack(widths, -1)


@dataclass(frozen=True, slots=True)
class FutureState:
    """The state when the chunk takes effect.

    Attributes:
        state: float32 (S,) the observed state with the tool and the gripper where the running motion will have led
            them; the gripper as if nothing were between its fingers, which nobody knows yet.
        offset_s: How far ahead of the observation.
        before: float32 (d,A) the running steps up to then, from the observation on.
    """

    state: Float32
    offset_s: float
    before: Float32

    def complete(self, actions: Float32) -> Float32:
        """A chunk (T,A) that begins at the future state to one of T steps that begins at the observation."""
        return np.concatenate([self.before, actions])[: len(actions)]


def features(
    future: FutureState | None, observation: Observation, contract: Contract, tool: ToolPoseRelative
) -> Float32:
    """How the future state differs from the observed one, (AHEAD,); zeros where it is the observed one.

    Tool position [0.1 m] and rotation vector, both relative to the observed tool; change of the gripper's width [0.1
    m]; how far ahead, of a whole chunk.
    """
    if future is None:
        return np.zeros(AHEAD, np.float32)
    pose, width = contract.state_slice("tool_pose"), contract.state_slice("gripper_width")
    there = np.append(future.state[pose], 0.0)[None]  # as an action: tool pose and gripper
    change = (future.state[width] - observation.state[width]) / WIDTH_SCALE_M
    share = future.offset_s / (contract.horizon * contract.dt_s)
    return np.array([*tool.forward(there, observation.state)[0, :6], *change, share], np.float32)


def roll_forward(
    running: Running | None, observation: Observation, contract: Contract, longest: int, gripper: Gripper
) -> FutureState | None:
    """The state at the end of the delay; None under other strategies, or where nothing runs until then.

    Args:
        running: What the executor says.
        observation: That is being answered.
        contract: Of both.
        longest: Most steps ahead that the policy was trained for.
        gripper: Of the robot.
    """
    if running is None or running.strategy != VLASH or running.delay_steps < 1 or len(running.actions) < 2:
        return None
    ahead = min(running.delay_steps, longest, contract.horizon - 2)
    times_ns = observation.stamp_ns + np.round(np.arange(ahead + 1) * contract.dt_s * NS)
    place = (times_ns - running.origin_ns) / (running.dt_s * NS)
    if place[0] < -1e-6 or place[-1] > len(running.actions) - 1 + 1e-6:
        return None
    steps = (
        ActionAlgebra(contract.action_names, contract.action_parts)
        .at(running.actions.astype(np.float64), place)
        .astype(np.float32)
    )
    state = observation.state.copy()
    state[contract.state_slice("tool_pose")] = steps[-1, :7]
    width = contract.state_slice("gripper_width")
    state[width] = gripper.follow(state[width][0], steps[:-1, 7].astype(np.float64), contract.dt_s)[-1]
    return FutureState(state, ahead * contract.dt_s, steps[:-1])
