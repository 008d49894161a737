"""Streams of chunks for the tests of this folder: a policy tells one straight way, its answers come as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from servo_line import MS, ServoLine

from vla_control.core.ik import ChunkIk
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_control.core.strategies.registry import STRATEGIES
from vla_core.contract import Contract, load_contract
from vla_core.types import ActionChunk, Float64

_PHASE_S = np.linspace(0.0, 10.0, 5001)
_END_S = 2.0  # then the way has been gone
_BRAKE_S = 0.5  # at most


@dataclass(frozen=True, slots=True)
class Way:
    """A straight way, of the tool or of all joints, that is gone at a changing speed, and never backward.

    Attributes:
        columns: Of the actions that move the arm along it.
        start, direction: Of these columns, the direction of length 1.
        rest: The other actions (A,), with zeros in those columns.
        q_rad: (J,) at the start.
        length: [m] of the tool, or [rad].
        steps: Of a chunk.
    """

    robot: RobotModel
    contract: Contract
    columns: list[int]
    start: Float64
    direction: Float64
    rest: Float64
    q_rad: Float64
    length: float
    steps: int

    def place(self, phase_s: Float64) -> Float64:
        """How far along the way (N,) one is at times (N,) of its own clock, 0..length."""
        t = np.clip(phase_s / _END_S, 0.0, 1.0)
        return self.length * (10 * t**3 - 15 * t**4 + 6 * t**5 + 0.02 * np.sin(2 * np.pi * t) ** 3 * (1 - t))

    def phase(self, place: float) -> float:
        """The inverse of `place`, up to the end."""
        return float(np.interp(place, self.place(_PHASE_S), _PHASE_S))

    def rows(self, phase_s: Float64) -> Float64:
        """Actions (N,A) at times (N,)."""
        actions = np.tile(self.rest, (len(phase_s), 1))
        actions[:, self.columns] = self.start + self.place(phase_s)[:, None] * self.direction
        return actions

    def gone(self, q: Float64) -> float:
        """How far along the way the arm is at q (J,)."""
        return float((self._at(q) - self.start) @ self.direction)

    def aside(self, q: Float64) -> Float64:
        """Where the arm is at q (J,), from the nearest place of the way."""
        return self._at(q) - self.start - self.gone(q) * self.direction

    def _at(self, q: Float64) -> Float64:
        return q if len(self.start) == len(q) else self.robot.tool_pose(q)[0]


@lru_cache
def tool_way() -> Way:
    """0.3 m of the Panda's tool."""
    robot, contract = RobotModel.load("panda"), load_contract("tabletop_panda")
    home, quaternion = robot.tool_pose(robot.config.home_rad)
    direction = np.array([0.2, 0.9, -0.2]) / np.linalg.norm([0.2, 0.9, -0.2])
    start = home - 0.15 * direction
    solver = ChunkIk(robot, ExecutorParameters.from_config())
    q = solver.solve(start[None], quaternion[None], robot.config.home_rad, 0.0).q_rad[0]
    rest = np.concatenate([np.zeros(3), quaternion, [1.0]])
    return Way(robot, contract, [0, 1, 2], start, direction, rest, q, 0.3, contract.horizon)


@lru_cache
def joint_way() -> Way:
    """0.6 rad of both ALOHA arms, every joint by its own share."""
    robot, contract = RobotModel.load("aloha"), load_contract("aloha")
    columns = [contract.action_names.index(name) for name in robot.config.joints]
    direction = np.cos(np.arange(12)) / np.linalg.norm(np.cos(np.arange(12)))
    start, rest = robot.config.home_rad - 0.3 * direction, np.ones(14)
    rest[columns] = 0.0
    return Way(robot, contract, columns, start, direction, rest, start, 0.6, contract.horizon // 2)


WAYS = {"panda": tool_way, "aloha": joint_way}


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls a stream. Chances are per answer (lost, doubled) or per 10 ms (stop, switch).

    Attributes:
        late: Mean delay of the answers, at most [s]; each varies by up to 60 %.
        noise, jump: Of every step, and of every chunk as a whole, at most [m or rad].
        read_ms: How late the servo may read a plan.
        aimed: Chance, per 10 ms, that a stop, or another chunk, hits the very end of a bridge.
    """

    late: float = 0.4
    lost: float = 0.1
    doubled: float = 0.0
    noise: float = 0.0
    jump: float = 0.0
    stop: float = 0.0
    switch: float = 0.0
    read_ms: tuple[int, ...] = (0, 5, 15)
    aimed: float = 0.0


@dataclass
class Stream:
    """A policy and its way to the executor.

    A policy that finds a resting arm under a strategy that waits answers from where the arm is, otherwise by the clock
    of what runs: all its answers agree. It's asked anew when the user switches to or from waiting.
    """

    way: Way
    line: ServoLine
    weather: Weather
    rng: np.random.Generator
    sent: int = 0
    taken: int = 0
    strategies: list[str] = field(default_factory=lambda: sorted(STRATEGIES))

    def __post_init__(self) -> None:
        self._origin_ns, self._phase_s = self.line.now_ns, 0.0  # clock of what runs
        self._under_way: list[tuple[int, ActionChunk, float]] = []  # arrival, answer, where it begins
        self._sequence = 0
        self._begin_ns, self._first_ns, self._asked_ms = self.line.now_ns, 0, 0
        self._waited = False  # what runs is a chunk that began on arrival

    def answer(self, is_last: bool = False) -> tuple[ActionChunk, float]:
        """To a picture that is taken now, and at which phase it begins [s]; the last one leads back to the way."""
        line, rng, contract = self.line, self.rng, self.way.contract
        phase_s = self._phase_s + (line.now_ns - self._origin_ns) * 1e-9
        if is_last or (line.executor.waits and line.rests):
            phase_s = self.way.phase(self.way.gone(line.q))
        count = self.way.steps
        if not is_last and self.weather.jump and rng.random() < 0.3:
            count = int(rng.integers(2, count + 1))
        actions = self.way.rows(phase_s + contract.dt_s * np.arange(count))
        if is_last:
            back = np.linspace(1.0, 0.0, count)[:, None] ** 2
            actions[:, self.way.columns] += back * self.way.aside(line.q)
        else:
            width = len(self.way.columns)
            actions[:, self.way.columns] += self.weather.jump * rng.uniform(-1, 1, width)
            actions[:, self.way.columns] += self.weather.noise * rng.uniform(-1, 1, (count, width))
        self._sequence += 1
        c = contract
        return ActionChunk(
            line.now_ns, self._sequence, "test", c.hash, c.action_space, c.action_names, c.dt_s,
            actions.astype(np.float32),
        ), phase_s  # fmt: skip

    def hand_in(self, chunk: ActionChunk, phase_s: float, read_ms: int = 0) -> bool:
        """An answer arrives."""
        self.sent += 1
        taken = self.line.accept(chunk, read_ms)
        self.taken += taken
        if taken:
            self._first_ns = self._first_ns or self.line.now_ns
            self._waited = self.line.executor.waits
        if taken and self._waited:
            self._phase_s, self._origin_ns = phase_s, self.line.executor.running().origin_ns
        return taken

    def run(self, duration_ms: int) -> None:
        """Let pictures be taken, answers come, and the weather do its worst."""
        line, rng, weather = self.line, self.rng, self.weather
        end_ns, every_ms = line.now_ns + duration_ms * MS, int(rng.integers(40, 250))
        self._asked_ms = duration_ms
        late_ms, spread = 1e3 * weather.late * rng.random(), rng.uniform(0.0, 0.6)
        picture_ns = line.now_ns
        while line.now_ns < end_ns:
            if line.now_ns >= picture_ns:
                picture_ns += every_ms * MS
                chunk, phase_s = self.answer()
                for _ in range((rng.random() >= weather.lost) + (rng.random() < weather.doubled)):
                    delay_ms = late_ms * (1.0 + spread * rng.uniform(-1, 1))
                    self._under_way.append((line.now_ns + round(delay_ms) * MS, chunk, phase_s))
            for each in [one for one in self._under_way if one[0] <= line.now_ns]:
                self._under_way.remove(each)
                self.hand_in(*each[1:], int(rng.choice(weather.read_ms)))
            if line.bridge_ms and rng.random() < weather.aimed:
                self._aim()
            line.run(10)
            if rng.random() < weather.stop:
                line.run(int(rng.integers(1, 300)), stop=True)
            if rng.random() < (3 if self._waited else 1) * weather.switch:  # while it runs: its chunks are short
                self.switch(str(rng.choice(self.strategies)))

    def _aim(self) -> None:
        """A stop, or a plan that is read at once, in the very tick in which a bridge ends, or beside it."""
        self.line.run(max(1, self.line.bridge_ms - 1 + int(self.rng.integers(-1, 2))))
        if self.rng.random() < 0.5:
            self.line.run(int(self.rng.integers(1, 300)), stop=True)
        else:
            self.hand_in(*self.answer())

    def switch(self, strategy: str) -> None:
        """The user chooses another strategy."""
        executor, line = self.line.executor, self.line
        before = executor.waits
        executor.use(strategy)
        if executor.waits == before:
            return
        self._under_way.clear()
        if self._waited and line.rests:
            self._phase_s, self._origin_ns = self.way.phase(self.way.gone(line.q)), line.now_ns

    def finish(self) -> float:
        """A last chunk, on time, from where the arm rests; returns how far it comes to rest from where that leads.

        It leads at least to its last step that is executed. Where that is in motion, a brake follows.
        """
        line, way = self.line, self.way
        line.run_to_rest()
        line.run(40)  # the executor sees that, and a stop has been released
        chunk, phase_s = self.answer(is_last=True)
        line.run(30)
        assert self.hand_in(chunk, phase_s), "whatever came before, what is in order is executed"
        last_s = phase_s + (line.executor.running().fresh - 1) * way.contract.dt_s
        line.run_to_rest()
        least, most = way.place(np.array([last_s, last_s + _BRAKE_S]))
        return float(max(least - way.gone(line.q), way.gone(line.q) - most))

    def gone(self) -> Float64:
        """How far along the way the target was, every 5 ms."""
        return np.array([self.way.gone(q) for q in self.line.motion[::5, 0]])

    def behind(self) -> Float64:
        """How far the target was behind its policy's clock, which must not have been set; every 5 ms.

        From 0.5 s after the first chunk on, to which a blend leads, as long as the policy was asked.
        """
        ticks = np.arange((self._first_ns - self._begin_ns) // MS + 500, self._asked_ms, 5)
        before = self.line.ticks - (self.line.now_ns - self._begin_ns) // MS
        gone = np.array([self.way.gone(q) for q in self.line.motion[before + ticks - 1, 0]])
        return self.way.place(1e-3 * ticks) - gone


def stream(robot: str, strategy: str, seed: int, weather: Weather) -> Stream:
    """A stream for a robot at the beginning of its way."""
    way = WAYS[robot]()
    line = ServoLine(way.robot, way.contract, strategy, way.q_rad)
    line.run(5)
    return Stream(way, line, weather, np.random.default_rng(seed))
