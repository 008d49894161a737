"""What the machine itself must provide, found by trying what is really used."""

from __future__ import annotations

import ctypes.util
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from vla_core.errors import SetupError


def missing_tools(which: Callable[[str], str | None] = shutil.which) -> dict[str, str]:
    """Build tools that aren't on PATH: tool → Debian package."""
    missing = {}
    if not which("cmake"):
        missing["cmake"] = "cmake"
    if not (which("c++") or which("g++")):
        missing["a C++ compiler"] = "g++"
    if not (which("make") or which("ninja")):
        missing["make"] = "make"
    return missing


def missing_drawing(
    find_library: Callable[[str], str | None] = ctypes.util.find_library, root: Path = Path("/")
) -> dict[str, str]:
    """Libraries that drawing without a screen (EGL) needs and that aren't there: library → Debian package."""
    missing = {}
    if not find_library("EGL"):
        missing["libEGL"] = "libegl1"
    if not (find_library("OpenGL") or find_library("GL")):
        missing["libOpenGL"] = "libopengl0"
    folders = (root / "usr/share/glvnd/egl_vendor.d", root / "etc/glvnd/egl_vendor.d")
    vendors = {path.name for folder in folders if folder.is_dir() for path in folder.glob("*.json")}
    if not vendors:
        missing["an EGL driver"] = "libegl-mesa0"
    only_mesa = all("mesa" in vendor for vendor in vendors)
    drivers = any(True for name in ("dri/swrast_dri.so", "libgallium*.so") for _ in root.glob(f"usr/lib/*/{name}"))
    if only_mesa and not drivers:
        missing["a Mesa driver"] = "libgl1-mesa-dri"
    return missing


def apt_command(packages: Iterable[str]) -> str:
    """Command that installs Debian packages."""
    return f"apt-get install {' '.join(sorted(set(packages)))}"


def require_tools(which: Callable[[str], str | None] = shutil.which) -> None:
    """Stop where interfaces can't be compiled.

    Raises:
        SetupError: names the tools and the packages that hold them.
    """
    missing = missing_tools(which)
    if missing:
        raise SetupError(f"no {', no '.join(missing)}", "tools that compile messages", apt_command(missing.values()))
