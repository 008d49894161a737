"""Install the locked wheels and mend what their builder left in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vla_bringup.setup.progress import Progress

INCLUDE = re.compile(r'/[^";]*/cp3\d+-cp3\d+/include/python3\.\d+')
NUMPY_INCLUDE = re.compile(r'/[^";]*/cp3\d+-cp3\d+/lib/[^";]*/numpy/_core/include')


# The two halves of a lock, as its lines are marked; a line without a mark belongs to both. Python 3.10, which ROS 2
# Humble has, must do with older versions of some packages.
HALVES = {"3.10": 'python_version < "3.11"', "later": 'python_version >= "3.11"'}


def half_of(python: str) -> str:
    """Key of HALVES for a Python version, e.g. '3.12' → 'later'."""
    return python if python in HALVES else "later"


def pins(lock: Path, half: str) -> list[str]:
    """The `name==version` pins of one half of a lock file; none where there is no file yet."""
    if not lock.is_file():
        return []
    lines = (line.partition("#")[0].partition(";") for line in lock.read_text(encoding="utf-8").splitlines())
    return [pin.strip() for pin, _, mark in lines if pin.strip() and mark.strip() in ("", HALVES[half])]


def install(python: Path, locks: list[Path], environ: Mapping[str, str], root: Path, progress: Progress) -> None:
    """Install exactly what the lock files name: no resolver, so nothing else can come.

    Raises:
        SetupError: pip failed.
    """
    site_packages = next((python.parent.parent / "lib").glob("python3.*/site-packages"))
    pinned = [pin for lock in locks for pin in pins(lock, half_of(site_packages.parent.name.removeprefix("python")))]
    total = len(pinned)
    seen = 0

    def on_line(line: str) -> str | None:
        nonlocal seen
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
        if line.startswith("Collecting "):
            return f"fetching {seen}/{total}: {line.split()[1]}"
        return "unpacking" if line.startswith("Installing collected") else None

    options = ["--no-deps", "--no-input", "--no-compile", "--progress-bar=off", "--disable-pip-version-check"]
    requirements = [f"--requirement={lock}" for lock in locks]
    environ = {**environ, "PIP_ROOT_USER_ACTION": "ignore"}  # Ubuntu 22.04's pip doesn't know it as an option
    progress.run([str(python), "-m", "pip", "install", *options, *requirements], environ, root, on_line)
    if is_cuda_build(site_packages):
        progress.warn("this package index serves torch's CUDA build: fetching its libraries, some gigabytes")
        torch = next(pin for pin in pinned if pin.startswith("torch=="))
        constraints = [f"--constraint={lock}" for lock in locks]
        command = [str(python), "-m", "pip", "install", *options[1:], torch, *constraints]
        progress.run(command, environ, root, on_line)


def compile_byte_code(python: Path, environ: Mapping[str, str], root: Path, progress: Progress) -> None:
    """Compile the installed modules on all cores (pip would use one); a file that doesn't compile is left as it is."""
    libraries = python.parent.parent / "lib"
    skip = r"/tests?/|/testing/"
    code = (
        "import compileall, re, sys\n"
        f"compileall.compile_dir({str(libraries)!r}, quiet=2, workers=0, maxlevels=40, rx=re.compile({skip!r}))"
    )
    progress.run([str(python), "-S", "-c", code], environ, root, lambda _: None)


def is_cuda_build(site_packages: Path) -> bool:
    """Whether the installed torch was built for CUDA (its CPU build says `cuda = None`)."""
    version = site_packages / "torch" / "version.py"
    if not version.is_file():
        return False
    found = re.search(r"^cuda\b[^=]*=\s*(\S+)", version.read_text(encoding="utf-8"), re.MULTILINE)
    return found is not None and found.group(1) != "None"


def repair(prefix: Path, include: str, numpy_include: str) -> int:
    """Point the include paths baked into the ROS wheels' .cmake files at this Python and numpy.

    Args:
        prefix: Virtual environment.
        include: Folder of this Python's headers.
        numpy_include: Folder of this numpy's headers.

    Returns:
        Number of files changed; 0 when all were mended before.
    """
    changed = 0
    for path in (prefix / "share").rglob("*.cmake"):
        text = path.read_text(encoding="utf-8")
        mended = NUMPY_INCLUDE.sub(lambda _: numpy_include, INCLUDE.sub(lambda _: include, text))
        if mended != text:
            path.write_text(mended, encoding="utf-8")
            changed += 1
    return changed
