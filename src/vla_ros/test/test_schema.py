"""Schemas: what they accept, what they refuse and what they say about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vla_core.errors import ConfigError
from vla_ros.schema import ParameterSpec, load_schema, values_file

SCHEMA = """
rate_hz: {type: double, unit: Hz, bounds: [0.5, 100.0], description: Rate.}
mode: {type: string, one_of: [fast, exact], description: Mode., read_only: true}
names: {type: string_array, description: Names.}
gains: {type: double_array, bounds: [0.0, null], description: Gains.}
count: {type: int, bounds: [1, 8], description: Count.}
switch: {type: bool, description: Switch.}
"""


@pytest.fixture
def specs(tmp_path: Path) -> dict[str, ParameterSpec]:
    path = tmp_path / "node.yaml"
    path.write_text(SCHEMA, encoding="utf-8")
    return {spec.name: spec for spec in load_schema(path)}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate_hz", 0.5, 0.5),
        ("mode", "exact", "exact"),
        ("names", ["a", "b"], ("a", "b")),
        ("gains", [0.0, 1e9], (0.0, 1e9)),
        ("count", 8, 8),
        ("switch", False, False),
    ],
)
def test_good_values(specs: dict[str, ParameterSpec], name: str, value: Any, expected: Any) -> None:
    assert specs[name].check(value, "here") == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_hz", 0.4),
        ("rate_hz", float("nan")),
        ("rate_hz", 20),
        ("rate_hz", True),
        ("mode", "slow"),
        ("names", ["a", 1]),
        ("gains", [1.0, -1.0]),
        ("gains", [float("inf")]),
        ("count", 9),
        ("count", True),
        ("switch", 1),
    ],
)
def test_bad_values_are_named(specs: dict[str, ParameterSpec], name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        specs[name].check(value, "config/x.yaml")
    assert f"'{name}'" in str(caught.value)
    assert "config/x.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        "{type: double}",
        "{type: float, description: D.}",
        "{type: double, description: D., default: 1.0}",
        "{type: double, description: D., bounds: [2, 1]}",
        "{type: double, description: D., bounds: 3}",
        "7",
    ],
)
def test_bad_schemas_are_refused(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(f"x: {entry}\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        load_schema(path)


def test_values_file() -> None:
    path = Path("src/vla_perception/vla_perception/parameters/observation_node.yaml")
    assert values_file(path) == "config/perception.yaml"
