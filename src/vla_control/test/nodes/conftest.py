"""A link of its own per test, a robot at the other end of it, a servo loop in a thread, and a ROS context."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest

from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_control.hardware.shared_memory import SharedMemoryHardware
from vla_control.servo_loop import LoopParameters, ServoLoop
from vla_core.contract import Contract, load_contract
from vla_core.files import workspace_root
from vla_core.peer import Peer
from vla_core.records import COMMAND, PLAN, SAFETY, SETTINGS, STATE, STATUS
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import ActionChunk
from vla_ros.testing import Spinner, private_ros

START_NS = 1_000_000_000
TICK_NS = 1_000_000
RECORDS = {"plan": PLAN, "safety": SAFETY, "settings": SETTINGS, "status": STATUS, "state": STATE}


@pytest.fixture
def link() -> Iterator[str]:
    """Name of a link that nobody else uses; what is left of it is an error, and removed."""
    name = f"test{random.getrandbits(40):x}"
    yield name
    left = list(Path("/dev/shm").glob(f"vla_{name}_*"))
    for path in left:
        path.unlink()
    assert not left, f"mailboxes left behind: {[p.name for p in left]}"


@pytest.fixture
def latched(link: str) -> Iterator[None]:
    """For a test whose safety monitor ends with a latched stop. Name it first, so that it tidies up last."""
    yield
    link_path(link, "safety").unlink()


@pytest.fixture(scope="session")
def robot() -> RobotModel:
    return RobotModel.load("panda")


@pytest.fixture(scope="session")
def contract() -> Contract:
    return load_contract("tabletop_panda")


@pytest.fixture(scope="session")
def make_chunk(robot: RobotModel, contract: Contract) -> Callable[..., ActionChunk]:
    """Chunk of 20 steps that lifts the tool from the home pose by `lift_m`, gripper open."""
    position, quaternion = robot.tool_pose(robot.config.home_rad)

    def make(stamp_ns: int, sequence: int = 1, lift_m: float = 0.05, instruction: str = "") -> ActionChunk:
        actions = np.zeros((contract.horizon, 8), np.float32)
        actions[:, :3], actions[:, 3:7], actions[:, 7] = position, quaternion, 1.0
        actions[:, 2] += np.linspace(0.0, lift_m, contract.horizon)
        names = contract.action_names
        return ActionChunk(
            stamp_ns, sequence, "test", contract.hash, contract.action_space, names, contract.dt_s, actions,
            instruction=instruction,
        )  # fmt: skip

    return make


@pytest.fixture
def ros_arguments(link: str, request: pytest.FixtureRequest) -> list[str]:
    """What the launch gives to every node; a test module that publishes /clock sets USE_SIM_TIME."""
    values = str(workspace_root() / "config" / "control.yaml")
    sim_time = str(getattr(request.module, "USE_SIM_TIME", False)).lower()
    given = (
        f"link:={link}",
        f"use_sim_time:={sim_time}",
        "link_timeout_s:=60.0",
        "safety_timeout_s:=10.0",
        "max_ahead_s:=10.0",
        "servo_timeout_s:=0.0",
        "rt_priority:=0",
    )
    return ["--ros-args", "--params-file", values, *(word for value in given for word in ("-p", value))]


@pytest.fixture
def ros(ros_arguments: list[str]) -> Iterator[None]:
    """rclpy on a domain of its own, with the parameters of config/control.yaml."""
    with private_ros(ros_arguments):
        yield


@pytest.fixture
def spinner(ros: None) -> Iterator[Spinner]:
    spinner = Spinner()
    yield spinner
    spinner.close()


class FakeRobot:
    """An arm without contacts in lockstep: forward dynamics of the robot's own model, 1 kHz, semi-implicit Euler."""

    def __init__(self, link: str, robot: RobotModel) -> None:
        self.model, self.data, self.damping = robot.model, robot.model.createData(), robot.damping_nm_s
        self.q, self.qd = np.array(robot.config.home_rad), np.zeros(7)
        self.epoch_ns, self.tick = START_NS, 0
        self._box = Mailbox(link_path(link, "state"), STATE, create=True)
        self._command = Peer(link, "command", COMMAND)
        self._record = np.zeros(1, STATE)
        self._record["torque_limit"][0, :7] = robot.config.torque_nm
        self._record["gripper_force_limit"][0, 0] = robot.config.grippers[0].max_force_n
        self.publish()

    @property
    def stamp_ns(self) -> int:
        return START_NS + self.tick * TICK_NS

    def publish(self) -> None:
        record = self._record
        record["tick"], record["stamp_ns"], record["epoch_ns"] = self.tick, self.stamp_ns, self.epoch_ns
        record["q"][0, :7], record["qd"][0, :7], record["lockstep"] = self.q, self.qd, 1
        self._box.write(record)

    def run(self, ticks: int, alive: Callable[[], bool] = lambda: True) -> None:
        """Live for so many ticks, or until the loop isn't `alive`; fails when nobody answers for a minute."""
        for _ in range(ticks):
            self.publish()
            if not self._answered(alive):
                return
            tau = self._command.record["tau"][0, :7]
            qdd = pin.aba(self.model, self.data, self.q, self.qd, tau - self.damping * self.qd)
            self.qd = self.qd + qdd * 1e-3
            self.q = self.q + self.qd * 1e-3
            self.tick += 1

    def jump(self, q: np.ndarray) -> None:
        """Reset: another pose at once, in a new epoch."""
        self.q, self.qd = np.array(q), np.zeros(7)
        self.epoch_ns = self.stamp_ns

    def close(self) -> None:
        self._command.close()
        self._box.close(unlink=True)

    def _answered(self, alive: Callable[[], bool]) -> bool:
        for _ in range(6000):
            if self._command.version == 0:
                self._command.refresh()
            self._command.poll()
            if self._command.version > 0 and int(self._command.record["tick"][0]) == self.tick:
                return True
            if not alive():
                return False
            self._command.wait(0.01)
        pytest.fail(f"no command for tick {self.tick}")


@pytest.fixture
def fake_robot(link: str, robot: RobotModel) -> Iterator[FakeRobot]:
    fake = FakeRobot(link, robot)
    yield fake
    fake.close()


class Writer:
    """The owner's end of one mailbox."""

    def __init__(self, link: str, box: str) -> None:
        self.dtype, self.path = RECORDS[box], link_path(link, box)
        self.box: Mailbox | None = Mailbox(self.path, self.dtype, create=True)

    def write(self, **values: object) -> None:
        record = np.zeros(1, self.dtype)
        for name, value in values.items():
            field = record[name][0]
            if isinstance(field, np.ndarray):
                field[: len(value)] = value
            else:
                record[name][0] = value
        self.box.write(record)

    def close(self, unlink: bool = True) -> None:
        if self.box is not None:
            self.box.close(unlink=unlink)
            self.box = None


@pytest.fixture
def writer(link: str) -> Iterator[Callable[[str], Writer]]:
    """Makes owners of mailboxes; removes what the test leaves open."""
    made: list[Writer] = []

    def make(box: str) -> Writer:
        made.append(Writer(link, box))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def straight() -> Callable[..., dict[str, object]]:
    """Fields of a PLAN: minimum-jerk motion of 1 s between two poses."""

    def plan(q_from: np.ndarray, q_to: np.ndarray, start_ns: int, sequence: int = 1) -> dict[str, object]:
        t = np.linspace(0.0, 1.0, 51)[:, None]
        q, qd, qdd = np.zeros((3, *PLAN["q"].shape))
        step = q_to - q_from
        q[:51, :7] = q_from + step * (10 * t**3 - 15 * t**4 + 6 * t**5)
        qd[:51, :7] = step * (30 * t**2 - 60 * t**3 + 30 * t**4)
        qdd[:51, :7] = step * (60 * t - 180 * t**2 + 120 * t**3)
        return {
            "sequence": sequence, "answers_ns": start_ns, "start_ns": start_ns, "fresh_until_ns": start_ns + 10**9,
            "knot_dt_s": 0.02, "count": 51, "q": q, "qd": qd, "qdd": qdd,
            "gripper_width": np.full(PLAN["gripper_width"].shape, 0.04),
            "gripper_force": np.full(PLAN["gripper_force"].shape, 40.0),
        }  # fmt: skip

    return plan


class LoopThread:
    """A ServoLoop in a thread of the test, and its status."""

    def __init__(self, link: str, robot: RobotModel, **changes: object) -> None:
        params = {
            "period_s": 0.001, "state_timeout_s": 0.05, "safety_timeout_s": 60.0, "require_safety_monitor": False,
            "stop_time_s": 2.0, "rt_priority": 0, "free_wait_s": 0.0,
        }  # fmt: skip
        core = ServoCore(robot, ServoParameters.from_config())
        self._hardware = SharedMemoryHardware(link, robot.config, 5.0)
        self._loop = ServoLoop(self._hardware, core, link, LoopParameters.from_mapping({**params, **changes}))
        self._status = Peer(link, "status", STATUS)
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    @property
    def status(self) -> np.void:
        """Newest STATUS."""
        self._status.refresh()
        if not self._status.poll():  # it may be being written: it follows the command
            self._status.wait(0.05)
        return self._status.record[0]

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def leave(self) -> None:
        self._loop.leave()

    def look(self) -> None:
        """Let the loop look for mailboxes before its next tick instead of within half a second."""
        self._loop._look_ns = 0

    def close(self) -> None:
        self._loop.leave()
        self._thread.join()
        self._status.close()
        self._loop.close()
        self._hardware.close()


@pytest.fixture
def start_loop(link: str, robot: RobotModel) -> Iterator[Callable[..., LoopThread]]:
    """Starts a ServoLoop on the link (the robot must be there); it is ended with the test."""
    loops: list[LoopThread] = []

    def start(**changes: object) -> LoopThread:
        loops.append(LoopThread(link, robot, **changes))
        return loops[-1]

    yield start
    for loop in loops:
        loop.close()
