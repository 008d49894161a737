"""Lockstep pacing: the world waits for the servo at every tick, for cameras and observation at every frame, and for the
policy.

Simulated time can't run ahead of anybody, so a run is a function of its seed, however loaded the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vla_core.types import NS
from vla_sim.core.policy_gate import PolicyGate
from vla_sim.core.simulation import Simulation

_SLICE_S = 0.01  # longest sleep between two polls while waiting [s]
_SHORT_S = 0.001  # the same where only a ROS message tells that the wait is over [s]
_POLL_TICKS = 10
_SETTLE_S = 0.2  # time that a first instruction is given to reach every process before frames show it [s]
_REMIND_S = 0.1  # how often the state is written again while the servo is silent: it may have restarted [s]


@dataclass(frozen=True, slots=True)
class LockstepParameters:
    """What to wait for, and how long.

    Attributes:
        wait_for_policy: Wait for observations, and for the policy's answers while there is an instruction.
        wait_for_instruction: With it, stand still after a reset until there is one; a robot that drives before it is
            told to use its arm can't wait for that.
        observation_period_s: Time between two observations [s, ROS clock].
        replan_period_s: Time between two frames that are waited for [s, ROS clock].
        policy_timeout_s: Longest wait for an answer [s, wall clock].
        camera_timeout_s: Longest wait for the images of one frame [s, wall clock].
        observation_timeout_s: Longest wait for the observation of one frame [s, wall clock].
        servo_warning_s: A servo silent for longer is named in the log; it is waited for all the same [s, wall clock].
    """

    wait_for_policy: bool
    wait_for_instruction: bool
    observation_period_s: float
    replan_period_s: float
    policy_timeout_s: float
    camera_timeout_s: float
    observation_timeout_s: float
    servo_warning_s: float


class Lockstep:
    """Paces a Simulation tick by tick.

    Args:
        simulation: What is paced.
        params: What to wait for.
        on_tick: Called once per tick with the state written to the link: publish what is due.
        poll: Called often, also while waiting: serve ROS. It may reset the simulation and may raise to end the run.
        warn: Takes one line.

    Attributes:
        gate: Tells at which frames the policy is waited for; feed it with instructions.
        timeouts: How often a wait was given up, by what was waited for.
    """

    def __init__(
        self,
        simulation: Simulation,
        params: LockstepParameters,
        on_tick: Callable[[], None],
        poll: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.gate = PolicyGate(round(params.replan_period_s * NS))
        self.timeouts = {"camera": 0, "observation": 0, "policy": 0}
        self._sim, self._params = simulation, params
        self._on_tick, self._poll, self._warn = on_tick, poll, warn
        self._under_way_ns = -1  # stamp of a frame whose pictures nobody has waited for yet
        self._cameras_lost_after_ns: int | None = None
        self._observed_ns, self._observations_lost_after_ns = 0, -1

    def instruct(self, text: str) -> None:
        """Take the newest instruction; empty: none."""
        self.gate.instruct(text, self._sim.stamp_ns)

    def observed(self, stamp_ns: int) -> None:
        """An observation with this stamp [ns] has been published."""
        self._observed_ns = max(self._observed_ns, stamp_ns)

    def tick(self) -> None:
        """Carry out one tick; a reset in the middle abandons it."""
        sim = self._sim
        generation = sim.generation
        sim.publish_state()
        self._on_tick()
        if sim.tick % _POLL_TICKS == 0:
            self._poll()
        if not sim.hardware.commanded:
            self._await_command(generation)
        if sim.at_camera_instant and sim.generation == generation:
            self._frame(generation)
        self._await_command(generation)
        if sim.generation == generation:
            sim.step()

    def _frame(self, generation: int) -> None:
        """Take the pictures of this tick and wait for those who have to see them.

        A robot that drives before it is told to use its arm waits for the policy alone: without an instruction the
        pictures of one frame may be under way until the next, so that the world and its cameras work side by side.

        The first frame after a reset shows the idle scene; then time stands still until there is an instruction, so
        that every run gets it at the same simulated time. If it was faster, that frame is left out.
        """
        sim, params = self._sim, self._params
        if self._under_way_ns >= sim.epoch_ns:
            self._await_seen(generation, self._under_way_ns)
        self._under_way_ns = -1
        begin = params.wait_for_policy and params.wait_for_instruction and not sim.started
        if not (begin and self.gate.instructed) and sim.generation == generation:
            sim.hand_snapshot()
            if not (params.wait_for_instruction or self.gate.instructed):
                self._under_way_ns = sim.stamp_ns
                return
            self._await_cameras(generation, sim.stamp_ns)
        if begin:
            self._await_instruction(generation)
        elif params.wait_for_policy:
            self._await_observation(generation, sim.stamp_ns)
            self._await_policy(generation)

    def _await_seen(self, generation: int, stamp_ns: int) -> None:
        """Wait for the pictures of a frame, and for what is made of them."""
        self._await_cameras(generation, stamp_ns)
        if self._params.wait_for_policy:
            self._await_observation(generation, stamp_ns)

    def _await_command(self, generation: int) -> None:
        sim = self._sim
        if sim.hardware.await_command(sim.tick, _SLICE_S):
            return
        begin = reminded = time.monotonic()
        warned = not sim.hardware.commanded  # before its first command the servo is still starting
        while sim.generation == generation and not sim.hardware.await_command(sim.tick, _SLICE_S):
            self._poll()
            now = time.monotonic()
            if now - reminded >= _REMIND_S and sim.generation == generation:
                sim.publish_state()
                reminded = now
            if not warned and now - begin >= self._params.servo_warning_s:
                self._warn(f"got no command for {now - begin:.1f} s; the world stands still until the servo answers")
                warned = True

    def _await_cameras(self, generation: int, stamp_ns: int) -> None:
        sim = self._sim
        if self._cameras_lost_after_ns is not None:
            if sim.cameras.rendered_ns() <= self._cameras_lost_after_ns:
                return
            self._cameras_lost_after_ns = None
        deadline = time.monotonic() + self._params.camera_timeout_s
        while sim.generation == generation and sim.cameras.rendered_ns() < stamp_ns:
            sim.cameras.await_rendered(_SLICE_S)
            self._poll()
            if time.monotonic() >= deadline:
                self.timeouts["camera"] += 1
                self._cameras_lost_after_ns = sim.cameras.rendered_ns()
                self._warn(f"got no images within {self._params.camera_timeout_s:g} s; the world goes on without them")
                return

    def _await_instruction(self, generation: int) -> None:
        sim = self._sim
        while sim.generation == generation and not self.gate.instructed:
            self._poll()
            time.sleep(_SLICE_S)
        settled = time.monotonic() + _SETTLE_S
        while sim.generation == generation and time.monotonic() < settled:
            self._poll()
            time.sleep(_SLICE_S)
        if sim.generation == generation:
            sim.started = True

    def _await_observation(self, generation: int, stamp_ns: int) -> None:
        """Observations that nobody makes, or no longer, are waited for once, until the next one comes."""
        sim, timeout_s = self._sim, self._params.observation_timeout_s
        due_ns = stamp_ns - round(self._params.observation_period_s * NS)  # its stamp is that of the oldest source
        deadline = time.monotonic() + timeout_s
        while sim.generation == generation and self._observations_lost_after_ns < self._observed_ns <= due_ns:
            self._poll()
            time.sleep(_SHORT_S)
            if time.monotonic() >= deadline:
                self.timeouts["observation"] += 1
                self._observations_lost_after_ns = self._observed_ns
                self._warn(f"got no observation within {timeout_s:g} s; the world goes on without observations")

    def _await_policy(self, generation: int) -> None:
        sim, stamp_ns = self._sim, self._sim.stamp_ns
        if sim.generation != generation or not self.gate.due(stamp_ns, self._answers_ns()):
            return
        deadline = time.monotonic() + self._params.policy_timeout_s
        while sim.generation == generation and self.gate.due(stamp_ns, self._answers_ns()):
            sim.hardware.await_plan(_SLICE_S)
            self._poll()
            if time.monotonic() >= deadline:
                self.timeouts["policy"] += 1
                self.gate.give_up(self._answers_ns())
                limit = f"{self._params.policy_timeout_s:g} s"
                self._warn(f"got no answer to the frame at {stamp_ns / NS:.2f} s within {limit}; the world goes on")
                return

    def _answers_ns(self) -> int:
        """Newest answered frame; answers from before the reset count as none."""
        answers_ns = self._sim.hardware.answers_ns()
        return answers_ns if answers_ns >= self._sim.epoch_ns else -1
