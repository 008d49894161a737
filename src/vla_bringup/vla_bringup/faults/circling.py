"""A policy's place in a small graph: chunks that lead the tool along a circle, for ever and at speed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.types import NS, ActionChunk, Float64

_RADIUS_M, _RAMP_S = 0.15, 0.6
_EASY_S, _HURRIED_S = 1.8, 0.75  # per round; hurried, some joints are at their speed limits
_REPLAN_NS, _REST_NS = round(0.4 * NS), round(0.6 * NS)

#: Turns the chunk that is due into those that are sent.
Tamper = Callable[[ActionChunk], tuple[ActionChunk, ...]]


class Circling:
    """Makes a chunk whenever one is due on the robot's clock.

    The circle goes through the robot's home, in the plane across its reach.

    Attributes:
        instruction: That the chunks answer.
        silent: No chunks come.
        hurried: As fast as the robot's limits let it.
    """

    def __init__(self, robot: RobotModel, contract: Contract) -> None:
        self._contract, (home_m, self._quaternion) = contract, robot.tool_pose(robot.config.home_rad)
        self._centre_m = home_m - np.array([0.0, _RADIUS_M, 0.0])
        self._sequence, self._due_ns, self._begin_ns, self._begin_rad = 0, 0, 0, 0.0
        self._rest_ns = 0  # since when the arm has followed no plan
        self._tamper: Tamper | None = None
        self.instruction, self.silent, self.hurried = "circle", False, False
        self._round_s = _EASY_S

    def tamper(self, change: Tamper) -> None:
        """Change the next chunk."""
        self._tamper = change

    def due(self, now_ns: int, mode: str, tool_m: Float64) -> tuple[ActionChunk, ...]:
        """Chunks to be sent now: none, one, or what the fault makes of it.

        Args:
            now_ns: The robot's clock. mode: Of the servo; an arm that follows no plan is left at rest for a moment.
            tool_m: Where the tool is (3,).
        """
        if mode == "track":
            self._rest_ns = now_ns
        resting = now_ns - self._rest_ns > 0
        if self.silent or 0 < self._due_ns - now_ns <= _REPLAN_NS or 0 < now_ns - self._rest_ns < _REST_NS:
            return ()
        self._due_ns = now_ns + _REPLAN_NS
        if resting:
            offset = tool_m - self._centre_m
            self._begin_ns, self._begin_rad = now_ns, math.atan2(offset[2], offset[1])
        round_s = _HURRIED_S if self.hurried else _EASY_S
        if round_s != self._round_s:  # go on from the present phase, past the ramp
            phase = float(self._phase(np.array(now_ns - self._begin_ns) / NS))
            self._round_s, self._begin_ns = round_s, now_ns - round(_RAMP_S * NS)
            self._begin_rad = phase - np.pi * _RAMP_S / round_s
        chunk = self._chunk(now_ns)
        if self._tamper is None:
            return (chunk,)
        change, self._tamper = self._tamper, None
        return change(chunk)

    def _phase(self, age_s: Float64) -> Float64:
        """Where on the circle [rad] to be, so long [s] after the beginning: the speed grows during the ramp."""
        turned_s = np.where(age_s < _RAMP_S, age_s**2 / (2 * _RAMP_S), age_s - _RAMP_S / 2)
        return self._begin_rad + 2 * np.pi * turned_s / self._round_s

    def _chunk(self, now_ns: int) -> ActionChunk:
        contract, self._sequence = self._contract, self._sequence + 1
        age_s = (now_ns - self._begin_ns) / NS + contract.dt_s * np.arange(contract.horizon)
        phase = self._phase(age_s)
        position = self._centre_m + _RADIUS_M * np.stack([0 * phase, np.cos(phase), np.sin(phase)], axis=1)
        columns = {name: position[:, i] for i, name in enumerate("xyz")}
        columns |= {name: np.full(len(phase), self._quaternion[i]) for i, name in enumerate(("qx", "qy", "qz", "qw"))}
        columns["gripper"] = np.ones(len(phase))
        actions = np.stack([columns[name] for name in contract.action_names], axis=1).astype(np.float32)
        return ActionChunk(
            now_ns, self._sequence, "circling", contract.hash, contract.action_space, contract.action_names,
            contract.dt_s, actions, instruction=self.instruction,
        )  # fmt: skip


def shifted(chunk: ActionChunk, seconds: float) -> ActionChunk:
    """The same answer to an observation of another time."""
    return replace(chunk, stamp_ns=chunk.stamp_ns + round(seconds * NS))
