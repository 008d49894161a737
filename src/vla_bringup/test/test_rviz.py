"""config/vla.rviz looks at topics that exist, with a quality of service that fits them."""

from __future__ import annotations

from typing import Any

import pytest

from vla_core.files import load_yaml, workspace_root
from vla_core.topics import topic

DISPLAYS: list[dict[str, Any]] = load_yaml(workspace_root() / "config" / "vla.rviz")["Visualization Manager"][
    "Displays"
]
WITH_TOPIC = {display["Name"]: display["Topic"] for display in DISPLAYS if "Topic" in display}


@pytest.mark.parametrize("name", WITH_TOPIC)
def test_topic_is_in_the_table_and_its_publisher_is_compatible(name: str) -> None:
    wanted = WITH_TOPIC[name]
    entry = topic(wanted["Value"])
    assert wanted["Reliability Policy"] == "Best Effort" or entry.reliable
    assert wanted["Durability Policy"] == "Volatile" or entry.latched


def test_cameras_frames_and_paths_are_shown() -> None:
    assert {d["Class"].rpartition("/")[2] for d in DISPLAYS} >= {"TF", "Image", "MarkerArray", "RobotModel"}
    assert {t["Value"] for t in WITH_TOPIC.values()} == {"front/image_raw", "wrist/image_raw", "executor_node/markers"}
