"""A robot and a mug of which a test says what they do, behind every port of the skills."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from vla_core.types import NS, Float64
from vla_navigation.core.fetch.skills import RUNNING, Candidate, Report
from vla_navigation.core.nav.backend import Feedback, Result
from vla_navigation.core.nav.codes import Code
from vla_navigation.core.nav.costmap import distances
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.planner import Plan
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.core.skills.ports import Ground, Thing

RADIUS_M, DT_NS = 0.22, NS // 10
MUG = Candidate(7, "red mug", (2.1, 2.2, 0.25), True)


@dataclass
class World:
    """A robot of three coordinates that stands where it was sent, a table, and a mug that may be carried off."""

    robot: Float64 = field(default_factory=lambda: np.array([0.6, 0.6, 0.0]))
    twist: tuple[float, float] = (0.0, 0.0)
    now_ns: int = 0
    mug: Thing | None = field(default_factory=lambda: Thing(7, "red mug", np.array(MUG.position_m), 0))
    sees: bool = True
    code: Code = Code.NONE
    miss_m: float = 0.0  # how far from its goals the navigator stops
    recoveries: int = 0  # of the drive that goes on
    goals: list[Float64] = field(default_factory=list)
    result: Result | None = None
    driving: bool = False
    cancelled: int = 0

    # navigator
    def plan(self, start: Float64, goal: Float64) -> Plan:
        raise AssertionError("nobody asks")

    def go(self, goal: Float64) -> None:
        self.goals.append(goal)
        self.driving, self.result = True, None

    def cancel(self) -> None:
        self.driving = False
        self.cancelled += 1

    def feedback(self) -> Feedback:
        return Feedback("following" if self.driving else "idle", 1.0, 1.0, 1.0, self.recoveries, "", self.result)

    # wheels
    def drive(self, v_m_s: float, w_rad_s: float) -> None:
        self.twist = (v_m_s, w_rad_s)

    def moves(self) -> bool:
        return self.driving or self.twist != (0.0, 0.0)

    # surroundings
    def pose(self) -> Float64:
        return self.robot

    def thing(self, number: int) -> Thing | None:
        return self.mug if self.mug is not None and self.mug.id == number else None

    def things(self) -> list[Thing]:
        return [] if self.mug is None else [self.mug]

    def ground(self) -> Ground:
        solid = np.zeros((100, 100), bool)
        solid[[0, -1]] = solid[:, [0, -1]] = True
        solid[40:48, 40:52] = True
        distance_m = distances(solid, 0.05)
        cost = np.where(distance_m < RADIUS_M, np.inf, 1.0).astype(np.float32)
        frame = GridFrame(0.05, 0.0, 0.0, 100, 100)
        return Ground(frame, solid, distance_m, travel_field(cost, *frame.cell(*self.robot[:2]), 0.05))

    def step(self) -> None:
        self.now_ns += DT_NS
        if self.driving:
            self.driving = False
            self.result = Result(self.code, "as scripted")
            if self.code is Code.NONE:
                self.robot = self.goals[-1] + [self.miss_m, -self.miss_m, 0.05]
        v, w = self.twist
        self.robot = self.robot + np.array([v * np.cos(self.robot[2]), v * np.sin(self.robot[2]), w]) * 0.1
        if self.mug is not None and self.sees:
            self.mug = replace(self.mug, seen_ns=self.now_ns)


def play(skill, goal, world: World, ticks: int = 600) -> Report:
    skill.start(goal)
    for _ in range(ticks):
        report = skill.tick(world.now_ns)
        if report.state != RUNNING:
            return report
        world.step()
    pytest.fail(f"no end: {report}")
