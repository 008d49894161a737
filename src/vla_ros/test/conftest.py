"""A ROS context of its own for each test that asks for one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import rclpy


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """rclpy on a random domain, seen by this machine only."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    yield
    rclpy.try_shutdown()
