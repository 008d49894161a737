"""Parts of `vla bench line` that can be checked without measuring anything."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from vla_bringup.bench import c_loop, contact, ik
from vla_bringup.bench.cpu import CpuShares, tree_cpu_s
from vla_bringup.bench.line import bench_graph
from vla_bringup.bench.servo import History, SwayingArm, measure, swaying_plan
from vla_bringup.graph import GraphOptions
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import load_robot_config
from vla_core.errors import SetupError
from vla_core.files import load_yaml, workspace_root


def test_c_loop_gives_one_latency_per_wake_up() -> None:
    late = c_loop.wake_us(0.001, 50, 0)
    assert len(late) == 50 and min(late) >= 0.0


def test_c_loop_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_loop.shutil, "which", lambda _: None)
    with pytest.raises(SetupError, match="fix: apt-get install gcc"):
        c_loop.wake_us(0.001, 5, 0)


def test_the_servo_loop_is_measured_over_its_whole_run() -> None:
    found = measure(1.0, 0)
    assert found["tick_us"]["n"] > 0 and found["wake_us"]["n"] == found["tick_us"]["n"]
    assert found["fifo_priority"] == 0 and found["tick_us"]["max"] >= found["tick_us"]["p50"] > 0.0


def test_the_arm_of_the_servo_benchmark_follows_a_consistent_plan() -> None:
    config = load_robot_config("panda")
    plan = swaying_plan(config)
    q, qd, dt = plan["q"][0], plan["qd"][0], float(plan["knot_dt_s"][0])
    middle = (q[2:] - q[:-2]) / (2 * dt)
    assert np.abs(middle - qd[1:-1]).max() < 0.03 * np.abs(qd).max()
    assert np.all(np.abs(qd[:, : len(config.joints)]) < config.velocity_rad_s)
    arm = SwayingArm(config, plan)
    before = int(arm.state["stamp_ns"][0])
    assert arm.read() and int(arm.state["stamp_ns"][0]) == before + 1_000_000


def test_history_keeps_samples_and_stays_within_its_room() -> None:
    history = History(10, 3, begin_ns=0)
    for i in range(5):
        history.add(float(i), 0.5)
    assert history.samples.tolist() == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    warming_up = History(10, 3, begin_ns=1 << 62)
    warming_up.add(1.0, 0.5)
    assert warming_up.count == 0


def test_cpu_shares_count_children() -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.5: pass"
    start = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {burn!r}])"
    script = f"{start}; print(flush=True); input(); child.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        shares = CpuShares({"burner": child.pid})
        child.stdout.readline()  # its own child is burning now
        for _ in range(1000):
            if shares.shares()["burner"] > 0.0:
                break
            time.sleep(0.01)
        grown = shares.shares()["burner"]
        child.stdin.close()
    assert grown > 0.0


def test_bench_graph_only_swaps_the_cameras() -> None:
    graph = bench_graph(GraphOptions(link="x", lockstep=False))
    names = [node.name for node in graph.nodes]
    assert "camera_node" not in names and "bench_cameras_node" in names and len(names) == len(set(names))
    node = graph.node("bench_cameras_node")
    schema = load_yaml(workspace_root() / "src/vla_bringup/vla_bringup/parameters/bench_cameras_node.yaml")
    values = load_yaml(node.parameter_path)["/**/bench_cameras_node"]["ros__parameters"]
    assert set(values) | set(node.overrides) == set(schema) | {"use_sim_time"}


def test_this_process_has_used_time() -> None:
    assert tree_cpu_s(os.getpid()) > 0.0


def test_the_clamp_bounds_the_steady_force_on_the_wall_and_a_stiff_position_loop_does_not() -> None:
    params = ServoParameters.from_config()
    laws = {law.name: law for law in contact.laws(params)}
    clamped = laws[f"operational space, clamp {params.force_clamp_n:g} N"]
    blind = contact.press(clamped, params, contact.POLICIES["blind, 5 cm behind the wall"], 0.06)
    assert 0.7 * params.force_clamp_n < blind.steady_n < 1.1 * params.force_clamp_n
    feeling = contact.press(clamped, params, contact.POLICIES["holds at 5 N"], 0.06)
    assert feeling.steady_n < 0.5 * blind.steady_n
    stiff = contact.press(laws["stiff position"], params, contact.POLICIES["blind, 5 cm behind the wall"], 0.06)
    assert stiff.peak_n > 4.0 * blind.peak_n and stiff.steady_n > 4.0 * blind.steady_n


def test_inverse_kinematics_is_measured_on_a_motion_that_needs_its_barriers() -> None:
    rows = ik.measure(argparse.Namespace(chunks=13, robot="panda"), lambda text: None)
    nearest_mm = {row["conditions"]: row["nearest_mm"] for row in rows}
    pressed = "hand pressed towards the table"
    assert nearest_mm[f"{pressed}, without"] < 0.0 < 18.5 < nearest_mm[f"{pressed}, with barriers"]
    assert nearest_mm["free, without"] == nearest_mm["free, with barriers"] > 10.0
    assert all(row["n"] == 13 and row["p50"] > 0.0 for row in rows)
