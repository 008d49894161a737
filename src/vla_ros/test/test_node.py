"""`run`: READY, exit codes, hooks; each case is a process of its own, as in a running graph."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vla_ros.node import LEFT_MIDDLEWARE

NODE = """
import sys
from pathlib import Path
from rclpy.node import Node
from vla_core.errors import PolicyError
from vla_ros.node import run
from vla_ros.parameters import declare


class Probe(Node):
    def __init__(self):
        super().__init__("probe")
        self.mode = declare(self, Path(sys.argv[1])).mode
        if self.mode == "refuse":
            raise PolicyError("no weights", "a file", "train first")
        self.create_timer(0.01, self.tick)

    def tick(self):
        if self.mode == "crash":
            raise ZeroDivisionError("bug")

    def on_exit(self):
        print("EXIT", flush=True)


sys.exit(run(Probe))
"""
SCHEMA = "mode: {type: string, one_of: [spin, refuse, crash], description: What to do.}\n"
VALUES = "/**/probe:\n  ros__parameters:\n    mode: %s\n"


def start(tmp_path: Path, mode: str, *ros_args: str, script: str = NODE) -> subprocess.Popen[str]:
    schema = tmp_path / "vla_probe" / "parameters" / "probe.yaml"
    schema.parent.mkdir(parents=True)
    schema.write_text(SCHEMA, encoding="utf-8")
    program, values = tmp_path / "node.py", tmp_path / "probe.yaml"
    program.write_text(script, encoding="utf-8")
    values.write_text(VALUES % mode, encoding="utf-8")
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(random.randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    command = [sys.executable, str(program), str(schema), "--ros-args", "--params-file", str(values), *ros_args]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_namespaced_node_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "spin", "-r", "__ns:=/robot")
    assert process.stdout is not None
    assert process.stdout.readline() == "READY probe\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "EXIT\n", "")


def test_refusal_is_one_line(tmp_path: Path) -> None:
    out, err = (process := start(tmp_path, "refuse")).communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "ERROR policy: got no weights; expected a file; fix: train first\n"


def test_bad_parameter_is_one_line(tmp_path: Path) -> None:
    out, err = (process := start(tmp_path, "dance")).communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("ERROR config: ") and "'mode'" in err and err.count("\n") == 1


def test_bad_ros_arguments_are_one_line(tmp_path: Path) -> None:
    _, err = (process := start(tmp_path, "spin", "--params-file", "/nowhere.yaml")).communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("ERROR config: ")  # rcl logs a line of its own before it
    assert "Traceback" not in err


def test_exception_in_a_callback_ends_the_process_after_cleaning_up(tmp_path: Path) -> None:
    out, err = (process := start(tmp_path, "crash")).communicate(timeout=60)
    assert (process.returncode, out) == (1, "READY probe\nEXIT\n")
    assert "ZeroDivisionError: bug" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_around_ready_is_no_crash(tmp_path: Path, number: signal.Signals) -> None:
    """Regression: the executor was made after READY, and failed with a traceback when the signal was faster."""
    hook = "    def on_exit(self):"
    early = f"    def start(self):\n        import os\n        os.kill(os.getpid(), {int(number)})\n\n"
    process = start(tmp_path, "spin", script=NODE.replace(hook, early + hook))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[-1], err) == (0, "EXIT", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_error_that_rclpy_makes_of_a_signal_is_no_crash(tmp_path: Path, number: signal.Signals) -> None:
    """Regression: a signal while a message was taken came as `RuntimeError: Unable to convert call argument`."""
    handled = (
        "        import signal\n        try:\n"
        f"            signal.getsignal({int(number)})({int(number)}, None)\n"  # the context doesn't know yet
        "        except KeyboardInterrupt:\n            raise RuntimeError('unable') from None\n"
    )
    tick = "    def tick(self):\n"
    out, err = (process := start(tmp_path, "spin", script=NODE.replace(tick, tick + handled))).communicate(timeout=60)
    assert (process.returncode, out) == (0, "READY probe\nEXIT\n")
    assert err == "ended by a signal, within which: RuntimeError('unable')\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_node_that_is_still_starting(tmp_path: Path, number: signal.Signals) -> None:
    """Regression: SIGTERM only ended the ROS context, and a node that loaded weights went on doing so."""
    hook = "    def on_exit(self):"
    slow = (
        "    def start(self):\n        import time\n        print('STARTING', flush=True)\n        time.sleep(100)\n\n"
    )
    process = start(tmp_path, "spin", script=NODE.replace(hook, slow + hook))
    assert process.stdout is not None
    assert process.stdout.readline() == "STARTING\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "EXIT\n", "")


def test_a_stuck_node_tells_where_it_is_before_it_is_killed(tmp_path: Path) -> None:
    """Regression: a camera node didn't end for two minutes, and nobody could say where it was."""
    end = '        print("EXIT", flush=True)\n'
    stuck = f"{end}        import time\n        time.sleep(100)\n"
    process = start(tmp_path, "spin", script=NODE.replace(end, stuck))
    assert process.stdout is not None
    assert process.stdout.readline() == "READY probe\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "EXIT\n"
    process.send_signal(signal.SIGTERM)  # ignored by now
    process.send_signal(signal.SIGABRT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in err and " in on_exit\n" in err


def test_a_middleware_that_does_not_let_go_is_left(tmp_path: Path) -> None:
    """Regression: a camera node that had cleaned up stayed for two minutes. Here a destructor blocks, lock and all."""
    hook = "    def on_exit(self):"
    stuck = (
        "    def destroy_node(self):\n        import ctypes\n        ctypes.PyDLL(None).sleep(100)\n\n"
        "    def on_exit(self):"
    )
    quick = NODE.replace(
        "sys.exit(run(Probe))", "import vla_ros.node\nvla_ros.node._MIDDLEWARE_S = 2.0\nsys.exit(run(Probe))"
    )
    process = start(tmp_path, "spin", script=quick.replace(hook, stuck))
    assert process.stdout is not None
    assert process.stdout.readline() == "READY probe\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (LEFT_MIDDLEWARE, "EXIT\n")
    assert " in destroy_node\n" in err, "it says where it was"
