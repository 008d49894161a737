"""The files in config/*.rviz look at topics that exist, with a quality of service that fits them."""

from __future__ import annotations

from typing import Any

import pytest

from vla_core.files import load_yaml, workspace_root
from vla_core.topics import topic

FILES = ("vla", "flat")
CAMERAS = {"front/image_raw", "wrist/image_raw"}


def displays(file: str) -> list[dict[str, Any]]:
    manager = load_yaml(workspace_root() / "config" / f"{file}.rviz")["Visualization Manager"]
    return [*manager["Displays"], *(tool for tool in manager["Tools"] if "Topic" in tool)]


WITH_TOPIC = [(file, one["Topic"]) for file in FILES for one in displays(file) if "Topic" in one]


@pytest.mark.parametrize(("file", "wanted"), WITH_TOPIC, ids=[f"{file}:{t['Value']}" for file, t in WITH_TOPIC])
def test_topic_is_in_the_table_and_its_publisher_is_compatible(file: str, wanted: dict[str, Any]) -> None:
    entry = topic(wanted["Value"])
    assert entry.owner == "person" or wanted["Reliability Policy"] == "Best Effort" or entry.reliable
    assert wanted["Durability Policy"] == "Volatile" or entry.latched


@pytest.mark.parametrize(
    ("file", "topics"),
    [
        ("vla", {*CAMERAS, "executor_node/markers"}),
        ("flat", {
            *CAMERAS, "executor_node/markers", "map", "explorer_node/seen", "local_costmap/costmap", "scan", "plan",
            "explorer_node/markers", "semantic_map_node/markers", "initialpose",
        }),
    ],
)  # fmt: skip
def test_cameras_frames_and_paths_are_shown(file: str, topics: set[str]) -> None:
    found = displays(file)
    assert {d["Class"].rpartition("/")[2] for d in found} >= {"TF", "Image", "MarkerArray", "RobotModel"}
    assert {d["Topic"]["Value"] for d in found if "Topic" in d} == topics
