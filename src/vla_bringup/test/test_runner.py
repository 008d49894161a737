"""Processes of a graph: READY, death, shutdown, leftovers. The nodes are tiny scripts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vla_bringup.graph import GraphOptions, tabletop_graph
from vla_bringup.jobs import Job, launch_jobs, node_command, process_jobs
from vla_bringup.runner import Runner, link_files
from vla_core.errors import GraphError
from vla_ros.node import LEFT_MIDDLEWARE

POLITE = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print("READY NAME", flush=True)
while True: signal.pause()
"""
DEAF = POLITE.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
STUBBORN = DEAF.replace("print(", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(")


def job(name: str, script: str) -> Job:
    return Job(name, (sys.executable, "-c", script.replace("NAME", name)), (name,))


def link() -> str:
    return f"test{os.getpid()}"


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_all_ready_then_all_gone(tmp_path: Path) -> None:
    ready: list[str] = []
    runner = Runner([job("a", POLITE), job("b", POLITE)], link(), tmp_path)
    runner.start(ready.append)
    pids = list(runner.pids.values())
    runner.check()
    report = runner.stop()
    assert sorted(ready) == ["a", "b"]
    assert report.clean and runner.stop() is report
    assert not any(alive(pid) for pid in pids)


def test_a_death_is_named_with_its_last_lines(tmp_path: Path) -> None:
    script = POLITE.replace("while True: signal.pause()", 'import time; time.sleep(0.2); sys.exit("ran out of sugar")')
    runner = Runner([job("a", POLITE), job("b", script)], link(), tmp_path)
    with runner, pytest.raises(GraphError, match=r"(?s)got b ended with status 1: .*ran out of sugar"):
        for _ in range(1000):
            runner.check()
            time.sleep(0.01)
    assert runner.report is not None and runner.report.failed == {"b": 1}
    assert "ran out of sugar" in runner.report.last_words["b"]


def patient(runner: Runner, done: Callable[[], bool]) -> None:
    for _ in range(1000):
        runner.check()
        if done():
            return
        time.sleep(0.01)
    pytest.fail("nothing happened")


def test_a_job_that_may_be_started_again_is_and_it_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    again = replace(job("a", POLITE), respawn_delay_s=0.1)
    with Runner([again, job("b", POLITE)], link(), tmp_path, say=said.append) as runner:
        first, other = runner.pids["a"], runner.pids["b"]
        os.kill(first, signal.SIGKILL)
        patient(runner, lambda: runner.log("a").read_text().count("READY a") == 2)
        assert runner.pids["a"] != first and runner.pids["b"] == other
    assert said == ["a ended with status -9; it is started again in 0.1 s"]
    assert runner.report is not None and runner.report.clean


def test_a_job_that_keeps_dying_ends_the_graph(tmp_path: Path) -> None:
    script = POLITE.replace("while True: signal.pause()", 'import time; time.sleep(0.1); sys.exit("ran out of sugar")')
    said: list[str] = []
    runner = Runner([replace(job("a", script), respawn_delay_s=0.0)], link(), tmp_path, say=said.append)
    with runner, pytest.raises(GraphError, match=r"(?s)got a ended with status 1: .*ran out of sugar"):
        patient(runner, lambda: False)
    assert len(said) == 3


def test_a_refused_start_gives_the_sentence_and_stops_the_others(tmp_path: Path) -> None:
    script = 'import sys; print("noise"); print("ERROR weights: got x; expected y; fix: z"); sys.exit(2)'
    runner = Runner([job("a", POLITE), job("b", script)], link(), tmp_path)
    with pytest.raises(GraphError, match="got b ended with status 2: ERROR weights: got x; expected y; fix: z;"):
        runner.start()
    assert not any(alive(pid) for pid in runner.pids.values())


def test_no_ready_in_time(tmp_path: Path) -> None:
    runner = Runner([job("a", POLITE.replace("READY", "STARTING"))], link(), tmp_path, start_timeout_s=0.5)
    with pytest.raises(GraphError, match=r"(?s)got no READY from a within 0.5 s: .*STARTING a"):
        runner.start()


def test_a_deaf_process_is_terminated_and_a_stubborn_one_killed(tmp_path: Path) -> None:
    jobs = [job("a", POLITE), job("b", DEAF), job("c", STUBBORN)]
    with Runner(jobs, link(), tmp_path, grace_s=0.3) as runner:
        pass
    report = runner.report
    assert report is not None and not report.clean
    assert (report.terminated, report.killed) == (("b",), ("c",))
    assert report.failed == {"b": -signal.SIGTERM, "c": -signal.SIGABRT}
    assert {name: text.strip() for name, text in report.last_words.items()} == {"b": "READY b", "c": "READY c"}


def test_a_node_that_left_the_middleware_behind_is_named_and_no_failure(tmp_path: Path) -> None:
    left = POLITE.replace("lambda *_: sys.exit(0)", f"lambda *_: sys.exit({LEFT_MIDDLEWARE})")
    with Runner([job("a", POLITE), job("b", left)], link(), tmp_path) as runner:
        pass
    assert runner.report is not None and runner.report.clean
    assert (runner.report.left_middleware, runner.report.failed) == (("b",), {})


def test_jobs_can_be_interrupted_where_the_runner_ignores_it(tmp_path: Path) -> None:
    """Regression: a shell's background jobs ignore SIGINT, nodes inherited that and stayed when they were to end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        script = 'import time; print("READY NAME", flush=True); time.sleep(100)'
        with Runner([job("a", script)], link(), tmp_path, grace_s=20.0) as runner:
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    assert runner.report is not None and runner.report.terminated == () and "KeyboardInterrupt" in runner.tail("a")


def test_files_of_our_link_are_removed_and_no_others(tmp_path: Path) -> None:
    name = link()
    ours = [Path(f"/dev/shm/vla_{name}_{box}") for box in ("state", "plan", "status.123")]
    other = Path(f"/dev/shm/vla_{name}_x_state")  # belongs to the link '<name>_x'
    try:
        for path in [*ours, other]:
            path.write_bytes(b"")
        assert link_files(name) == sorted(ours)
        with Runner([job("a", POLITE)], name, tmp_path) as runner:
            pass
        assert runner.report is not None
        assert runner.report.left_behind == tuple(sorted(path.name for path in ours))
        assert link_files(name) == [] and other.exists()
    finally:
        other.unlink(missing_ok=True)


def test_a_latched_stop_that_a_monitor_leaves_is_removed_and_no_fault(tmp_path: Path) -> None:
    name = link()
    path = Path(f"/dev/shm/vla_{name}_safety")
    path.write_bytes(b"")
    with Runner([job("a", POLITE)], name, tmp_path) as runner:
        pass
    assert runner.report is not None and runner.report.clean and not path.exists()


def test_nodes_follow_a_killed_runner(tmp_path: Path) -> None:
    """Regression guard: a runner that dies by SIGKILL must not leave a robot driven by orphans."""
    script = f"""
import os, signal, sys
from pathlib import Path
from vla_bringup.jobs import Job
from vla_bringup.runner import Runner
runner = Runner([Job("a", (sys.executable, "-c", {POLITE.replace("NAME", "a")!r}), ("a",))], "{link()}", Path({str(tmp_path)!r}))
runner.start()
print(runner.pids["a"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""  # noqa: E501
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    pid = int(out.stdout)
    for _ in range(1000):
        if not alive(pid):
            break
        time.sleep(0.01)
    assert not alive(pid)


# A node whose child leads a session of its own, and a parent of it, as `ros2 launch` is.
NODE = """
import signal, subprocess, sys
loop = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
def end(*_):
    loop.terminate(), loop.wait(), open("FOLDER/ended", "w").close(), sys.exit(0)
signal.signal(signal.SIGINT, end)
print("PID", loop.pid, flush=True)
while True: signal.pause()
"""
LAUNCH = """
import signal, subprocess, sys
node = subprocess.Popen([sys.executable, "-c", NODE])
signal.signal(signal.SIGINT, lambda *_: (node.send_signal(signal.SIGINT), node.wait(), sys.exit(0)))
print("PID", node.pid, flush=True)
while True: signal.pause()
"""


def launch(folder: Path) -> Runner:
    """Runner of a launch with a node that makes the file `ended` when it is interrupted."""
    script = LAUNCH.replace("NODE", repr(NODE.replace("FOLDER", str(folder))))
    return Runner([Job("launch", (sys.executable, "-c", script), ())], link(), folder)


def printed_pids(runner: Runner, count: int) -> list[int]:
    for _ in range(1000):
        pids = [int(pid) for pid in re.findall(r"PID (\d+)\n", runner.log("launch").read_text())]
        if len(pids) == count:
            return pids
        time.sleep(0.01)
    raise AssertionError(runner.log("launch").read_text())


def await_death(runner: Runner) -> None:
    for _ in range(1000):
        runner.check()
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nodes_of_a_launch_that_is_killed_end_in_their_own_way(tmp_path: Path, number: signal.Signals) -> None:
    """Regression guard: they got SIGKILL at once, and the servo loop, in a session of its own, outlived the runner."""
    with launch(tmp_path) as runner, pytest.raises(GraphError, match=f"got launch ended with status -{int(number)}"):
        pids = printed_pids(runner, 2)
        os.kill(runner.pids["launch"], number)
        await_death(runner)
    assert not any(alive(pid) for pid in pids)
    assert (tmp_path / "ended").exists(), "the node was not interrupted"
    report = runner.report
    assert report is not None and not report.clean
    assert (report.orphaned, report.terminated, report.killed) == (("launch",), (), ())


def test_a_launch_that_is_interrupted_ends_its_own_nodes(tmp_path: Path) -> None:
    with launch(tmp_path) as runner:
        pids = printed_pids(runner, 2)
    assert runner.report is not None and runner.report.clean
    assert (tmp_path / "ended").exists() and not any(alive(pid) for pid in pids)


def test_a_stubborn_orphan_is_killed_in_whatever_session(tmp_path: Path) -> None:
    child = STUBBORN.replace('"READY NAME"', '"PID", __import__("os").getpid()')
    script = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True, stdout=sys.stdout)
time.sleep(1)
"""
    runner = Runner([Job("launch", (sys.executable, "-c", script), ())], link(), tmp_path, grace_s=0.2)
    with runner, pytest.raises(GraphError, match="got launch ended with status 0"):
        (pid,) = printed_pids(runner, 1)
        await_death(runner)
    report = runner.report
    assert report is not None and not alive(pid)
    assert (report.orphaned, report.killed, report.failed) == (("launch",), ("launch",), {})


def test_the_first_node_to_die_in_a_launch_is_named_with_its_own_words(tmp_path: Path) -> None:
    runner = Runner([Job("launch", ("true",), ())], link(), tmp_path)

    def told(*lines: str) -> str:
        runner.log("launch").write_text("".join(line + "\r\n" for line in lines), newline="")
        return runner.tail("launch")

    ready, follows = "[a-1] READY a", "[b-2] ERROR link: got x; expected y; fix: z"
    killed = "\x1b[31m[ERROR] [a-1]: process has died [pid 7, exit code -9, cmd 'x --a [b]'].\x1b[0m"
    refused = killed.replace("-9", "2")
    error, then = "[a-1] ERROR weights: got w; expected x; fix: y", follows.replace("ERROR", "[ERROR]")
    assert told(ready, killed, follows) == f"a-1 died with exit code -9\n{ready}"
    assert told(ready, error, then, refused, follows) == error.removeprefix("[a-1] ")


def test_node_command_quotes_texts_and_keeps_types() -> None:
    graph = tabletop_graph(GraphOptions(instruction='say "hi": 1', namespace="arm", seed=5))
    command = node_command(graph.node("sim_node"))
    assert command[:4] == (sys.executable, "-m", "vla_sim.sim_node", "--ros-args")
    assert "__ns:=/arm" in command and "seed:=5" in command and "lockstep:=true" in command
    assert r'instruction:="say \"hi\": 1"' in command


def test_jobs_cover_the_graph_either_way() -> None:
    graph = tabletop_graph(GraphOptions(seed=2, lockstep=False))
    every = tuple(node.name for node in graph.nodes)
    assert tuple(name for one in process_jobs(graph) for name in one.nodes) == every
    (launch,) = launch_jobs(graph)
    assert launch.nodes == every and launch.command[-1].startswith("link:=")
    assert {"seed:=2", "lockstep:=false"} <= set(launch.command)
