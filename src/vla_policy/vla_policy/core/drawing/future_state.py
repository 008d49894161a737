"""Future-state awareness (Tang et al., "VLASH: Real-Time VLAs via Future-State-Aware Asynchronous Inference", 2025).

By the time a chunk takes effect the robot is elsewhere, and where, is known: what is executed until then is decided.
The policy is given the state of that moment, s_{t+d}, with the picture of now, and its chunk begins there. The steps
before it are those that run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.types import NS, Float32, Observation, Running

STRATEGY = "vlash"


@dataclass(frozen=True, slots=True)
class Gripper:
    """How a gripper moves with nothing between its fingers: widest opening [m] and speeds [m/s]."""

    open_m: float
    opening_m_s: float
    closing_m_s: float

    def after(self, width_m: float, openings: Float32, dt_s: float) -> float:
        """Width [m] when it has obeyed openings (N,), 0 closed .. 1 open, for dt_s each."""
        for opening in openings:
            goal = float(opening) * self.open_m
            width_m = min(goal, width_m + self.opening_m_s * dt_s) if goal > width_m else max(
                goal, width_m - self.closing_m_s * dt_s)  # fmt: skip
        return width_m


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
    if running is None or running.strategy != STRATEGY or running.delay_steps < 1 or len(running.actions) < 2:
        return None
    ahead = min(running.delay_steps, longest, contract.horizon - 2)
    times_ns = observation.stamp_ns + np.round(np.arange(ahead + 1) * contract.dt_s * NS)
    place = (times_ns - running.origin_ns) / (running.dt_s * NS)
    if place[0] < -1e-6 or place[-1] > len(running.actions) - 1 + 1e-6:
        return None
    steps = ActionAlgebra(contract.action_names).at(running.actions.astype(np.float64), place).astype(np.float32)
    state = observation.state.copy()
    state[contract.state_slice("tool_pose")] = steps[-1, :7]
    width = contract.state_slice("gripper_width")
    state[width] = gripper.after(float(state[width][0]), steps[:-1, 7], contract.dt_s)
    return FutureState(state, ahead * contract.dt_s, steps[:-1])
