"""Build message packages with colcon; on a ROS installation, the whole workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vla_bringup.setup.progress import Progress
from vla_bringup.setup.ros import RosInstallation

COLCON = "import sys; from colcon_core.command import main; sys.exit(main())"


def compat_packages(src: Path) -> list[str]:
    """Interface packages that are kept here because the wheels lack them."""
    return sorted(path.parent.name for path in (src / "compat").glob("*/package.xml"))


def message_packages(src: Path, ros: RosInstallation | None) -> list[str]:
    """Interface packages to build: ours, and what the ROS installation doesn't ship."""
    return ["vla_msgs", *(name for name in compat_packages(src) if ros is None or not ros.has_package(name))]


def python_packages(src: Path) -> list[str]:
    """The workspace's Python packages, by folder name."""
    return sorted(path.parent.name for path in src.glob("*/setup.py"))


def colcon_arguments(src: Path, ros: RosInstallation | None, python: Path) -> list[str]:
    """Arguments after `colcon`."""
    names = message_packages(src, ros) + (python_packages(src) if ros else [])
    links = ["--symlink-install"] if ros else []
    shipped = [name for name in compat_packages(src) if name not in names]
    ignored = ["--packages-ignore", *shipped] if shipped else []  # else colcon misses it in `install/`
    return [
        "build", "--base-paths", "src", *links, *ignored, "--packages-select", *names,
        "--cmake-args", f"-DPython3_EXECUTABLE={python}", f"-DPYTHON_EXECUTABLE={python}",  # the latter for Humble
        "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release", "--no-warn-unused-cli",
    ]  # fmt: skip


def build(
    python: Path, root: Path, ros: RosInstallation | None, environ: Mapping[str, str], progress: Progress
) -> None:
    """Build into `install/`.

    Args:
        python: Interpreter of the virtual environment.
        root: Checkout.
        ros: Sourced installation, None with the wheels.
        environ: Environment of the child.
        progress: Where to report.

    Raises:
        SetupError: colcon failed.
    """
    child = dict(environ)
    if ros is None:
        prefix = str(python.parent.parent)
        child |= {"AMENT_PREFIX_PATH": prefix, "CMAKE_PREFIX_PATH": prefix}
    command = [str(python), "-c", COLCON, *colcon_arguments(root / "src", ros, python)]
    progress.run(command, child, root, lambda line: line.strip() if line.startswith(("Starting", "Finished")) else None)
