"""Stage 4/4, a process of its own without rclpy. In: `state`, `plan`, `safety`, `settings`. Out: `command`, `status`.

`python -m vla_control.servo_loop '<json>'` is what servo_node starts; the JSON holds `link`, `parent_pid` and the
parameters of servo_node. It prints `READY {...}` once everything is compiled and the robot answers. SIGTERM or SIGINT:
brake, then end.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import FrameType
from typing import Any

import numpy as np

from vla_control import realtime
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_control.hardware.protocol import Hardware
from vla_control.hardware.shared_memory import SharedMemoryHardware
from vla_control.loop_timing import LoopTiming
from vla_core.errors import ConfigError, VlaError
from vla_core.peer import Peer
from vla_core.records import COMMAND, MODES, PLAN, SAFETY, SETTINGS, STATUS
from vla_core.shared_memory import Mailbox, link_path

_LOOK_NS = 500_000_000  # how often mailboxes that may have been re-created are looked for
_WAIT_S = 0.1  # longest sleep without a look at signals and mailboxes
_AT_REST_RAD_S = 0.01


@dataclass(frozen=True, slots=True)
class LoopParameters:
    """What the loop needs beside the controller's own ServoParameters.

    Attributes:
        period_s: Time between ticks in real time [s].
        state_timeout_s: In real time, without a new state for longer the arm is braked (limit 'stale_state') [s].
        safety_timeout_s: Older heartbeats of the safety monitor stop the robot [s, monotonic clock].
        require_safety_monitor: True: no motion before the first heartbeat. False: a heartbeat counts once seen.
        stop_time_s: Longest braking before the process ends [s, monotonic clock].
        rt_priority: SCHED_FIFO priority to ask for; 0: none.
        free_wait_s: In lockstep, the first state of a world is answered only when the safety monitor lets the robot
            move, or after so long [s, monotonic clock]: who starts faster mustn't decide whether it begins with a stop.
    """

    period_s: float
    state_timeout_s: float
    safety_timeout_s: float
    require_safety_monitor: bool
    stop_time_s: float
    rt_priority: int
    free_wait_s: float

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> LoopParameters:
        """Take this class's fields out of `values`, which may hold more.

        Raises:
            ConfigError: one is missing.
        """
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise ConfigError(f"no {missing} for the servo loop", "all parameters of servo_node", "pass them on")
        return cls(**{field.name: values[field.name] for field in fields(cls)})


class ServoLoop:
    """Ticks a ServoCore against a robot until it is asked to end.

    Args:
        hardware: The robot; the caller closes it.
        core: The controller, fresh.
        link: Name of the link that `plan`, `safety` and `status` lie on.
        params: Tuning.
        timing: Takes the times of every tick; None: a fresh LoopTiming.
    """

    def __init__(
        self, hardware: Hardware, core: ServoCore, link: str, params: LoopParameters, timing: LoopTiming | None = None
    ) -> None:
        self._hardware, self._core, self._params = hardware, core, params
        self._lockstep = hardware.mode == "lockstep"
        self._plan, self._safety = Peer(link, "plan", PLAN), Peer(link, "safety", SAFETY)
        self._settings = Peer(link, "settings", SETTINGS)
        self._status_box = Mailbox(link_path(link, "status"), STATUS, create=True)
        self._command, self._status, self._no_plan = np.zeros(1, COMMAND), np.zeros(1, STATUS), np.zeros(1, PLAN)
        self._timing = timing or LoopTiming(round(1.0 / params.period_s))
        self._period_ns = round(params.period_s * 1e9)
        self._safety_timeout_ns = round(params.safety_timeout_s * 1e9)
        self._state_timeout_ns = round(params.state_timeout_s * 1e9)
        self._stamp, self._epoch, self._tick_number = (hardware.state[n] for n in ("stamp_ns", "epoch_ns", "tick"))
        self._plan_start = self._plan.record["start_ns"]
        self._stop, self._beat_ns = self._safety.record["stop"], self._safety.record["monotonic_ns"]
        names = ("tick_us_p50", "tick_us_p99", "wake_us_p99", "overruns")
        self._out = tuple(self._status[name] for name in names)
        self._last = (-1, -1, -1)  # epoch, stamp and tick of the newest state
        self._void_version = -1  # version of a plan that was made for a world that is gone; -1: none
        self._look_ns = self._deadline_ns = self._fresh_ns = 0
        self._leave_by_ns: int | None = None
        self._answer_by_ns = 0  # a stopped robot's first state is answered at this time, and not before [monotonic]
        self._silent = self._started = self._put_off = False

    def leave(self) -> None:
        """Brake, then end the loop; at the latest after `stop_time_s`."""
        if self._leave_by_ns is None:
            self._leave_by_ns = time.monotonic_ns() + round(self._params.stop_time_s * 1e9)

    def run(self) -> None:
        """Tick until the robot rests after `leave`.

        Raises:
            LinkError: a peer came back with records of another layout.
        """
        step = self._follow_hardware if self._lockstep else self._follow_clock
        self._deadline_ns = self._fresh_ns = time.monotonic_ns()
        self._answer_by_ns = self._fresh_ns + round(self._params.free_wait_s * 1e9)
        while not self._done():
            now_ns = time.monotonic_ns()
            if now_ns >= self._look_ns:
                self._look_ns = now_ns + _LOOK_NS
                self._hardware.refresh()
                self._settings.refresh()
                if not all([self._plan.refresh(), self._safety.refresh()]):
                    self._look_ns = min(self._look_ns, now_ns + _LOOK_NS // 10)
            step()

    def close(self) -> None:
        """Let go of the link and remove `status`."""
        for box in (self._plan, self._safety, self._settings):
            box.close()
        self._status_box.close(unlink=True)

    def _done(self) -> bool:
        if self._leave_by_ns is None:
            return False
        if self._silent or time.monotonic_ns() >= self._leave_by_ns:
            return True
        resting = bool(np.abs(self._status["qd"]).max() < _AT_REST_RAD_S)
        braked = int(self._status["mode"][0]) == MODES.index("stop") and not self._status["qd_target"].any()
        return resting and braked

    def _follow_hardware(self) -> None:
        """Lockstep: one tick per state, whenever it comes; nobody is waited for longer than _WAIT_S."""
        self._silent = not (self._hardware.wait(_WAIT_S) or self._put_off)
        if self._silent:
            return
        if self._seen() == self._last:  # the robot asks again: the answer was under way
            self._hardware.write(self._command)
            return
        self._put_off = not self._started and self._begins_stopped() and time.monotonic_ns() < self._answer_by_ns
        if self._put_off:
            return
        self._started = True
        self._tick(time.monotonic_ns(), 0.0, stale=False)

    def _begins_stopped(self) -> bool:
        return self._leave_by_ns is None and self._stamp[0] == self._epoch[0] and self._must_stop()

    def _follow_clock(self) -> None:
        """Real time: at each deadline take the newest state; without a new one the last command stands.

        A loop that was held up itself for too long brakes like one whose states end: the robot has been without a
        command, and its clock, if it stood as well, doesn't tell.
        """
        self._deadline_ns += self._period_ns
        realtime.sleep_until(self._deadline_ns)
        woke_ns = time.monotonic_ns()
        fresh = self._hardware.read() and self._seen() != self._last
        stale = self._started and woke_ns - self._fresh_ns > self._state_timeout_ns
        wake_us = (woke_ns - self._deadline_ns) * 1e-3
        if stale:
            self._tick(woke_ns, wake_us, stale=True)
        if fresh:  # answered in any case: a robot may wait for it
            self._tick(woke_ns, wake_us, stale=False)
            self._fresh_ns, self._started = woke_ns, True
        missed = (time.monotonic_ns() - self._deadline_ns) // self._period_ns
        if missed > 0:
            self._timing.overruns += missed
            self._deadline_ns += missed * self._period_ns

    def _tick(self, begin_ns: int, wake_us: float, stale: bool) -> None:
        core, timing = self._core, self._timing
        self._plan.poll()
        if self._settings.poll():
            core.use(self._settings.record)
        if self._seen() != self._last:
            self._check_reset()
        plan, stop = self._valid_plan(), self._must_stop()
        if stale:
            core.tick_without_state((begin_ns - self._fresh_ns) * 1e-9, plan, stop, self._command, self._status)
        else:
            core.tick(self._hardware.state, plan, stop, self._command, self._status)
        self._hardware.write(self._command)
        timing.add((time.monotonic_ns() - begin_ns) * 1e-3, wake_us)
        p50, p99, wake, overruns = self._out
        p50[0], p99[0], wake[0] = timing.tick_us_p50, timing.tick_us_p99, timing.wake_us_p99
        overruns[0] = timing.overruns
        self._status_box.write(self._status)

    def _seen(self) -> tuple[int, int, int]:
        return int(self._epoch[0]), int(self._stamp[0]), int(self._tick_number[0])

    def _check_reset(self) -> None:
        """Start over when the robot has jumped (a new epoch) or its clock has (the simulator was restarted)."""
        epoch_ns, stamp_ns, _ = seen = self._seen()
        if epoch_ns != self._last[0] or stamp_ns < self._last[1]:
            self._core.reset()
            if stamp_ns < self._last[1]:
                self._void_version = self._plan.version
        self._last = seen

    def _valid_plan(self) -> np.ndarray:
        """The plan, or none while the executor has not followed a reset."""
        if self._void_version >= 0:
            if self._plan.version == self._void_version:
                return self._no_plan
            self._void_version = -1
        return self._plan.record if self._plan_start[0] >= self._epoch[0] else self._no_plan

    def _must_stop(self) -> bool:
        self._safety.poll()
        if self._leave_by_ns is not None or self._stop[0]:
            return True
        beat_ns = int(self._beat_ns[0])
        if beat_ns == 0:
            return self._params.require_safety_monitor
        return time.monotonic_ns() - beat_ns > self._safety_timeout_ns


def check_limits(hardware: Hardware, robot: RobotModel) -> None:
    """Refuse a robot file that allows more than the robot takes.

    Raises:
        ConfigError: torque or gripper force.
    """
    config, limits = robot.config, hardware.limits
    force_n = config.gripper_force_n
    if np.any(config.torque_nm > limits.torque_nm) or np.any(force_n > limits.gripper_force_n):
        got = f"torque limits {config.torque_nm.tolist()} N*m, grippers {force_n.tolist()} N"
        expected = f"at most {limits.torque_nm.tolist()} N*m and {limits.gripper_force_n.tolist()} N"
        raise ConfigError(got, expected, f"lower them in config/robots/{config.name}.yaml")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns 0 after a signal, 2 after a VlaError (one line `ERROR <code>: <sentence>` on stderr)."""
    faulthandler.enable()
    values = json.loads((sys.argv[1:] if arguments is None else arguments)[0])

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if not realtime.die_with_parent(int(values["parent_pid"])):
        return 0
    try:
        return _run(values)
    except VlaError as error:
        print(f"ERROR {error.code}: {error}", file=sys.stderr, flush=True)
        return 2


def _run(values: Mapping[str, Any]) -> int:
    params = LoopParameters.from_mapping(values)
    robot = RobotModel.load(str(values["robot"]))
    core = ServoCore(robot, ServoParameters.from_mapping(values))  # compiles before anybody relies on us
    hardware = SharedMemoryHardware(str(values["link"]), robot.config, float(values["link_timeout_s"]))
    try:
        check_limits(hardware, robot)
        loop = ServoLoop(hardware, core, str(values["link"]), params)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: loop.leave())
            granted = realtime.prepare(params.rt_priority)
            print("READY " + json.dumps({"mode": hardware.mode, **asdict(granted)}), flush=True)
            loop.run()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # once is enough, and the handler holds the loop
            loop.close()
    finally:
        hardware.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
