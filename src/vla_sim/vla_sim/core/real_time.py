"""Real-time pacing: 1 kHz on absolute deadlines, with the newest command; nothing is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vla_sim.core.simulation import TICK_NS, Simulation

_POLL_TICKS = 10
_MAX_LAG_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class RealTimeParameters:
    """Attributes:
    command_timeout_s: Without a command for longer the world stands still, like an arm on its brakes [s, ROS clock].
    """

    command_timeout_s: float


class RealTime:
    """Paces a Simulation by the wall clock.

    A machine that is too slow makes simulated time fall behind wall time: past 50 ms the deadlines move, and
    `slipped_ns` grows.

    Args:
        simulation: What is paced.
        params: See there.
        on_tick: Called once per tick with the state written to the link: publish what is due.
        poll: Called every 10 ms: serve ROS. It may reset the simulation and may raise to end the run.
        warn: Takes one line.

    Attributes:
        slipped_ns: Wall time lost against the clock so far.
    """

    def __init__(
        self,
        simulation: Simulation,
        params: RealTimeParameters,
        on_tick: Callable[[], None],
        poll: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.slipped_ns = 0
        self._sim, self._on_tick, self._poll, self._warn = simulation, on_tick, poll, warn
        self._timeout_ticks = round(params.command_timeout_s * 1e9) // TICK_NS
        self._deadline_ns = time.monotonic_ns()
        self._published = -1  # newest tick that on_tick has seen
        self._turns = 0
        self._held = True
        self._generation = simulation.generation

    def instruct(self, text: str) -> None:
        """Instructions don't pace a real-time world."""

    def tick(self) -> None:
        """Sleep until the next deadline and carry out one tick."""
        sim = self._sim
        self._sleep()
        sim.publish_state()
        if sim.tick != self._published:
            self._published = sim.tick
            self._on_tick()
            if sim.at_camera_instant:
                sim.hand_snapshot()
        self._turns += 1
        generation = sim.generation
        if self._turns % _POLL_TICKS == 0:
            self._poll()
        if sim.generation != generation:
            return
        if generation != self._generation:  # the servo hasn't seen the new world yet
            self._generation, self._held = generation, True
        age = sim.tick - sim.hardware.newest_command_tick()
        held = not sim.hardware.commanded or age > self._timeout_ticks
        if held and not self._held:
            self._warn(f"got no command for {age} ms; the world stands still until the servo answers")
        self._held = held
        if not held:
            sim.step()

    def _sleep(self) -> None:
        self._deadline_ns += TICK_NS
        now_ns = time.monotonic_ns()
        if now_ns - self._deadline_ns > _MAX_LAG_NS:
            self.slipped_ns += now_ns - self._deadline_ns
            self._deadline_ns = now_ns
        if self._deadline_ns > now_ns:
            time.sleep((self._deadline_ns - now_ns) / 1e9)  # CPython: clock_nanosleep on an absolute deadline
