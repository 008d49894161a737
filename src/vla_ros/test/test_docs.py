"""The parameter reference is made of schemas and values, and notices when they disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_core.errors import ConfigError, UnknownNameError
from vla_ros.docs import parameter_reference

SCHEMA = """
rate_hz: {type: double, unit: Hz, bounds: [1.0, 50.0], description: Rate of the loop.}
link: {type: string, description: Name of the link., read_only: true}
"""
COMMON = "autostart: {type: bool, description: Start alone., read_only: true}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package, node, text in (("vla_probe", "probe_node", SCHEMA), ("vla_ros", "lifecycle_node", COMMON)):
        path = tmp_path / "src" / package / package / "parameters" / f"{node}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("VLA_ROOT", str(tmp_path))
    return tmp_path


def write(root: Path, values: str) -> None:
    text = f"/**/probe_node:\n  ros__parameters: {values}\n"
    (root / "config" / "probe.yaml").write_text(text, encoding="utf-8")


def test_table(root: Path) -> None:
    write(root, "{rate_hz: 20.0, autostart: true}")
    page = parameter_reference()
    assert "## probe_node" in page
    assert "| `rate_hz` | `20.0` | double | Hz | 1 … 50 | yes | Rate of the loop. |" in page
    assert "| `link` | from the launch | string |  |  |  | Name of the link. |" in page
    assert "| `autostart` | `true` | bool |" in page
    assert "## lifecycle_node" not in page


def test_unknown_parameter_is_refused(root: Path) -> None:
    write(root, "{rate_hz: 20.0, rate: 20.0}")
    with pytest.raises(UnknownNameError, match="'rate'"):
        parameter_reference()


def test_value_out_of_bounds_is_refused(root: Path) -> None:
    write(root, "{rate_hz: 51.0}")
    with pytest.raises(ConfigError, match="rate_hz"):
        parameter_reference()
