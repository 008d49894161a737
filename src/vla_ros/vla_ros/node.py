"""Start, spin and end one node process: `sys.exit(run(MyNode))` is all that a node's `main` does."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import ok, try_shutdown

from vla_core.errors import ConfigError, VlaError
from vla_ros.executor import LeanExecutor, single_threaded

OK, CRASHED, REFUSED, LEFT_MIDDLEWARE = 0, 1, 2, int(signal.SIGALRM)
_MIDDLEWARE_S = 15.0


def run(factory: Callable[[], Node], args: list[str] | None = None) -> int:
    """Build a node, print `READY <name>`, spin it until SIGINT or SIGTERM, and clean up.

    Hooks of the node, each optional: `start()` runs before READY (lifecycle nodes configure and activate there),
    `loop(executor)` replaces `executor.spin()` (the simulator steps its world and serves ROS in between),
    `on_exit()` runs however the node ends, with further signals ignored. The ROS context may be gone by then, so
    `on_exit` stops threads and removes files but doesn't publish.

    A crash in native code prints where every thread was, and so does `kill -ABRT` for a node that is stuck.

    Args:
        factory: Makes the node; rclpy is initialised when it is called.
        args: Command line, `sys.argv` when None.

    Returns:
        Exit code: 0 ended by a signal, 1 an exception (its traceback is on stderr), 2 a VlaError from start-up or
        from a callback (one line `ERROR <code>: <sentence>` on stderr). The process itself may also end with 14: it
        had cleaned up, but DDS didn't let go of it.
    """
    node: Node | None = None
    executor: SingleThreadedExecutor | None = None
    code, told = OK, threading.Event()
    faulthandler.enable()
    try:
        _init(args, told)
        # One thread: rclpy's multi-threaded executor loses high-rate messages and its events executor hangs on exit.
        executor = single_threaded()  # before READY: it can't be made any more once a signal has come
        node = factory()
        if hasattr(node, "start"):
            node.start()
        executor.add_node(node)
        print(f"READY {node.get_name()}", flush=True)
        getattr(node, "loop", SingleThreadedExecutor.spin)(executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except VlaError as error:
        code = _report(error)
    except ParameterException as error:
        code = _report(ConfigError(str(error), "parameters as in docs/parameters.md", "mend the parameter file"))
    except Exception as error:
        if ok() and not told.is_set():
            traceback.print_exc()
            code = CRASHED
        else:  # the signal's KeyboardInterrupt inside of rclpy, which makes an error of its own of it
            print(f"ended by a signal, within which: {error!r}", file=sys.stderr, flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if isinstance(executor, LeanExecutor):
            executor.release()
        code = max(code, _close(node))
    return code


def _init(args: list[str] | None, told: threading.Event) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        told.set()
        raise KeyboardInterrupt

    # rclpy's own handlers call these; alone they only end the context, which a node that is still starting doesn't see
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        rclpy.init(args=args)
    except Exception as error:  # rclpy has one private class per way of being wrong
        raise ConfigError(" ".join(str(error).split()), "valid --ros-args", "mend the command or file") from error


def _report(error: VlaError) -> int:
    print(f"ERROR {error.code}: {error}", file=sys.stderr, flush=True)
    return REFUSED


def _close(node: Node | None) -> int:
    code = OK
    if node is not None:
        try:
            if hasattr(node, "on_exit"):
                node.on_exit()
        except Exception:
            traceback.print_exc()
            code = CRASHED
        _bound_what_follows()
        with contextlib.suppress(KeyboardInterrupt):
            node.destroy_node()
    try_shutdown()
    return code


def _bound_what_follows() -> None:
    """End the process should DDS not let go: participants that end at the same time may block each other for good.

    Nothing of ours is left to be done by then. Where Python stands is printed before. Both are done by C code alone,
    because a blocked call into DDS keeps the interpreter's lock: the handler of SIGALRM is libc's `_exit` itself,
    which takes the signal's number for the exit code.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGALRM, ctypes.cast(libc._exit, ctypes.c_void_p))
    faulthandler.dump_traceback_later(0.9 * _MIDDLEWARE_S)
    signal.setitimer(signal.ITIMER_REAL, _MIDDLEWARE_S)
