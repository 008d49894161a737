"""Bring a checkout to the point where `vla` commands run; do nothing where it is there already."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vla_bringup.setup import environment, interfaces, interpreter, system, wheels
from vla_bringup.setup.progress import Progress
from vla_bringup.setup.ros import RosInstallation, find_installation
from vla_bringup.setup.stamp import Stamps, fingerprint
from vla_core.errors import SetupError

# Set by virtual environments, ROS and the wheels: with our wheels none of it may reach pip, cmake or colcon.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
LOCKS = ("stack.txt", "dev.txt")
WHEEL_LOCKS = ("ros.txt",)


@dataclass(frozen=True)
class Checkout:
    """A working copy and the ROS that it is used with.

    Attributes:
        root: Folder that holds `vla` and `src/`.
        ros: Sourced ROS installation; None with the wheels.
    """

    root: Path
    ros: RosInstallation | None

    @property
    def venv(self) -> Path:
        """Virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    @property
    def stamps(self) -> Path:
        """File that says which stages are finished."""
        return self.venv / "vla_stamps.json"

    @property
    def built(self) -> bool:
        """Whether `install/` holds our messages."""
        return (self.root / "install" / "vla_msgs").is_dir()

    @property
    def locks(self) -> list[Path]:
        """Lock files to install: the ROS wheels only where no ROS is sourced."""
        names = LOCKS if self.ros else LOCKS + WHEEL_LOCKS
        return [self.root / "requirements" / name for name in names]

    def fingerprints(self) -> dict[str, str]:
        """What each stage is made from, as stage → hash. Reads small files only."""
        src, here = self.root / "src", Path(__file__).parent
        kind = f"{self.ros.distro} {self.ros.prefixes}" if self.ros else "wheels"
        packages = fingerprint([str(self.root), kind], [*self.locks, here / "wheels.py"])
        folders = [src / "vla_msgs", *(src / "compat" / name for name in interfaces.compat_packages(src))]
        sources = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
        names = interfaces.python_packages(src)
        if self.ros:
            sources += [src / name / file for name in names for file in ("package.xml", "setup.py")]
            names += [str(p) for top in ("launch", "config") for p in (self.root / top).rglob("*")]
        built = fingerprint([packages, *sorted(names)], [*sources, here / "interfaces.py"])
        return {
            "packages": packages,
            "interfaces": built,
            "environment": fingerprint([built, *names], [here / "environment.py"]),
        }

    def current(self) -> bool:
        """Whether nothing is left to do."""
        if not (self.python.exists() and self.built):
            return False
        keys, stamps = self.fingerprints(), Stamps(self.stamps)
        return all(stamps.current(stage, key) for stage, key in keys.items())


def prepare(root: Path, environ: Mapping[str, str]) -> None:
    """Do all set-up that is missing.

    Args:
        root: Checkout.
        environ: The user's environment.

    Raises:
        SetupError: the machine lacks something, or a step failed.
    """
    checkout = Checkout(root, find_installation(environ, root))
    if checkout.current():
        return
    with exclusive(root):
        if checkout.current():
            return
        _set_up(checkout, environ)


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """One set-up at a time; a second one waits here."""
    (root / "log").mkdir(exist_ok=True)
    with (root / "log" / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: another set-up of this checkout is running", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_up(checkout: Checkout, environ: Mapping[str, str]) -> None:
    keys, stamps = checkout.fingerprints(), Stamps(checkout.stamps)
    fresh = not (checkout.python.exists() and stamps.current("packages", keys["packages"]))
    progress = Progress(checkout.root / "log" / "setup.log", 4 if fresh else 1)
    system.require_tools()
    drawing = system.missing_drawing()
    if drawing:
        names, command = ", no ".join(drawing), system.apt_command(drawing.values())
        progress.warn(f"simulated cameras will not draw, there is no {names}: {command}")
    with tempfile.TemporaryDirectory() as home:
        child = child_environment(environ, Path(home), keep_ros=checkout.ros is not None)
        if fresh:
            _install(checkout, environ, child, progress)
            stamps.finish("packages", keys["packages"])
        progress.step("message packages" if checkout.ros is None else "workspace")
        if fresh or not (stamps.current("interfaces", keys["interfaces"]) and checkout.built):
            interfaces.build(checkout.python, checkout.root, checkout.ros, child, progress)
            stamps.finish("interfaces", keys["interfaces"])
        progress.done()
    text = environment.render(checkout.root, checkout.ros)
    (checkout.venv / "ros_env.sh").write_text(text, encoding="utf-8")
    stamps.finish("environment", keys["environment"])


def _install(checkout: Checkout, environ: Mapping[str, str], child: Mapping[str, str], progress: Progress) -> None:
    progress.step("virtual environment")
    ensure_venv(checkout, environ, child, progress)
    progress.done()
    progress.step(f"packages, 2 GB into {checkout.venv}")
    wheels.install(checkout.python, checkout.locks, child, checkout.root, progress)
    if checkout.ros is None:
        wheels.repair(checkout.venv, *include_folders(checkout.python, child))
    progress.done()
    progress.step("byte code")
    wheels.compile_byte_code(checkout.python, child, checkout.root, progress)
    progress.done()


def ensure_venv(checkout: Checkout, environ: Mapping[str, str], child: Mapping[str, str], progress: Progress) -> None:
    """Make the virtual environment, or keep one that works, lies here and has the wanted Python version.

    Raises:
        SetupError: no usable interpreter.
    """
    wanted = (checkout.ros.python,) if checkout.ros else interpreter.SUPPORTED
    unsupported = set(wanted) - set(interpreter.SUPPORTED)
    if checkout.ros and unsupported:
        raise SetupError(
            f"ROS 2 {checkout.ros.distro} on Python {checkout.ros.python}",
            f"Python {', '.join(interpreter.SUPPORTED)}",
            "use ROS 2 Humble, Jazzy or Kilted, or unset ROS_DISTRO to use the wheels",
        )
    if usable_venv(checkout, wanted):
        return
    # A ROS installation belongs to the system's Python: look there before PATH.
    first = [f"/usr/bin/python{version}" for version in wanted] if checkout.ros else []
    chosen = interpreter.choose([*first, *interpreter.candidates(environ, wanted)], wanted)
    options = ["--clear", *(["--system-site-packages"] if checkout.ros else [])]
    command = [chosen.path, "-m", "venv", *options, str(checkout.venv)]
    progress.run(command, child, checkout.root, lambda _: None)


def usable_venv(checkout: Checkout, versions: tuple[str, ...]) -> bool:
    """Whether the checkout's virtual environment runs, hasn't been moved and sees (only) what it should."""
    try:
        settings = (checkout.venv / "pyvenv.cfg").read_text(encoding="utf-8").lower()
    except OSError:
        return False
    found = interpreter.probe(str(checkout.python))
    shared = "include-system-site-packages = true" in settings
    moved = f"{checkout.venv}".lower() not in settings
    return found is not None and found.version in versions and shared == (checkout.ros is not None) and not moved


def include_folders(python: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """Header folders of the virtual environment's Python and of its numpy."""
    code = "import numpy, sysconfig; print(sysconfig.get_path('include')); print(numpy.get_include())"
    answer = subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=dict(environ), check=False)
    lines = answer.stdout.split("\n")
    if answer.returncode != 0 or len(lines) < 2:
        reason = answer.stderr.strip().rpartition("\n")[2]
        raise SetupError(f"numpy that fails ({reason})", "a working numpy", "remove .venv, start again")
    return lines[0], lines[1]


def child_environment(environ: Mapping[str, str], home: Path, keep_ros: bool) -> dict[str, str]:
    """Environment of pip, cmake and colcon: the user's, less what another Python or a half-sourced ROS left in it.

    Args:
        environ: The user's environment.
        home: Folder to write to where HOME is unset or missing.
        keep_ros: A ROS installation is used: colcon needs the search paths that sourcing it has set.
    """
    dropped = () if keep_ros else FOREIGN
    child = {name: value for name, value in environ.items() if name not in dropped}
    child["PYTHONNOUSERSITE"] = "1"
    if "HOME" not in child or not os.access(child["HOME"], os.W_OK):
        child["HOME"] = str(home)
    return child
