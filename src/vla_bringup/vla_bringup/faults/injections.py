"""What is done to a running graph: context managers, or what makes them; leaving one undoes it where it can be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from vla_bringup.faults.circling import Tamper, shifted
from vla_bringup.faults.fault import Injection
from vla_bringup.faults.rig import Relay, Rig
from vla_bringup.faults.rigs import ClockedRig
from vla_core.records import PLAN
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import NS, ActionChunk
from vla_ros.stamps import to_msg, to_ns

_FLOOD = "vla_bringup.faults.flood"
_FULL_SPEED = 0.95  # of a joint's limit
_BUSY_LOOKS, _BUSY_TICKS = 4, 2  # looks 10 ms apart, ticks of 10 ms
_FLOODS_S = 1.0  # of real time, before anything is judged

# -- processes --------------------------------------------------------------------------------------------------------


def kill(process: str) -> Injection:
    """kill -9."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        os.kill(rig.pid(process), signal.SIGKILL)
        yield

    return inject


@contextmanager
def hang_thinking_policy(rig: Rig) -> Iterator[None]:
    """SIGSTOP in the middle of an inference: the only thing that keeps the policy's process busy for 20 ms."""
    ticks = deque(maxlen=_BUSY_LOOKS)

    def busy() -> bool:
        fields = Path(f"/proc/{rig.pid('policy_node')}/stat").read_text().rpartition(")")[2].split()
        ticks.append(int(fields[11]) + int(fields[12]))  # user and system time
        return len(ticks) == _BUSY_LOOKS and ticks[-1] - ticks[0] >= _BUSY_TICKS

    rig.until(busy, "policy that thinks")
    with hang("policy_node")(rig):
        yield


def hang(process: str) -> Injection:
    """SIGSTOP until the fault is over, then SIGCONT: a process that hangs, with everything that it holds."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        pid = rig.pid(process)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    return inject


def pause(process: str, seconds: float) -> Injection:
    """SIGSTOP for so long [s]: the fault is over before its answer."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        with hang(process)(rig):
            time.sleep(seconds)
        yield

    return inject


# -- chunks -----------------------------------------------------------------------------------------------------------


def line(rig: Rig) -> ClockedRig:
    """The rig whose policy is ours."""
    assert isinstance(rig, ClockedRig)
    return rig


@contextmanager
def no_chunks(rig: Rig) -> Iterator[None]:
    """The policy falls silent."""
    circling = line(rig).circling
    circling.silent = True
    try:
        yield
    finally:
        circling.silent = False


def chunk(change: Tamper) -> Injection:
    """The next chunk is another one."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        line(rig).circling.tamper(change)
        yield

    return inject


def and_bad(change: Callable[[ActionChunk], ActionChunk]) -> Tamper:
    """The chunk as it should be, and right after it one with the same numbers but for `change`."""
    return lambda good: (good, change(replace(good, stamp_ns=good.stamp_ns + 1, sequence=good.sequence + 1000)))


def with_nan(good: ActionChunk) -> ActionChunk:
    """One number of it isn't finite."""
    actions = good.actions.copy()
    actions[7, 2] = np.nan
    return replace(good, actions=actions)


def far_away(good: ActionChunk) -> ActionChunk:
    """It asks for a place two metres off."""
    actions = good.actions.copy()
    actions[:, :3] += 2.0
    return replace(good, actions=actions)


def swapped(good: ActionChunk) -> tuple[ActionChunk, ...]:
    """An answer to an observation of 50 ms ago comes after this one."""
    return good, replace(shifted(good, -0.05), sequence=good.sequence - 1)


# -- data -------------------------------------------------------------------------------------------------------------


@contextmanager
def plan_with_nan(rig: Rig) -> Iterator[None]:
    """Somebody writes numbers that aren't finite into the executor's plan."""
    box, record = Mailbox(link_path(rig.link, "plan"), PLAN), np.zeros(1, PLAN)
    try:
        box.read(record)
        record["sequence"] += 1000
        record["q"][0, 10:, 3] = np.nan
        box.write(record)
    finally:
        box.close()
    yield


def relayed(name: str, change: Callable[[Any], Any | None]) -> Injection:
    """Every message of a relayed topic is changed, or dropped for None."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        rig.relays[name].change = change
        try:
            yield
        finally:
            rig.relays[name].change = Relay.honest

    return inject


def dropped(message: Any) -> None:
    """Nothing comes through."""


def without_numbers(message: JointState) -> JointState:
    """The fourth joint is not a number."""
    message.position[3] = float("nan")
    return message


def clock_ahead(seconds: float) -> Callable[[Clock], Clock]:
    """The clock is set forward (or back, with a minus) [s]."""

    def change(message: Clock) -> Clock:
        message.clock = to_msg(max(1, to_ns(message.clock) + round(seconds * NS)))
        return message

    return change


@contextmanager
def clock_jump(rig: Rig, seconds: float) -> Iterator[None]:
    """The clock jumps by so much [s] and stays there."""
    with relayed("/clock", clock_ahead(seconds))(rig):
        yield


@contextmanager
def frozen_camera(rig: Rig) -> Iterator[None]:
    """The same picture over and over, with fresh stamps."""
    first: list[Image] = []

    def change(message: Image) -> Image:
        first.append(message) if not first else None
        message.data = first[0].data
        return message

    with relayed("front/image_raw", change)(rig):
        yield


@contextmanager
def slow_camera(rig: Rig) -> Iterator[None]:
    """One picture in ten comes through."""
    count = 0

    def change(message: Image) -> Image | None:
        nonlocal count
        count += 1
        return message if count % 10 == 0 else None

    with relayed("front/image_raw", change)(rig):
        yield


# -- people and hardware ----------------------------------------------------------------------------------------------


@contextmanager
def stop_button(rig: Rig) -> Iterator[None]:
    """Somebody presses the red button while a joint is at its speed limit."""
    circling = line(rig).circling
    circling.hurried = True
    try:
        rig.until(lambda: rig.watch.speed > _FULL_SPEED, "full speed")
        rig.start_clock()
        rig.call("stop")
    finally:
        circling.hurried = False
    yield


def hardware_says(level: int, message: str) -> Injection:
    """A driver reports its joint temperatures on /diagnostics; when the fault is over, that they are fine."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        over = threading.Event()

        def report(at: int, text: str) -> None:
            status = DiagnosticStatus(level=bytes([at]), name="panda: joint temperatures", message=text)
            rig.diagnostics_out.publish(DiagnosticArray(status=[status]))

        def keep_reporting() -> None:
            while not over.wait(0.2):
                report(level, message)

        thread = threading.Thread(target=keep_reporting, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            report(0, "")

    return inject


def flood(topic: str) -> Injection:
    """A process that publishes rubbish on a topic as fast as it can."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        process = subprocess.Popen([sys.executable, "-m", _FLOOD, topic], stdout=subprocess.PIPE)
        try:
            assert cast(Any, process.stdout).readline().startswith(b"READY"), "the flood did not begin"
            time.sleep(_FLOODS_S)
            yield
        finally:
            process.kill()
            process.wait()
            cast(Any, process.stdout).close()

    return inject
