"""Set-up: stamps, repaired wheels, the environment file, and what a failing command reports."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker

from vla_bringup import cli
from vla_bringup.setup import environment, lock, wheels
from vla_bringup.setup.prepare import Checkout, child_environment, usable_venv
from vla_bringup.setup.progress import Progress, telling_line
from vla_bringup.setup.ros import RosInstallation
from vla_bringup.setup.stamp import Stamps, fingerprint
from vla_core.errors import SetupError

ROOT = Path(__file__).resolve().parents[3]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of what the set-up looks at, with a fake virtual environment."""
    root = tmp_path / "checkout"
    for relative in ("requirements/stack.txt", "requirements/dev.txt", "requirements/ros.txt"):
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("numpy==2.4.6\n")
    for relative in ("src/vla_msgs/msg/A.msg", "src/compat/tf2_msgs/package.xml", "src/vla_core/setup.py"):
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
    (root / ".venv/lib/python3.11/site-packages/ros_rcl.libs").mkdir(parents=True)
    (root / ".venv/bin").mkdir()
    (root / ".venv/bin/python").symlink_to(sys.executable)
    (root / "install/vla_msgs").mkdir(parents=True)
    return Checkout(root, None)


def _finish(checkout: Checkout) -> None:
    stamps = Stamps(checkout.stamps)
    for stage, key in checkout.fingerprints().items():
        stamps.finish(stage, key)


def test_a_finished_checkout_needs_nothing(checkout: Checkout) -> None:
    assert not checkout.current()
    _finish(checkout)
    assert checkout.current()


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("requirements/ros.txt", {"packages", "interfaces", "environment"}),
        ("src/vla_msgs/msg/A.msg", {"interfaces", "environment"}),
        ("src/vla_msgs/msg/New.msg", {"interfaces", "environment"}),
        ("src/vla_core/vla_core.py", set()),
    ],
)
def test_a_changed_file_repeats_its_stages_only(checkout: Checkout, file: str, stages: set[str]) -> None:
    before = checkout.fingerprints()
    (checkout.root / file).write_text("changed\n")
    after = checkout.fingerprints()
    assert {stage for stage in before if before[stage] != after[stage]} == stages


def test_another_ros_or_another_folder_repeats_everything(checkout: Checkout, tmp_path: Path) -> None:
    before = checkout.fingerprints()
    on_ros = Checkout(checkout.root, RosInstallation("jazzy", (Path("/opt/ros/jazzy"),), "3.12"))
    (on_ros.root / "src/vla_core/package.xml").write_text("x")
    checkout.root.rename(tmp_path / "moved")
    moved = Checkout(tmp_path / "moved", None).fingerprints()
    assert all(before[stage] != moved[stage] for stage in before)
    on_ros = Checkout(tmp_path / "moved", on_ros.ros)
    assert all(moved[stage] != key for stage, key in on_ros.fingerprints().items())


def test_removed_build_is_noticed(checkout: Checkout) -> None:
    _finish(checkout)
    (checkout.root / "install/vla_msgs").rmdir()
    assert not checkout.current()


@pytest.mark.parametrize("content", ["", "[1]", "{half"])
def test_a_broken_stamp_file_counts_as_nothing_done(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stamps.json"
    path.write_text(content)
    stamps = Stamps(path)
    assert not stamps.current("packages", "k")
    stamps.finish("packages", "k")
    assert Stamps(path).current("packages", "k")


def test_fingerprint_keeps_parts_apart() -> None:
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])


def test_a_moved_virtual_environment_is_not_used(checkout: Checkout) -> None:
    settings = checkout.venv / "pyvenv.cfg"
    settings.write_text(f"include-system-site-packages = false\ncommand = python -m venv {checkout.venv}\n")
    assert usable_venv(checkout, (PYTHON,))
    assert not usable_venv(checkout, ("3.9",))
    settings.write_text("include-system-site-packages = false\ncommand = python -m venv /elsewhere/.venv\n")
    assert not usable_venv(checkout, (PYTHON,))


def test_repair_points_baked_paths_here_and_is_idempotent(tmp_path: Path) -> None:
    """The ROS wheels carry their builder's include paths; messages can't be compiled against those."""
    path = tmp_path / "share/std_msgs/cmake/x.cmake"
    path.parent.mkdir(parents=True)
    path.write_text(
        'INCLUDES "/opt/python/cp311-cp311/include/python3.11;'
        '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include;${PREFIX}/include"'
    )
    assert wheels.repair(tmp_path, "/py/include", "/np/include") == 1
    assert path.read_text() == 'INCLUDES "/py/include;/np/include;${PREFIX}/include"'
    assert wheels.repair(tmp_path, "/py/include", "/np/include") == 0


@pytest.mark.parametrize(("value", "cuda"), [("None", False), ("'13.0'", True)])
def test_cuda_build_of_torch_is_recognised(tmp_path: Path, value: str, cuda: bool) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {value}\n")
    assert wheels.is_cuda_build(tmp_path) is cuda


def _source(text: str, path: Path, environ: dict[str, str]) -> dict[str, str]:
    path.write_text(text)
    output = subprocess.run(
        ["bash", "-uc", f". '{path}' && env -0"], env={"PATH": os.environ["PATH"], **environ},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return dict(line.split("=", 1) for line in output.split("\0") if "=" in line)


def test_environment_file_with_the_wheels(checkout: Checkout) -> None:
    text = environment.render(checkout.root, None)
    root = checkout.root
    got = _source(text, root / "env.sh", {"PYTHONPATH": "/opt/ros/half", "MUJOCO_GL": "osmesa"})
    messages = [f"{root}/install/{name}/lib/python3.11/site-packages" for name in ("vla_msgs", "tf2_msgs")]
    assert got["PYTHONPATH"].split(":") == [*messages, f"{root}/src/vla_core"]
    assert got["AMENT_PREFIX_PATH"] == f"{root}/install/vla_msgs:{root}/install/tf2_msgs:{root}/.venv"
    assert f"{root}/.venv/lib/python3.11/site-packages/ros_rcl.libs" in got["LD_LIBRARY_PATH"].split(":")
    assert got["FASTRTPS_DEFAULT_PROFILES_FILE"] == f"{root}/config/dds/fastdds_shm.xml"
    assert got["MUJOCO_GL"] == "osmesa", "a user's choice stays"
    assert got["PATH"].startswith(f"{root}/.venv/bin:")


def test_environment_file_on_a_ros_installation(checkout: Checkout) -> None:
    (checkout.root / "install/local_setup.bash").write_text("export AMENT_PREFIX_PATH=ours:$AMENT_PREFIX_PATH\n")
    text = environment.render(checkout.root, RosInstallation("jazzy", (Path("/opt/ros/jazzy"),), "3.12"))
    got = _source(text, checkout.root / "env.sh", {"AMENT_PREFIX_PATH": "/opt/ros/jazzy", "PYTHONPATH": "/opt/ros/py"})
    assert got["AMENT_PREFIX_PATH"] == "ours:/opt/ros/jazzy"
    assert got["PYTHONPATH"] == "/opt/ros/py"
    assert got["VLA_ROS"] == "jazzy"
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in got


def test_child_environment_drops_another_pythons_settings(tmp_path: Path) -> None:
    user = {"PYTHONPATH": "/x", "LD_LIBRARY_PATH": "/y", "PATH": "/bin", "HOME": "/no/such"}
    child = child_environment(user, tmp_path, keep_ros=True)
    assert child["PYTHONPATH"] == "/x", "colcon finds ROS's Python modules there"
    child = child_environment(user, tmp_path, keep_ros=False)
    assert child == {"PATH": "/bin", "PYTHONNOUSERSITE": "1", "HOME": str(tmp_path)}


def test_a_failing_command_reports_its_line_and_the_log(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = Progress(tmp_path / "log/setup.log", 1, stream)
    progress.step("packages")
    code = "print('ERROR: no matching wheel'); print('bye'); raise SystemExit(3)"
    with pytest.raises(SetupError, match=r"exit status 3 while: packages \(ERROR: no matching wheel\).*setup\.log"):
        progress.run([sys.executable, "-S", "-c", code], os.environ, tmp_path, lambda _: None)
    assert "bye" in progress.log.read_text()
    assert stream.getvalue().startswith("[1/1] packages")


def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="'/no/such' to start"):
        Progress(tmp_path / "log", 1, io.StringIO()).run(["/no/such"], {}, tmp_path, lambda _: None)


def test_telling_line() -> None:
    assert telling_line(["a", "fatal error: x.h", "make failed", ""]) == "fatal error: x.h"
    assert telling_line(["a", "b", ""]) == "b"
    assert telling_line([]) == "it printed nothing"


@pytest.mark.parametrize("half", wheels.HALVES)
def test_locks_pin_everything_listed_and_nothing_twice(half: str) -> None:
    pinned: list[str] = []
    for kind in lock.ORDER:
        pins = wheels.pins(ROOT / "requirements" / f"{kind}.txt", half)
        assert all(pin.count("==") == 1 for pin in pins)
        pinned += [pin.partition("==")[0] for pin in pins]
        assert {name.lower() for name in lock.wanted(ROOT / "requirements" / f"{kind}.in")} <= set(pinned)
    assert len(pinned) == len(set(pinned))


def test_installed_versions_are_the_locked_ones() -> None:
    """Regenerating the locks from this environment changes nothing in the list that the stack imports."""
    pins = wheels.pins(ROOT / "requirements" / "stack.txt", wheels.half_of(PYTHON))
    found = lock.closure(lock.wanted(ROOT / "requirements" / "stack.in"))
    assert sorted(f"{name}=={version}" for name, version in found.items()) == sorted(pins)


def test_locks_of_one_python_are_written_without_touching_the_other(tmp_path: Path) -> None:
    path = tmp_path / "stack.txt"
    lock.rewrite(path, "later", {"numpy": "2.4.6", "pin": "4.1.0"})
    old = {"numpy": "2.2.6", "pin": "4.1.0", "tomli": "2.5.0"}
    lock.rewrite(path, "3.10", old)
    assert path.read_text().splitlines()[1:] == [
        'numpy==2.2.6; python_version < "3.11"',
        'numpy==2.4.6; python_version >= "3.11"',
        "pin==4.1.0",
        'tomli==2.5.0; python_version < "3.11"',
    ]
    lock.rewrite(path, "later", {"numpy": "2.5.0", "pin": "4.2.0"})
    assert wheels.pins(path, "3.10") == [f"{name}=={version}" for name, version in old.items()]
    assert wheels.pins(path, "later") == ["numpy==2.5.0", "pin==4.2.0"]


@pytest.mark.parametrize("half", wheels.HALVES)
def test_shipped_locks_are_in_the_form_that_is_written(half: str, tmp_path: Path) -> None:
    for kind in lock.ORDER:
        shipped = ROOT / "requirements" / f"{kind}.txt"
        copy = tmp_path / shipped.name
        copy.write_bytes(shipped.read_bytes())
        lock.rewrite(copy, half, dict(pin.split("==") for pin in wheels.pins(shipped, half)))
        assert copy.read_text() == shipped.read_text()


def test_the_half_of_a_lock_follows_the_python() -> None:
    assert [wheels.half_of(python) for python in ("3.10", "3.11", "3.13")] == ["3.10", "later", "later"]
    markers = {half: Marker(mark) for half, mark in wheels.HALVES.items()}
    for python in ("3.10", "3.11", "3.12", "3.13"):
        assert [half for half, mark in markers.items() if mark.evaluate({"python_version": python})] == [
            wheels.half_of(python)
        ]


def test_help_lists_exactly_the_commands_that_exist() -> None:
    text = subprocess.run([ROOT / "vla"], capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted([*cli.COMMANDS, "test", "setup", "python", "shell"])
