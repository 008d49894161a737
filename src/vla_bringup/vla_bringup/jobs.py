"""What to run for a graph: one process per node, or one `ros2 launch` where launch_ros is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass

from vla_bringup.graph import RESPAWN_DELAY_S, Graph, GraphOptions, NodeSpec, Scalar, drives_to_places
from vla_core.errors import ConfigError
from vla_core.files import workspace_root

_ROS2 = "import sys; from ros2cli.cli import main; sys.exit(main())"  # `ros2` in the interpreter that runs us


@dataclass(frozen=True, slots=True)
class Job:
    """One operating-system process.

    Attributes:
        name: Names its log file.
        command: Program and arguments.
        nodes: Nodes whose line `READY <name>` it prints.
        grace_s: How long it may take to end after SIGINT before SIGTERM follows.
        respawn_delay_s: When it dies, it is started again after so long; None: its death is the end of the graph.
    """

    name: str
    command: tuple[str, ...]
    nodes: tuple[str, ...]
    grace_s: float = 5.0
    respawn_delay_s: float | None = None


def has_launch() -> bool:
    """Whether `ros2 launch` can be used."""
    return all(importlib.util.find_spec(name) is not None for name in ("launch_ros", "ros2launch"))


def jobs(graph: Graph) -> list[Job]:
    """Jobs for a graph: through `ros2 launch` where there is one."""
    return launch_jobs(graph) if has_launch() else process_jobs(graph)


def process_jobs(graph: Graph) -> list[Job]:
    """One job per node.

    Raises:
        ConfigError: the graph needs a launch file of somebody else.
    """
    if graph.options.slam == "slam_toolbox" and drives_to_places(graph.options):
        fix = "source a ROS 2 installation that has slam_toolbox, or choose slam:=embedded"
        raise ConfigError("slam:=slam_toolbox without `ros2 launch`", "its own launch file to be started", fix)
    return [
        Job(node.name, node_command(node), (node.name,), respawn_delay_s=RESPAWN_DELAY_S if node.respawn else None)
        for node in graph.nodes
    ]


def launch_jobs(graph: Graph) -> list[Job]:
    """One job: sim.launch.py with the options as launch arguments."""
    file = workspace_root() / "launch" / "sim.launch.py"
    arguments = [
        f"{name}:={_launch_text(getattr(graph.options, name))}"
        for name in GraphOptions.describe()
        if getattr(graph.options, name) != ""
    ]
    command = (sys.executable, "-c", _ROS2, "launch", "--noninteractive", str(file), *arguments)
    # launch itself insists after 4 s (see launch_files) and kills after 9 s; ended before, it would abandon its nodes
    return [Job("launch", command, tuple(node.name for node in graph.nodes), grace_s=10.0)]


def node_command(node: NodeSpec) -> tuple[str, ...]:
    """Command line of one node, in the interpreter that runs us."""
    arguments = ["-r", f"__node:={node.name}"]
    if node.namespace:
        arguments += ["-r", f"__ns:=/{node.namespace.strip('/')}"]
    for source, target in node.remaps.items():
        arguments += ["-r", f"{source}:={target}"]
    arguments += ["--params-file", str(node.parameter_path)]
    for name, value in node.overrides.items():
        arguments += ["-p", f"{name}:={_yaml(value)}"]
    return (sys.executable, "-m", f"{node.package}.{node.executable}", "--ros-args", *arguments)


def _yaml(value: Scalar) -> str:
    return json.dumps(value, ensure_ascii=False)


def _launch_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
