"""Looks at the robot from outside the stack: the records of simulator, servo and monitor in shared memory."""

from __future__ import annotations

import threading
import time

import numpy as np

from vla_control.core.robot import RobotConfig
from vla_core.peer import Peer
from vla_core.records import LIMITS, MODES, SAFETY, STATE, STATUS
from vla_core.types import Float64

_POLL_S = 0.002
_LOOK_TURNS = 25
_SLACK = 1.01  # of targets: splines and blends meet their limits up to rounding
_TRACKING_SLACK = 1.03  # of the measured speed: an arm whose target is at its limit swings a little about it
_REST_RAD_S, _REST_S = 0.05, 0.02


class ArmWatch:
    """Polls in a thread of its own.

    Args:
        link: Name of the link.
        config: The robot's limits.
        still_s: A world whose clock stands for longer stands on its brakes [s, monotonic clock].

    Attributes:
        violations: What was broken since `begin`, by kind, each with its largest value.
        modes: Of the servo, seen since `begin`.
        braked_by: Limits that acted while the servo was in mode 'stop', since `begin`.
        speed: Of the fastest joint now, of its limit.
        rested_ns: Stamp at which the arm first came to rest since `begin`, on the robot's clock; None: it has not.
    """

    def __init__(self, link: str, config: RobotConfig, still_s: float) -> None:
        self._still_s = still_s
        self._config, self._joints = config, len(config.joints)
        self._state, self._status = Peer(link, "state", STATE), Peer(link, "status", STATUS)
        self._safety = Peer(link, "safety", SAFETY)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._moved_wall_s = time.monotonic()
        self._moving_ns = 0  # stamp of the newest state with a speed
        self.violations: dict[str, float] = {}
        self.modes: set[str] = set()
        self.braked_by: set[str] = set()
        self.speed = self._max_jerk_before = 0.0
        self.rested_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name="arm watch", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Forget what was seen."""
        with self._lock:
            self.violations, self.modes, self.braked_by, self.rested_ns = {}, set(), set(), None
            self._max_jerk_before = float(self._status.record["max_jerk"][0])

    @property
    def stamp_ns(self) -> int:
        """The robot's clock."""
        return int(self._state.record["stamp_ns"][0])

    @property
    def mode(self) -> str:
        """The servo's mode, of MODES."""
        return MODES[int(self._status.record["mode"][0])]

    @property
    def tool_m(self) -> Float64:
        """Tool position [m] (3,)."""
        return self._status.record["tool_pose"][0, :3].copy()

    @property
    def beat(self) -> int:
        """Heartbeats of the present safety monitor."""
        return int(self._safety.record["beat"][0])

    @property
    def moves(self) -> bool:
        """Whether the arm follows a plan."""
        return self.mode == "track" and not self.rests

    @property
    def rests(self) -> bool:
        """Whether the arm has been still for a moment, or its world stands on its brakes."""
        stands = time.monotonic() - self._moved_wall_s > self._still_s
        return stands or (self.stamp_ns - self._moving_ns) * 1e-9 > _REST_S

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
        for peer in (self._state, self._status, self._safety):
            peer.close()

    def _run(self) -> None:
        turns = 0
        while not self._stop.wait(_POLL_S):
            if turns % _LOOK_TURNS == 0:
                for peer in (self._state, self._status, self._safety):
                    peer.refresh()
            turns += 1
            self._safety.poll()
            before_ns = self.stamp_ns
            if self._state.poll():
                self._see_state(before_ns)
            if self._status.poll():
                self._see_status()
            if self.rests:
                with self._lock:
                    self.rested_ns = self._moving_ns if self.rested_ns is None else self.rested_ns

    def _see_state(self, before_ns: int) -> None:
        row, config, n = self._state.record[0], self._config, self._joints
        q, qd = row["q"][:n], row["qd"][:n]
        if self.stamp_ns != before_ns:
            self._moved_wall_s = time.monotonic()
            if not np.abs(qd).max() < _REST_RAD_S:
                self._moving_ns = self.stamp_ns
        beyond = np.maximum(config.position_min_rad - q, q - config.position_max_rad)
        self._judge("joint position beyond its limit [rad]", float(beyond.max()), 0.0)
        self.speed = float(np.max(np.abs(qd) / config.velocity_rad_s))
        self._judge("joint speed, of its limit", self.speed, _TRACKING_SLACK)

    def _see_status(self) -> None:
        row, config, n = self._status.record[0], self._config, self._joints
        acting = int(row["limits_acting"]) if self.mode == "stop" else 0
        with self._lock:
            self.modes.add(self.mode)
            self.braked_by |= {name for bit, name in enumerate(LIMITS) if acting >> bit & 1}
        for name, limit in (
            ("qd_target", config.velocity_rad_s),
            ("qdd_target", config.acceleration_rad_s2),
            ("tau", config.torque_nm),
        ):
            self._judge(f"{name}, of its limit", float(np.max(np.abs(row[name][:n]) / limit)), _SLACK)
        if float(row["max_jerk"]) != self._max_jerk_before:  # the servo's record since its own start
            jerk = float(row["max_jerk"]) / float(config.jerk_rad_s3.max())
            self._judge("jerk of the target, of its limit", jerk, _SLACK)

    def _judge(self, kind: str, value: float, limit: float) -> None:
        if not value <= limit:  # numbers that aren't finite break every limit
            with self._lock:
                self.violations[kind] = max(self.violations.get(kind, value), value)
