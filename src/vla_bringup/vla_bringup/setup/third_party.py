"""Virtual environments for programs of others that don't go together with our pins: `.venv-NAME` in the checkout.

    python -m vla_bringup.setup.third_party NAME     makes it where needed, prints its interpreter

`requirements/NAME.txt` is the complete lock. Our processes never import from there; they start its interpreter.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from vla_bringup.setup import interpreter, wheels
from vla_bringup.setup.prepare import child_environment, exclusive
from vla_bringup.setup.progress import Progress
from vla_bringup.setup.stamp import Stamps, fingerprint
from vla_core.errors import SetupError, UnknownNameError

#: Name → Python versions that its lock has wheels for, in order of preference.
THIRD_PARTY: dict[str, tuple[str, ...]] = {"metaworld": ("3.11", "3.12", "3.13"), "libero": ("3.11", "3.12")}
Chooser = Callable[[Mapping[str, str], tuple[str, ...]], str]


def _choose(environ: Mapping[str, str], versions: tuple[str, ...]) -> str:
    """An interpreter to make the environment from; VLA_PYTHON belongs to ours and may have another version."""
    others = {name: value for name, value in environ.items() if name != "VLA_PYTHON"}
    return interpreter.choose(interpreter.candidates(others, versions), versions).path


def ensure(root: Path, name: str, environ: Mapping[str, str] = os.environ, choose: Chooser = _choose) -> Path:
    """Interpreter of `.venv-NAME`, which is made or renewed first where it doesn't match its lock.

    Args:
        root: Checkout.
        name: One of THIRD_PARTY.
        environ: The user's environment.
        choose: Finds an interpreter of one of the wanted versions.

    Raises:
        UnknownNameError: no such environment.
        SetupError: no usable Python, or a package can't be had.
    """
    if name not in THIRD_PARTY:
        raise UnknownNameError("third-party environment", name, THIRD_PARTY)
    if _current(root, name):
        return _python(root, name)
    with exclusive(root):
        if not _current(root, name):
            _make(root, name, environ, choose)
    return _python(root, name)


def _python(root: Path, name: str) -> Path:
    return root / f".venv-{name}" / "bin" / "python"


def _lock(root: Path, name: str) -> Path:
    return root / "requirements" / f"{name}.txt"


def _stamps(root: Path, name: str) -> Path:
    return root / f".venv-{name}" / "vla_stamps.json"


def _key(root: Path, name: str) -> str:
    return fingerprint([str(root)], [_lock(root, name)])


def _current(root: Path, name: str) -> bool:
    finished = Stamps(_stamps(root, name)).current("packages", _key(root, name))
    return finished and _python(root, name).exists()


def _make(root: Path, name: str, environ: Mapping[str, str], choose: Chooser) -> None:
    progress = Progress(root / "log" / f"setup_{name}.log", 3)
    venv = root / f".venv-{name}"
    with tempfile.TemporaryDirectory() as home:
        child = child_environment(environ, Path(home), keep_ros=False)
        progress.step(f"virtual environment for {name}")
        base = choose(environ, THIRD_PARTY[name])
        shutil.rmtree(venv, ignore_errors=True)
        progress.run([base, "-m", "venv", str(venv)], child, root, lambda _: None)
        (venv / ".gitignore").write_text("*\n", encoding="utf-8")
        progress.done()
        progress.step(f"packages into {venv}")
        wheels.install(_python(root, name), [_lock(root, name)], child, root, progress)
        progress.done()
        progress.step("byte code")
        wheels.compile_byte_code(_python(root, name), child, root, progress)
        progress.done()
    Stamps(_stamps(root, name)).finish("packages", _key(root, name))


def main() -> int:
    """Exit status: 0 ready and its interpreter printed, 1 not (the sentence went to standard error)."""
    from vla_core.files import workspace_root  # needs more than the standard library

    try:
        print(ensure(workspace_root(), sys.argv[1] if len(sys.argv) == 2 else ""))
    except (SetupError, UnknownNameError) as error:
        print(f"ERROR {error.code}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
