"""Install the locked wheels and mend what their builder left in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vla_bringup.setup.progress import Progress

INCLUDE = re.compile(r'/[^";]*/cp3\d+-cp3\d+/include/python3\.\d+')
NUMPY_INCLUDE = re.compile(r'/[^";]*/cp3\d+-cp3\d+/lib/[^";]*/numpy/_core/include')


def pins(lock: Path) -> list[str]:
    """The `name==version` lines of a lock file."""
    lines = (line.partition("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def install(python: Path, locks: list[Path], environ: Mapping[str, str], root: Path, progress: Progress) -> None:
    """Install exactly what the lock files name: no resolver, so nothing else can come.

    Raises:
        SetupError: pip failed.
    """
    total = sum(len(pins(lock)) for lock in locks)
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
    command = [str(python), "-m", "pip", "install", "--root-user-action=ignore", *options, *requirements]
    progress.run(command, environ, root, on_line)
    site_packages = next((python.parent.parent / "lib").glob("python3.*/site-packages"))
    if is_cuda_build(site_packages):
        progress.warn("this package index serves torch's CUDA build: fetching its libraries, some gigabytes")
        torch = next(pin for lock in locks for pin in pins(lock) if pin.startswith("torch=="))
        constraints = [f"--constraint={lock}" for lock in locks]
        command = [str(python), "-m", "pip", "install", "--root-user-action=ignore", *options[1:], torch, *constraints]
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
