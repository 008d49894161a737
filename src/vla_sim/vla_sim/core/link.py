"""The simulator's ends of the shared-memory link: state out, command and plan in, snapshots to the camera process."""

from __future__ import annotations

import time

import numpy as np

from vla_core.peer import Peer
from vla_core.records import COMMAND, PLAN, STATE
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import Float64, RobotState
from vla_sim.core.records import MAX_STATE, RENDERED, SNAPSHOT, Start

_RETRY_S = 0.1  # how often a missing or silent peer is looked for [s]


class WatchfulPeer(Peer):
    """A peer that is also looked for while it is polled: the world has time for that, a control tick doesn't."""

    _looked_s = -_RETRY_S

    @property
    def missing(self) -> bool:
        """Whether the owner has never been there."""
        return self._box is None

    def poll(self) -> bool:
        """Take the newest record; True if it is news. Looks at most every 0.1 s for a new file."""
        if super().poll():
            return True
        now_s = time.monotonic()
        if now_s - self._looked_s >= _RETRY_S:
            self._looked_s = now_s
            self.refresh()
        return False

    def wait(self, timeout_s: float) -> bool:
        """Sleep until news or the timeout, take it; True if it is news."""
        return self.poll() or super().wait(timeout_s)


class HardwareLink:
    """The side of the robot: owns `state`, reads `command` and `plan`.

    Args:
        link: Name of the link.
        lockstep: Whether the world waits for the command of each tick.
        torque_limit_nm: What the motors give at most [N*m], float64 (J,).
        gripper_force_limit_n: And the grippers [N], float64 (G,).
    """

    def __init__(self, link: str, lockstep: bool, torque_limit_nm: Float64, gripper_force_limit_n: Float64) -> None:
        self._state_box = Mailbox(link_path(link, "state"), STATE, create=True)
        self._state = np.zeros(1, STATE)
        self._state["lockstep"] = int(lockstep)
        self._state["torque_limit"][0, : len(torque_limit_nm)] = torque_limit_nm
        self._state["gripper_force_limit"][0, : len(gripper_force_limit_n)] = gripper_force_limit_n
        self._command = WatchfulPeer(link, "command", COMMAND)
        self._plan = WatchfulPeer(link, "plan", PLAN)

    @property
    def command(self) -> np.ndarray:
        """Newest COMMAND record, shape (1,)."""
        return self._command.record

    @property
    def commanded(self) -> bool:
        """Whether any command has come."""
        return self._command.version > 0

    def publish(self, tick: int, stamp_ns: int, epoch_ns: int, state: RobotState) -> None:
        """Write the state of `tick`; joints and grippers beyond the robot's own stay zero."""
        record, joints = self._state, len(state.q_rad)
        record["tick"], record["stamp_ns"], record["epoch_ns"] = tick, stamp_ns, epoch_ns
        record["q"][0, :joints], record["qd"][0, :joints] = state.q_rad, state.qd_rad_s
        record["tau"][0, :joints] = state.tau_nm
        record["gripper_width"][0, : len(state.gripper_width_m)] = state.gripper_width_m
        self._state_box.write(record)

    def await_command(self, tick: int, timeout_s: float) -> bool:
        """Wait until the command answers `tick`; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while int(self.command["tick"][0]) != tick or not self.commanded:
            left_s = deadline - time.monotonic()
            if left_s <= 0.0:
                return False
            self._command.wait(left_s)
        return True

    def newest_command_tick(self) -> int:
        """Tick that the newest command answers; -1: none yet."""
        self._command.poll()
        return int(self.command["tick"][0]) if self.commanded else -1

    def answers_ns(self) -> int:
        """Stamp of the observation that the executor's plan answers; -1: no plan yet."""
        self._plan.poll()
        return int(self._plan.record["answers_ns"][0]) if self._plan.version > 0 else -1

    def await_plan(self, timeout_s: float) -> None:
        """Sleep until the executor writes a plan or the timeout."""
        self._plan.wait(timeout_s)

    def close(self) -> None:
        """Let go of everything and remove the mailbox that we own."""
        self._command.close()
        self._plan.close()
        self._state_box.close(unlink=True)


class CameraLink:
    """The simulator's side of the camera process: owns `snapshot`, reads `rendered`."""

    def __init__(self, link: str) -> None:
        self._box = Mailbox(link_path(link, "snapshot"), SNAPSHOT, create=True)
        self._record = np.zeros(1, SNAPSHOT)
        self._rendered = WatchfulPeer(link, "rendered", RENDERED)

    def describe(self, generation: int, start: Start) -> None:
        """Say which world the next snapshots belong to."""
        record = self._record
        record["generation"], record["seed"], record["family"] = generation, start.seed, start.family.encode()
        record["instruction"], record["split"] = start.instruction.encode(), start.split.encode()

    def hand(self, stamp_ns: int, state: np.ndarray) -> None:
        """Give the world's state at `stamp_ns` (float64 (n,), n <= 4096) to the camera process."""
        assert len(state) <= MAX_STATE, "the scene has outgrown the snapshot record"
        record = self._record
        record["stamp_ns"], record["monotonic_ns"] = stamp_ns, time.monotonic_ns()
        record["n"], record["state"][0, : len(state)] = len(state), state
        self._box.write(record)

    def rendered_ns(self) -> int:
        """Stamp of the newest published images; -1: none yet."""
        self._rendered.poll()
        return int(self._rendered.record["stamp_ns"][0]) if self._rendered.version > 0 else -1

    def await_rendered(self, timeout_s: float) -> None:
        """Sleep until the camera process says something or the timeout."""
        self._rendered.wait(timeout_s)

    def close(self) -> None:
        """Let go of everything and remove the mailbox that we own."""
        self._rendered.close()
        self._box.close(unlink=True)
