"""The servo loop as it runs in real time, on a robot that answers at once: compute time and wake-up jitter.

`python -m vla_bringup.bench.servo SECONDS PRIORITY` prints one JSON line; `measure` runs it as a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from vla_bringup.statistics import spread
from vla_control import realtime
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotConfig, RobotModel
from vla_control.core.servo import ServoCore
from vla_control.hardware.protocol import HardwareLimits
from vla_control.loop_timing import LoopTiming
from vla_control.servo_loop import LoopParameters, ServoLoop
from vla_core.errors import SetupError
from vla_core.files import load_yaml, workspace_root
from vla_core.records import MAX_KNOTS, PLAN, STATE
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import NS

WARM_UP_S = 1.0
_KNOT_S = 0.25  # 512 knots last two minutes
_SWAY_RAD, _SWAY_HZ = 0.1, 0.2


def measure(duration_s: float, priority: int) -> dict[str, Any]:
    """Run the loop at 1 kHz in a process of its own.

    Args:
        duration_s: How long to count, after a warm-up; at most a minute.
        priority: SCHED_FIFO priority to ask for; 0: the normal scheduler.

    Returns:
        tick_us and wake_us (n, p50, p95, p99, max), overruns, fifo_priority (granted), period_s.

    Raises:
        SetupError: the loop fails.
    """
    command = [sys.executable, "-m", __name__, str(duration_s), str(priority)]
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=240 + duration_s, check=False)
    if done.returncode != 0:
        got = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise SetupError(f"a servo loop that failed ({got})", "a run to the end", "see `./vla doctor`")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class SwayingArm:
    """Hardware whose joints are always where the plan wants them, with a new state whenever it is asked."""

    mode = "real_time"

    def __init__(self, config: RobotConfig, plan: np.ndarray) -> None:
        self.state = np.zeros(1, STATE)
        self.limits = HardwareLimits(config.torque_nm, config.gripper_force_n)
        self._plan, self._joints = plan, len(config.joints)
        self.state["stamp_ns"], self.state["epoch_ns"] = NS, NS
        self.read()

    def read(self) -> bool:
        state = self.state
        state["stamp_ns"] += 1_000_000
        state["tick"] += 1
        position = (float(state["stamp_ns"][0]) - NS) / NS / _KNOT_S
        state["q"][0] = self._plan["q"][0, min(int(position), MAX_KNOTS - 1)]
        return True

    def wait(self, timeout_s: float) -> bool:
        return self.read()

    def write(self, command: np.ndarray) -> None:
        """A robot that is always right needs no torque."""

    def refresh(self) -> None:
        """It never restarts."""

    def close(self) -> None:
        """Nothing is held."""


class History(LoopTiming):
    """Keeps every sample beside what it already does.

    Args:
        rate_hz: Ticks per second.
        count: Room for so many samples.
        begin_ns: Earlier samples are left out [ns, monotonic clock].
    """

    def __init__(self, rate_hz: int, count: int, begin_ns: int) -> None:
        super().__init__(rate_hz)
        self.samples = np.zeros((count, 2))
        self.count = 0
        self._begin_ns = begin_ns

    def add(self, tick_us: float, wake_us: float) -> None:
        super().add(tick_us, wake_us)
        if self.count < len(self.samples) and time.monotonic_ns() >= self._begin_ns:
            self.samples[self.count] = tick_us, wake_us
            self.count += 1


def swaying_plan(config: RobotConfig) -> np.ndarray:
    """PLAN record (1,): every joint sways about its home position."""
    plan = np.zeros(1, PLAN)
    time_s, w = np.arange(MAX_KNOTS) * _KNOT_S, 2 * np.pi * _SWAY_HZ
    joints = slice(0, len(config.joints))
    plan["q"][0, :, joints] = config.home_rad + _SWAY_RAD * np.sin(w * time_s)[:, None]
    plan["qd"][0, :, joints] = _SWAY_RAD * w * np.cos(w * time_s)[:, None]
    plan["qdd"][0, :, joints] = -_SWAY_RAD * w * w * np.sin(w * time_s)[:, None]
    plan["gripper_width"] = 0.04
    plan["gripper_force"][0, :, : len(config.grippers)] = config.gripper_force_n
    plan["sequence"], plan["answers_ns"], plan["start_ns"] = 1, NS, NS
    plan["fresh_until_ns"], plan["knot_dt_s"], plan["count"] = 1 << 60, _KNOT_S, MAX_KNOTS
    return plan


def main() -> int:
    """Entry point of the measured process."""
    duration_s, priority = float(sys.argv[1]), int(sys.argv[2])
    values = load_yaml(workspace_root() / "config" / "control.yaml")["/**/servo_node"]["ros__parameters"]
    values = values | {"require_safety_monitor": False, "rt_priority": priority, "robot": "panda"}
    params = LoopParameters.from_mapping(values)
    robot = RobotModel.load(values["robot"])
    core = ServoCore(robot, ServoParameters.from_mapping(values))
    plan, link = swaying_plan(robot.config), f"bench{os.getpid()}"
    box = Mailbox(link_path(link, "plan"), PLAN, create=True)
    box.write(plan)
    rate_hz = round(1.0 / params.period_s)
    history = History(rate_hz, round(duration_s * rate_hz), time.monotonic_ns() + round(WARM_UP_S * NS))
    loop = ServoLoop(SwayingArm(robot.config, plan), core, link, params, history)
    try:
        signal.signal(signal.SIGALRM, lambda *_: loop.leave())
        granted = realtime.prepare(priority)
        signal.setitimer(signal.ITIMER_REAL, duration_s + WARM_UP_S)
        loop.run()
    finally:
        loop.close()
        box.close(unlink=True)
    tick_us, wake_us = history.samples[: history.count].T
    result = {
        "tick_us": spread(tick_us.tolist()),
        "wake_us": spread(wake_us.tolist()),
        "overruns": int(history.overruns),
    }
    print(json.dumps(result | {"fifo_priority": granted.fifo_priority, "period_s": params.period_s}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
