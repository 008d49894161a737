"""The whole line in one process, without ROS: world, cameras, executor and servo, in lockstep.

It runs the very core objects that the nodes run, so demonstrations are made and policies are scored under the control
laws that will move the robot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters, ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.contract import CameraSpec, Contract
from vla_core.errors import ChunkError, ConfigError, PolicyError
from vla_core.records import COMMAND, STATE, STATUS
from vla_core.strategies import A2C2
from vla_core.types import NS, ActionChunk, Float32, Observation, Running, UInt8
from vla_perception.core.resize import FitView, RawImage
from vla_policy.core.drawing.correction import ChunkCorrection
from vla_policy.core.policy import PolicyOutput, check_strategy
from vla_sim.core.delays import DelayModel, Delays
from vla_sim.core.motion_trace import MotionFigures, MotionTrace
from vla_sim.core.suites import played_alone
from vla_sim.core.tasks import Task
from vla_sim.core.world import World

_TICK_NS = 1_000_000
_JUDGED_S = 0.1


class Rig:
    """A robot that executes chunks in a world.

    Args:
        contract: What observations hold; cameras must exist in the scene.
        scene: Name of the scene file.
        render: False saves the renderer where nobody looks (views are then black).

    Attributes:
        suite: What can be played here.
        trace: Of the motion since the last reset.
    """

    def __init__(self, contract: Contract, scene: str = "tabletop", render: bool = True) -> None:
        self.contract = contract
        self.suite = played_alone(scene)
        self.world = self.suite.make_world(scene)
        self.world.time_offset_ns = NS  # a stamp of zero means 'never' on the ROS clock
        self.robot = RobotModel.load(contract.robot)
        self.executor = ChunkExecutor(self.robot, contract, ExecutorParameters.from_config())
        self.cameras = self.suite.make_cameras(self.world) if render else None
        self.instruction = ""
        self.rejections: list[str] = []
        self._sequence = 0
        self._state, self._command, self._status = (np.zeros(1, d) for d in (STATE, COMMAND, STATUS))
        self.reset(0)

    @property
    def table(self) -> World:
        """The world, for what only knows the tabletop.

        Raises:
            ConfigError: it is another one.
        """
        if not isinstance(self.world, World):
            raise ConfigError(f"scene '{self.world.scene['name']}'", "a scene of world 'tabletop'", "choose another")
        return self.world

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> Task:
        """Refill the world and hold the robot where it is."""
        self.instruction = self.world.reset(seed, instruction, split, family)
        self.servo = ServoCore(self.robot, ServoParameters.from_config())
        self._state["tick"] = 0
        self.rejections.clear()
        self.trace = MotionTrace(self.robot, float(self.world.model.opt.timestep))
        state = self.world.robot_state()
        self.executor.reset(state.q_rad, state.gripper_width_m, state.stamp_ns)
        return self.world.task

    def observation(self) -> Observation:
        """What the policy sees now."""
        state = self.world.robot_state()
        self.executor.observe(state.stamp_ns, state.q_rad)
        known = {
            "joint_position": state.q_rad,
            "gripper_width": state.gripper_width_m,
            "tool_pose": np.concatenate(self.robot.tool_pose(state.q_rad)),
            **self.world.sensors(),
        }
        vector = np.concatenate([known[block.key] for block in self.contract.state]).astype(np.float32)
        return Observation(
            stamp_ns=state.stamp_ns,
            instruction=self.instruction,
            contract_hash=self.contract.hash,
            view_names=self.contract.view_names,
            view_valid=np.ones(len(self.contract.cameras), bool),
            rgb=self._views(),
            state_names=self.contract.state_names,
            state=vector,
        )

    def _views(self) -> UInt8:
        if self.cameras is None or not self.contract.cameras:
            return np.zeros(self.contract.rgb_shape, np.uint8)
        return np.stack([self._fit(spec, self.cameras.rgb(spec.name)) for spec in self.contract.cameras])

    def _fit(self, spec: CameraSpec, image: UInt8) -> UInt8:
        """As observation_node does with what a driver sends."""
        height, width = image.shape[:2]
        return FitView(spec)(RawImage(width, height, 3 * width, "rgb8", image.reshape(-1)))

    def execute(self, actions: Float32, stamp_ns: int) -> bool:
        """Hand a chunk (T,A) that answers the observation stamped `stamp_ns` to the executor.

        Returns:
            False when the executor refuses it or passes it over; the robot then goes on with what is committed, as in
            the node graph.
        """
        self._sequence += 1
        contract = self.contract
        chunk = ActionChunk(
            stamp_ns=stamp_ns,
            sequence=self._sequence,
            policy="rig",
            contract_hash=contract.hash,
            action_space=contract.action_space,
            action_names=contract.action_names,
            dt_s=contract.dt_s,
            actions=np.asarray(actions, np.float32),
        )
        now_ns, begun = self.world.time_ns, self.executor.state(self.world.time_ns).sequence > 0
        try:
            taken = self.executor.accept(chunk, now_ns)
        except ChunkError as error:
            self.rejections.append(str(error))
            return False
        if taken and begun:
            after = self.executor.state(now_ns)
            branch = self.executor.sample(now_ns + round(after.committed_s * NS)).q_rad
            self.trace.seam(branch, branch + after.seam_rad)
        return taken

    def advance(self, duration_s: float) -> None:
        """Let simulated time pass: servo tick, physics step, at the scene's timestep."""
        state, command = self._state, self._command
        for _ in range(round(duration_s / self.world.model.opt.timestep)):
            now = self.world.robot_state()
            joints, grippers = len(now.q_rad), len(now.gripper_width_m)
            state["tick"] += 1
            state["stamp_ns"] = now.stamp_ns
            state["q"][0, :joints], state["qd"][0, :joints] = now.q_rad, now.qd_rad_s
            state["tau"][0, :joints], state["gripper_width"][0, :grippers] = now.tau_nm, now.gripper_width_m
            self.servo.tick(state, self.executor.plan, False, command, self._status)
            self.trace.tick(self._status["qd_target"][0, :joints])
            self.world.step(
                command[self.world.command][0, :joints], command["gripper_width"][0, :grippers],
                command["gripper_force"][0, :grippers],
            )  # fmt: skip

    @property
    def status(self) -> np.ndarray:
        """STATUS record (1,) of the last tick."""
        return self._status


@dataclass(frozen=True, slots=True)
class Episode:
    """How one episode went; times in simulated seconds.

    Attributes:
        duration_s: Until the success that lasted; without one as long as was played.
        played_s: All of it, with the time that a success must last.
    """

    seed: int
    family: str
    instruction: str
    success: bool
    duration_s: float
    played_s: float
    reported_success: bool
    max_contact_n: float
    ms_per_chunk: tuple[float, ...]
    rejections: tuple[str, ...]
    motion: MotionFigures


#: Observation, what is being executed → (chunk (T,A), the policy's own estimate that the task is done, 0..1).
Act = Callable[[Observation, Running], tuple[Float32, float]]


@dataclass(frozen=True, slots=True)
class Player:
    """A policy as episodes need it.

    Attributes:
        act: Answers observations.
        name: Of the policy.
        strategies: That it serves, see Policy.
        correction: Of its chunks by newer observations, for policies that can (A2C2).
    """

    act: Act
    name: str = ""
    strategies: frozenset[str] = frozenset()
    correction: ChunkCorrection | None = None


def run_episode(
    rig: Rig,
    player: Player,
    seed: int,
    split: str,
    family: str | None = None,
    replan_s: float = 0.4,
    settle_s: float = 0.8,
    delay: DelayModel | None = None,
) -> Episode:
    """Run one task until it has been satisfied for `settle_s`, or its time is up.

    The judge looks ten times a second; a success must last, so that a thing that is about to fall doesn't count.

    Args:
        rig: Where.
        player: The policy.
        seed: Of the scene and of the delays.
        split, family: Of the task, see World.reset.
        replan_s: Shortest time between two observations that are answered [s]; with longer delays the next one is
            answered when the answer before has come. Under a strategy that waits, when the arm rests. A correction
            takes every picture and no time: it runs beside the robot, however far away the policy is.
        settle_s: How long a success must last [s].
        delay: How long answers take in simulated time; None: none.

    Raises:
        PolicyError: the policy doesn't serve the executor's strategy.
    """
    check_strategy(rig.executor.strategy, player.strategies, player.name)
    task = rig.reset(seed, None, split, family)
    limit = rig.suite.limit_s(task.family)
    line = _Line(rig, player, Delays(delay or DelayModel(), seed), replan_s)
    start_ns, won_s, now_s = rig.world.time_ns, None, 0.0
    while now_s < limit if won_s is None else now_s - won_s < settle_s - 1e-9:
        line.run(_JUDGED_S)
        now_s = (rig.world.time_ns - start_ns) / NS
        if not rig.suite.succeeded(rig.world):
            won_s = None
        elif won_s is None:
            won_s = now_s
    return Episode(
        seed,
        task.family,
        task.instruction,
        won_s is not None,
        now_s if won_s is None else won_s,
        now_s,
        line.estimate > 0.5,
        rig.world.contact_force_n(),
        tuple(line.times_ms),
        tuple(rig.rejections),
        rig.trace.figures(rig.executor.state(rig.world.time_ns).starved_s),
    )


class _Line:
    """A policy that takes its time: what it is asked and when its answer comes, on the simulated clock."""

    def __init__(self, rig: Rig, player: Player, delays: Delays, replan_s: float) -> None:
        self._rig, self._act, self._delays, self._replan_s = rig, player.act, delays, replan_s
        self._correction = player.correction if rig.executor.strategy == A2C2 else None
        if self._correction is not None:
            self._correction.drop()
        self._period_ns = round(NS / rig.contract.rate_hz)
        self._correct_ns = rig.world.time_ns
        self._under_way: tuple[int, int, Float32, bool] | None = None  # arrival, stamp, chunk, whether it arrives
        self._ask_ns = rig.world.time_ns
        self.times_ms: list[float] = []
        self.estimate = 0.0

    def run(self, duration_s: float) -> None:
        """Let simulated time pass; the policy is asked at the picture rate."""
        world = self._rig.world
        end_ns = world.time_ns + round(duration_s * NS)
        while True:
            self._arrive()
            if world.time_ns >= end_ns:
                return
            self._ask()
            self._arrive()  # without a delay at once
            self._correct()
            events = [end_ns] + ([self._under_way[0]] if self._under_way else [self._next_ask_ns()])
            if self._correction is not None:
                events.append(self._correct_ns)
            self._rig.advance((max(min(events), world.time_ns + _TICK_NS) - world.time_ns) / NS)

    def _next_ask_ns(self) -> int:
        behind = max(0, self._ask_ns - self._rig.world.time_ns)
        return self._rig.world.time_ns + (-(-behind // self._period_ns) or 1) * self._period_ns

    def _ask(self) -> None:
        rig, now_ns = self._rig, self._rig.world.time_ns
        if self._under_way or now_ns < self._ask_ns or (rig.executor.waits and not rig.executor.at_rest(now_ns)):
            return
        observation = rig.observation()
        begin = time.perf_counter()
        self._ask_ns = now_ns + round(self._replan_s * NS)
        try:
            actions, self.estimate = self._act(observation, rig.executor.running())
        except PolicyError as error:  # as the policy node: no chunk, and the robot comes to rest
            rig.rejections.append(str(error))
            return
        self.times_ms.append(1e3 * (time.perf_counter() - begin))
        delay_s, arrives = self._delays.draw()
        self._under_way = (now_ns + round(delay_s * 1e3) * _TICK_NS, now_ns, actions, arrives)

    def _arrive(self) -> None:
        if self._under_way is None or self._rig.world.time_ns < self._under_way[0]:
            return
        _, stamp_ns, actions, arrives = self._under_way
        self._under_way = None
        if arrives and self._correction is None:
            self._rig.execute(actions, stamp_ns)
        elif arrives and self._correction is not None:
            self._correction.take(PolicyOutput(actions, 0.0, self.estimate), stamp_ns, self._rig.instruction)

    def _correct(self) -> None:
        """Execute what is left of the newest chunk, corrected by what is seen now."""
        now_ns = self._rig.world.time_ns
        if self._correction is None or now_ns < self._correct_ns:
            return
        self._correct_ns = now_ns + self._period_ns
        corrected = self._correction.correct(self._rig.observation())
        if corrected is not None:
            self._rig.execute(corrected.actions, now_ns)
