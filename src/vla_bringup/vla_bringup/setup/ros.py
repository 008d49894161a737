"""Find a ROS 2 installation in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import SetupError


@dataclass(frozen=True)
class RosInstallation:
    """A sourced ROS 2.

    Attributes:
        distro: Name, e.g. 'jazzy'.
        prefixes: AMENT_PREFIX_PATH without this checkout's own folders.
        python: 'major.minor' that its rclpy is built for.
    """

    distro: str
    prefixes: tuple[Path, ...]
    python: str

    def has_package(self, name: str) -> bool:
        """Whether the installation (or an underlay) ships a ROS package."""
        return any((prefix / "share" / name / "package.xml").is_file() for prefix in self.prefixes)


def find_installation(environ: Mapping[str, str], root: Path) -> RosInstallation | None:
    """The ROS 2 that is sourced, or None where the wheels are to be used.

    Args:
        environ: The user's environment.
        root: This checkout; its own folders never count as an installation.

    Raises:
        SetupError: ROS_DISTRO is set but no rclpy lies under AMENT_PREFIX_PATH.
    """
    distro = environ.get("ROS_DISTRO", "")
    if not distro:
        return None
    everything = [Path(prefix) for prefix in environ.get("AMENT_PREFIX_PATH", "").split(":") if prefix]
    prefixes = tuple(prefix for prefix in everything if not prefix.is_relative_to(root))
    for prefix in prefixes:
        for pattern in ("lib/python3.*/site-packages/rclpy", "local/lib/python3.*/dist-packages/rclpy"):
            for package in sorted(prefix.glob(pattern)):
                return RosInstallation(distro, prefixes, package.parent.parent.name.removeprefix("python"))
    raise SetupError(
        f"ROS_DISTRO={distro} and no rclpy under AMENT_PREFIX_PATH",
        "a sourced ROS 2 installation, or none",
        f"source /opt/ros/{distro}/setup.bash, or unset ROS_DISTRO to use the wheels",
    )
