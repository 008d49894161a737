"""What the kernel grants a control loop: a deadline timer, a real-time priority, memory that stays in RAM."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import signal
import time
from dataclasses import dataclass

_CLOCK_MONOTONIC, _TIMER_ABSTIME = 1, 1
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


_until = _Timespec()
_until_p = ctypes.byref(_until)


@dataclass(frozen=True, slots=True)
class Granted:
    """What `prepare` got.

    Attributes:
        fifo_priority: SCHED_FIFO priority, 0: the normal scheduler.
        memory_locked: Pages of this process can't be swapped out.
    """

    fifo_priority: int
    memory_locked: bool


def prepare(priority: int) -> Granted:
    """Turn this process into a control loop; call it after everything is loaded and compiled.

    Freezes and disables the garbage collector, sets the timer slack to 1 ns, and asks for SCHED_FIFO and mlockall,
    which a user without `rtprio` and `memlock` rights is refused; the loop then runs with the normal scheduler.

    Args:
        priority: SCHED_FIFO priority to ask for, 1..99; 0: don't ask.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    fifo = 0
    if priority > 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            fifo = priority
        except PermissionError:
            pass
    unlimited = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    # With a limit, MCL_FUTURE would make later allocations fail instead of this call.
    flags = _MCL_CURRENT | (_MCL_FUTURE if unlimited else 0)
    return Granted(fifo, _libc.mlockall(flags) == 0)


def sleep_until(deadline_ns: int) -> None:
    """Sleep until `deadline_ns` on the monotonic clock, without drift; signal handlers run on the way."""
    _until.sec, _until.nsec = divmod(deadline_ns, 1_000_000_000)
    while _libc.clock_nanosleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, _until_p, None) == errno.EINTR:
        if time.monotonic_ns() >= deadline_ns:
            return


def die_with_parent(parent_pid: int) -> bool:
    """Ask for SIGTERM when the parent ends, so that no orphan goes on; False: it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent_pid
