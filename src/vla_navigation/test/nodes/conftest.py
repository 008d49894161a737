"""A ROS context of its own per test, nodes on one executor of the test's thread, and a robot that the test plays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vla_core.files import workspace_root
from vla_ros.testing import Spinner, private_ros

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def ros_arguments(request: pytest.FixtureRequest) -> list[str]:
    """What the launch gives to every node; a test module may change parameters by PARAMETERS."""
    files = [str(workspace_root() / "config" / f"{name}.yaml") for name in ("navigation", "control")]
    given = {"use_sim_time": "true", "robot": "so101_mobile", **getattr(request.module, "PARAMETERS", {})}
    words = [word for file in files for word in ("--params-file", file)]
    return ["--ros-args", *words, *(word for item in given.items() for word in ("-p", ":=".join(item)))]


@pytest.fixture
def ros(ros_arguments: list[str]) -> Iterator[None]:
    with private_ros(ros_arguments):
        yield


@pytest.fixture
def spinner(ros: None) -> Iterator[Spinner]:
    made = Spinner()
    yield made
    made.close()
