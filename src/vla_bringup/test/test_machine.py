"""What a number was measured on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vla_bringup import machine


def test_a_revision_is_dirty_by_its_code_not_by_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: plots that a benchmark had just written made its own table '-dirty'."""
    monkeypatch.setattr(machine, "workspace_root", lambda: tmp_path)
    assert machine.revision() == "unversioned" and machine.exact_revision() is None
    (tmp_path / "docs").mkdir()
    code, page = tmp_path / "code.py", tmp_path / "docs" / "plot.svg"
    for path in (code, page):
        path.write_text("1", encoding="utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    clean = machine.revision()
    page.write_text("2", encoding="utf-8")
    assert machine.exact_revision() == machine.revision() == clean != "unversioned"
    code.write_text("2", encoding="utf-8")
    assert machine.revision() == f"{clean}-dirty" and machine.exact_revision() is None
