"""Write `.venv/ros_env.sh`: everything that a process of this workspace needs, to be sourced in bash or zsh."""

from __future__ import annotations

import shlex
from pathlib import Path

from vla_bringup.setup.interfaces import message_packages, python_packages
from vla_bringup.setup.ros import RosInstallation

HEADER = "# Written by ./vla: what a process of this workspace needs. Source it in bash or zsh.\n"
# Values that a user may have set already; `name: default`. One BLAS thread: the work per call is tiny, and idle
# BLAS threads spin on the cores that the servo needs. Torch's threads sleep while they wait for each other: spinning,
# they keep the one that they wait for off its core (measured beside two busy processes: p95 of a step 40 ms, not 394).
DEFAULTS = {"MUJOCO_GL": "egl", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def render(root: Path, ros: RosInstallation | None) -> str:
    """Text of the environment file.

    Args:
        root: Checkout, set up with its virtual environment.
        ros: Sourced installation, None with the wheels.
    """
    venv = root / ".venv"
    values = {
        "VLA_ROOT": str(root),
        "VIRTUAL_ENV": str(venv),
        "VLA_ROS": ros.distro if ros else "wheels",
        "PYTHONNOUSERSITE": "1",
    }
    defaults = dict(DEFAULTS, FASTRTPS_DEFAULT_PROFILES_FILE=str(root / "config" / "dds" / "fastdds_shm.xml"))
    if ros is None:
        defaults["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        values |= _wheel_paths(root)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    lines += [f'export {name}="${{{name}:-{value}}}"' for name, value in defaults.items()]
    lines.append(f'export PATH={shlex.quote(str(venv / "bin"))}:"$PATH"')
    if ros is not None:
        lines.append(f". {shlex.quote(str(root / 'install' / 'local_setup.bash'))}")
    return HEADER + "\n".join(lines) + "\n"


def _wheel_paths(root: Path) -> dict[str, str]:
    """Search paths where ROS comes from the wheels. They replace the user's: a half-sourced ROS must not leak in."""
    venv, install, src = root / ".venv", root / "install", root / "src"
    site_packages = next((venv / "lib").glob("python3.*/site-packages"))
    messages = [install / name for name in message_packages(src, None)]
    python = [prefix / site_packages.relative_to(venv) for prefix in messages]
    python += [src / name for name in python_packages(src)]
    libraries = [prefix / "lib" for prefix in (*messages, venv)] + sorted(site_packages.glob("ros_*.libs"))
    return {
        "PYTHONPATH": _joined(python),
        "AMENT_PREFIX_PATH": _joined([*messages, venv]),
        "CMAKE_PREFIX_PATH": _joined([*messages, venv]),
        "LD_LIBRARY_PATH": _joined(libraries),
        # The wheels restart each Python to set LD_LIBRARY_PATH unless told that it is set.
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    }


def _joined(paths: list[Path]) -> str:
    return ":".join(str(path) for path in paths)
