"""Choose the Python interpreter that the virtual environment is made from."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import SetupError

SUPPORTED = ("3.11", "3.12", "3.13", "3.10")  # in order of preference
PROBE = (
    "import importlib.util as u, json, os, sys, sysconfig;"
    "print(json.dumps([sys.executable, '%d.%d' % sys.version_info[:2], u.find_spec('ensurepip') is not None,"
    "os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h'))]))"
)


@dataclass(frozen=True)
class Interpreter:
    """A Python found on this machine.

    Attributes:
        path: Its executable.
        version: 'major.minor'.
        has_ensurepip: `python -m venv` can install pip.
        has_headers: Python.h is there, so message packages can be compiled.
    """

    path: str
    version: str
    has_ensurepip: bool
    has_headers: bool

    def missing_packages(self) -> list[str]:
        """Debian packages that make it usable."""
        missing = [] if self.has_ensurepip else [f"python{self.version}-venv"]
        return missing if self.has_headers else [*missing, f"python{self.version}-dev"]


def probe(executable: str) -> Interpreter | None:
    """Ask an executable what it is; None when it doesn't run."""
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        answer = subprocess.run(
            [executable, "-I", "-S", "-c", PROBE], capture_output=True, text=True, timeout=30, env=environ, check=True
        )
        return Interpreter(*json.loads(answer.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def candidates(environ: Mapping[str, str], versions: Iterable[str] = SUPPORTED) -> list[str]:
    """Executables to try, best first: $VLA_PYTHON alone, else every python3.x on PATH, then python3."""
    if environ.get("VLA_PYTHON"):
        return [environ["VLA_PYTHON"]]
    folders = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    names = [f"python{version}" for version in versions] + ["python3"]
    return [str(folder / name) for name in names for folder in folders if os.access(folder / name, os.X_OK)]


def choose(
    executables: Iterable[str],
    versions: tuple[str, ...] = SUPPORTED,
    ask: Callable[[str], Interpreter | None] = probe,
) -> Interpreter:
    """First complete interpreter of a wanted version; versions in order of preference.

    Raises:
        SetupError: none; says which Debian packages would complete the best one found.
    """
    found = [one for one in (ask(executable) for executable in executables) if one is not None]
    usable = sorted((one for one in found if one.version in versions), key=lambda one: versions.index(one.version))
    for one in usable:
        if not one.missing_packages():
            return one
    if usable:
        packages = " ".join(usable[0].missing_packages())
        raise SetupError(
            f"{usable[0].path} without {packages}", "a Python that can make virtual environments and compile modules",
            f"apt-get install {packages}",
        )  # fmt: skip
    seen = ", ".join(sorted({one.version for one in found})) or "none"
    raise SetupError(
        f"Python {seen}", f"Python {' or '.join(versions)}",
        f"apt-get install python{versions[0]}-venv python{versions[0]}-dev, or name one in VLA_PYTHON",
    )  # fmt: skip
