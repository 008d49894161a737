"""What goes wrong while a robot fetches something in a flat, and how such a mission may end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_bringup.graph import GraphOptions, simulated_graph
from vla_bringup.session import Session
from vla_bringup.watched import Run, WatchedGraph, new_link
from vla_core.errors import ConfigError
from vla_core.types import NS
from vla_navigation.core.fetch import progress
from vla_ros.qos import publisher, subscription
from vla_sim.core.flat.plan import draw_plan

HARD_N = 5.0  # a contact of robot and furniture that is harder is a collision
SEED, SPLIT = 35, "heldout_flat"  # a flat where the errand is carried out when nothing goes wrong
_REST_S, _WAIT_S = 3.0, 60.0  # simulated time to be at rest after the end; wall time for that
_STANDS_M_S, _STANDS_RAD_S = 0.01, 0.03  # of the base; of every joint of the arm
_TRIES, _AGAIN_S = 30, 1.0  # a fault that can't be injected yet, such as a phantom without room for it
_DONE = progress.SUCCESS
_GIVEN_UP = {progress.NOT_FOUND, progress.UNREACHABLE, progress.GRASP_FAILED}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens.

    Attributes:
        after_s: Since the step before, or since the fault begins [s, ROS clock].
        inject: Of `vla_sim.core.flat.faults`; '' for none.
        say: Called out to the robot; '' for nothing.
    """

    after_s: float
    inject: str = ""
    say: str = ""


@dataclass(frozen=True, slots=True)
class MissionFault:
    """One fault.

    Attributes:
        name: Short and unique.
        injected: What is done, in words.
        stage: Of `progress.STAGES`; it begins when the mission first tells of it. The first stage is over before
            anything is told.
        steps: What happens, in order.
        codes: How the mission may end.
    """

    name: str
    injected: str
    stage: str
    steps: tuple[Step, ...]
    codes: frozenset[str]


def _fault(name: str, injected: str, stage: str, codes: set[str], *steps: Step) -> MissionFault:
    return MissionFault(name, injected, stage, steps, frozenset(codes))


MISSION_FAULTS: tuple[MissionFault, ...] = (
    _fault("object absent", "what is asked for is nowhere in the flat", "explore", {progress.NOT_FOUND},
           Step(0.0, "target_gone")),
    _fault("object moved during approach", "it lies somewhere else when the robot drives up to it", "approach",
           {_DONE, *_GIVEN_UP}, Step(2.0, "target_moved")),
    _fault("object taken away before the grasp", "it is gone when the hand goes for it", "recognise", _GIVEN_UP,
           Step(0.0, "target_gone")),
    _fault("doors shut", "all doors are shut while it searches", "explore",
           {_DONE, *_GIVEN_UP, progress.SEARCH_FAILED, progress.NO_WAY_BACK}, Step(5.0, "doors_shut")),
    _fault("doors shut on the way home", "all doors are shut once it has the thing", "drive",
           {_DONE, progress.NO_WAY_BACK}, Step(1.0, "doors_shut")),
    _fault("kidnapped", "the robot is carried into another room while it searches", "explore",
           {_DONE, progress.LOST, *_GIVEN_UP, progress.NO_WAY_BACK}, Step(10.0, "kidnapped")),
    _fault("lidars blind for 5 s", "no ray comes back, then all do again", "explore", {_DONE, *_GIVEN_UP},
           Step(8.0, "lidars_blind"), Step(5.0, "lidars_see")),
    _fault("lidars blind", "no ray comes back any more", "explore", {progress.LOST}, Step(8.0, "lidars_blind")),
    _fault("wheel slips", "a third of what the left wheel turns is no way, for 10 s", "explore", {_DONE, *_GIVEN_UP},
           Step(5.0, "wheels_slip"), Step(10.0, "wheels_grip")),
    _fault("false detection", "three times the camera sees the thing for 0.3 s where it isn't", "explore",
           {_DONE, *_GIVEN_UP}, Step(4.0, "phantom"), Step(3.0, "phantom"), Step(3.0, "phantom")),
    _fault("thing slips out of the hand", "the gripper opens for 0.6 s on the way home", "drive",
           {_DONE, *_GIVEN_UP}, Step(2.0, "thing_slips")),
    _fault("battery low", "a tenth of the charge is left while it searches", "explore", {progress.BATTERY_LOW},
           Step(5.0, "battery_low")),
    *(
        _fault(f"cancelled at {stage}", "'leave it' is called out", stage, {progress.CANCELLED},
               Step(0.0, say="leave it"))
        for stage in ("explore", "approach", "recognise", "grasp", "drive")
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MissionOutcome:
    """What was seen.

    Attributes:
        done: What was done, in words; empty: the mission never came so far.
        code, message: How the mission ended, by itself.
        truthful: Where it says that it was carried out, the judge agrees.
        rest_s: From the end to rest [s, ROS clock]; None: it moved on.
        hardest_n: Of the contacts with the flat [N].
        duration_s: Of the mission [s, ROS clock].
    """

    done: tuple[str, ...]
    code: str
    message: str
    truthful: bool
    rest_s: float | None
    hardest_n: float
    duration_s: float

    def as_expected(self, fault: MissionFault) -> bool:
        """The fault came about, the code is clear and true, and the robot is safe."""
        safe = self.rest_s is not None and self.hardest_n <= HARD_N
        return len(self.done) == len(fault.steps) and self.code in fault.codes and self.truthful and safe


def play(fault: MissionFault, out: Path, say: Callable[[str], None], seed: int = SEED) -> MissionOutcome:
    """A mission in a graph of its own.

    Args:
        fault: What goes wrong.
        out: Folder for the logs of its nodes.
        say: Takes progress lines.
        seed: Of the flat.

    Raises:
        VlaError: a graph that breaks.
    """
    options = GraphOptions.of_scene("flat", seed=seed, split=SPLIT, link=new_link())
    with WatchedGraph(simulated_graph(options), out, say, images=False) as graph:
        motion, trouble = _Motion(graph.session), _Trouble(graph, fault, say)

        def on_stage(stage: str, _subtask: str) -> None:
            if stage == fault.stage:
                trouble.begin()

        run = graph.carry_out(draw_plan(seed, SPLIT).errand.instruction, 0.0, on_stage)
        done = trouble.end()
        rest_s = motion.rest(run.span.end_ns)
        contacts = graph.session.judge()["collisions"]
    return _outcome(run, done, rest_s, contacts)


def _outcome(run: Run, done: tuple[str, ...], rest_s: float | None, contacts: list[dict[str, Any]]) -> MissionOutcome:
    hardest_n = max((float(contact["force_n"]) for contact in contacts), default=0.0)
    result = run.result
    truthful = bool(run.truth["success"]) or not result.success
    return MissionOutcome(done, result.error_code, result.message, truthful, rest_s, hardest_n, result.duration_s)


class _Trouble(threading.Thread):
    """Does what a fault does, beside the thread that waits for the mission's end."""

    def __init__(self, graph: WatchedGraph, fault: MissionFault, say: Callable[[str], None]) -> None:
        super().__init__(name="trouble", daemon=True)
        self._graph, self._fault, self._say = graph, fault, say
        self._said = publisher(graph.session.node, "said", String)
        self._begun, self._over = threading.Event(), threading.Event()
        self._done: list[str] = []
        self.start()

    def begin(self) -> None:
        """Its stage has come."""
        self._begun.set()

    def end(self) -> tuple[str, ...]:
        """The mission is over; what was done."""
        self._over.set()
        self._begun.set()
        self.join()
        return tuple(self._done)

    def run(self) -> None:
        """One step after the other, until the mission is over."""
        self._begun.wait()
        for step in self._fault.steps:
            self._sleep(step.after_s)
            for _ in range(_TRIES):
                if self._over.is_set():
                    return
                try:
                    self._done.append(self._do(step))
                    self._say(f"fault: {self._done[-1]}")
                    break
                except ConfigError as error:
                    self._say(f"not yet: {error}")
                    self._sleep(_AGAIN_S)

    def _do(self, step: Step) -> str:
        if step.say:
            self._said.publish(String(data=step.say))
            return f"'{step.say}' was called out"
        return self._graph.session.inject(step.inject)

    def _sleep(self, seconds: float) -> None:
        """On the ROS clock."""
        until_ns = self._graph.recording.clock_ns + round(seconds * NS)
        while self._graph.recording.clock_ns < until_ns and not self._over.is_set():
            time.sleep(0.02)


class _Motion:
    """Whether base and arm move."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._base: tuple[int, bool] = (0, True)
        self._arm: tuple[int, bool] = (0, True)
        subscription(session.node, "odom", Odometry, self._on_odometry)
        subscription(session.node, "joint_states", JointState, self._on_joints)

    def rest(self, end_ns: int) -> float | None:
        """How long it took to rest after the end [s, ROS clock]; None: it didn't in time."""
        last_ns = end_ns + round(_REST_S * NS)
        begun = time.monotonic()
        while time.monotonic() - begun < _WAIT_S:
            (base_ns, base_moves), (arm_ns, arm_moves) = self._base, self._arm
            if min(base_ns, arm_ns) > end_ns and not base_moves and not arm_moves:
                return (max(base_ns, arm_ns) - end_ns) / NS
            if min(base_ns, arm_ns) > last_ns:
                return None
            time.sleep(0.01)
        return None

    def _on_odometry(self, message: Odometry) -> None:
        twist = message.twist.twist
        moves = abs(twist.linear.x) > _STANDS_M_S or abs(twist.angular.z) > _STANDS_RAD_S
        self._base = (_stamp_ns(message), moves)

    def _on_joints(self, message: JointState) -> None:
        self._arm = (_stamp_ns(message), any(abs(v) > _STANDS_RAD_S for v in message.velocity))


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * NS + int(message.header.stamp.nanosec)
