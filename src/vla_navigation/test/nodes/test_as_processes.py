"""The nodes as processes, as a launch starts them: they get ready and end with a signal, or say what they lack."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from vla_core.files import workspace_root


def start(node: str, *parameters: str) -> subprocess.Popen:
    """A node with the values of config/navigation.yaml, on a domain of its own."""
    values = str(workspace_root() / "config" / "navigation.yaml")
    words = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", f"vla_navigation.{node}", "--ros-args", "--params-file", values, *words]
    domain = str(random.SystemRandom().randint(1, 100))
    environment = os.environ | {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("node", ["slam_node", "navigator_node", "explorer_node"])
def test_it_gets_ready_and_ends_cleanly_with_a_signal(node: str) -> None:
    process = start(node)
    try:
        assert process.stdout is not None and process.stdout.readline() == f"READY {node}\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120.0)
        assert process.returncode == 0, errors
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("node", "parameter", "words"),
    [
        ("semantic_map_node", "detector:=''", "set parameter detector of semantic_map_node"),
        ("navigator_node", "robot:=panda", "robot 'panda' without a base"),
        ("navigator_node", "robot:=panda_mobile", "a section `navigation` with radius_m or outline_m"),
        ("slam_node", "load_map:=true", "set parameter map_path of slam_node"),
    ],
)
def test_what_it_lacks_is_one_sentence(node: str, parameter: str, words: str) -> None:
    process = start(node, parameter)
    try:
        _, errors = process.communicate(timeout=240.0)
    finally:
        process.kill()
    assert process.returncode == 2 and "ERROR config: got " in errors and words in errors
