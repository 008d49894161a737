"""Virtual environments of other people's programs: made once, renewed with their lock, never half made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vla_bringup.setup import lock, third_party, wheels
from vla_bringup.setup.progress import Progress
from vla_bringup.setup.third_party import THIRD_PARTY, Chooser, ensure
from vla_core.errors import SetupError, UnknownNameError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a lock; installing writes down what was asked for."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "metaworld.txt").write_text("metaworld==3.1.1\n")

    def install(python: Path, locks: list[Path], environ: Mapping[str, str], root: Path, progress: Progress) -> None:
        assert "LD_LIBRARY_PATH" not in environ and "PYTHONPATH" not in environ
        with (root / "installed").open("a") as file:
            file.write(f"{python.relative_to(root)} {locks[0].read_text()}")

    monkeypatch.setattr(wheels, "install", install)
    monkeypatch.setattr(wheels, "compile_byte_code", lambda *_: None)
    base = tmp_path / "python"  # makes environments without pip, which is what takes long
    base.write_text(f'#!/bin/sh\nexec {sys.executable} "$1" "$2" --without-pip "$3"\n')
    base.chmod(0o755)
    return tmp_path


def _choose(root: Path) -> Chooser:
    return lambda environ, versions: str(root / "python")


def test_it_is_made_once_and_renewed_with_its_lock(root: Path) -> None:
    environ = dict(os.environ, LD_LIBRARY_PATH="/ours", PYTHONPATH="/ours")
    python = ensure(root, "metaworld", environ, _choose(root))
    assert python == root / ".venv-metaworld" / "bin" / "python"
    code = "import sys; print(sys.prefix)"
    assert subprocess.check_output([python, "-I", "-c", code], text=True).strip() == str(root / ".venv-metaworld")
    assert (root / ".venv-metaworld" / ".gitignore").read_text() == "*\n"
    assert ensure(root, "metaworld", environ, _choose(root)) == python
    assert len((root / "installed").read_text().splitlines()) == 1
    (root / "requirements" / "metaworld.txt").write_text("metaworld==3.2.0\n")
    ensure(root, "metaworld", environ, _choose(root))
    assert (root / "installed").read_text().splitlines()[1].endswith("3.2.0")


def test_a_failed_one_is_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SetupError("no network", "one", "plug it in")

    with monkeypatch.context() as broken, pytest.raises(SetupError, match="no network"):
        broken.setattr(wheels, "install", fail)
        ensure(root, "metaworld", {}, _choose(root))
    assert not (root / "installed").exists()
    ensure(root, "metaworld", {}, _choose(root))
    assert (root / "installed").exists()


def test_unknown_names_list_the_known_ones(root: Path) -> None:
    with pytest.raises(UnknownNameError, match="metaworld"):
        ensure(root, "metawrld")


def test_our_own_interpreter_setting_is_not_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def choose(executables: list[str], versions: tuple[str, ...]) -> None:
        seen.extend(executables)
        raise SetupError("none", "one", "install it")

    monkeypatch.setattr(third_party.interpreter, "choose", choose)
    with pytest.raises(SetupError):
        third_party._choose({"VLA_PYTHON": "/ros/python3.10", "PATH": ""}, ("3.11",))
    assert seen == []


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_the_lock_pins_what_is_wanted(name: str) -> None:
    pinned = dict(pin.split("==") for pin in wheels.pins(ROOT / "requirements" / f"{name}.txt", "later"))
    assert set(lock.wanted(ROOT / "requirements" / f"{name}.in")) <= set(pinned) and all(pinned.values())
