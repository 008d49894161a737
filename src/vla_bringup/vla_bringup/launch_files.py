"""Turn the graph into launch descriptions. Imports launch and launch_ros only when a launch file runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vla_bringup.graph import (
    LAYERS,
    RESPAWN_DELAY_S,
    GraphOptions,
    NodeSpec,
    Scalar,
    drives_to_places,
    tabletop_graph,
)
from vla_core.files import workspace_root

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription


def layer(name: str) -> LaunchDescription:
    """Description of one layer's nodes, with every option of the graph as a described argument.

    Args:
        name: One of `graph.LAYERS`.
    """
    from launch.actions import OpaqueFunction

    from launch import LaunchDescription

    assert name in LAYERS, name
    return LaunchDescription([*_arguments(), OpaqueFunction(function=_nodes, args=[name])])


def including(
    files: tuple[str, ...],
    layers: tuple[str, ...] = (),
    rviz: bool = False,
    defaults: Mapping[str, Scalar] = MappingProxyType({}),
) -> LaunchDescription:
    """Description that starts layers of its own and hands all arguments on to other launch files.

    Args:
        files: Names of files in `launch/`, e.g. 'control.launch.py'.
        layers: Layers started by this file itself, after the others.
        rviz: Whether to offer the argument `rviz`; files that include this one show it too.
        defaults: Options whose default is another one here than in `GraphOptions`.
    """
    from launch.actions import IncludeLaunchDescription, OpaqueFunction
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.substitutions import LaunchConfiguration

    from launch import LaunchDescription

    arguments = [(option, LaunchConfiguration(option)) for option in GraphOptions.describe()]
    own = [OpaqueFunction(function=_nodes, args=[name]) for name in layers]
    folder = workspace_root() / "launch"
    others = [
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(folder / file)), launch_arguments=arguments)
        for file in files
    ]
    # RViz first: where it isn't installed, launch gives up at once and abandons the processes that it has started.
    return LaunchDescription([*_arguments(defaults), *(_rviz() if rviz else ()), *others, *own])


def _arguments(defaults: Mapping[str, Scalar] = MappingProxyType({})) -> list[Any]:
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(name, default_value=_text(defaults.get(name, default)), description=description)
        for name, (default, description) in GraphOptions.describe().items()
    ]


def _nodes(context: LaunchContext, name: str) -> list[Any]:
    options = _options(context)
    actions = [_action(node) for node in tabletop_graph(options).layer(name)]
    if name == "navigation" and options.slam == "slam_toolbox" and drives_to_places(options):
        actions.append(_slam_toolbox(options))
    return actions


def _options(context: LaunchContext) -> GraphOptions:
    """The launch arguments as they were given."""
    from launch.substitutions import LaunchConfiguration

    return GraphOptions.parse({name: LaunchConfiguration(name).perform(context) for name in GraphOptions.describe()})


def _slam_toolbox(options: GraphOptions) -> Any:
    """The launch file that slam_toolbox brings, with our frames; launch says so where it isn't installed."""
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.substitutions import FindPackageShare

    file = [FindPackageShare("slam_toolbox"), "/launch/online_async_launch.py"]
    given = {
        "use_sim_time": _text(options.use_sim_time),
        "slam_params_file": str(workspace_root() / "config" / "slam_toolbox.yaml"),
    }
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=list(given.items()))


def _action(node: NodeSpec) -> Any:
    """One process of a launch: started again when it dies, or else the launch goes down with it."""
    from launch.actions import Shutdown
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue

    overrides = {name: ParameterValue(value, value_type=type(value)) for name, value in node.overrides.items()}
    again = {"respawn": True, "respawn_delay": RESPAWN_DELAY_S}
    end = {"on_exit": Shutdown(reason=f"{node.name} ended")}
    return Node(
        package=node.package,
        executable=node.executable,
        name=node.name,
        namespace=node.namespace,
        parameters=[str(node.parameter_path), overrides],
        remappings=list(node.remaps.items()),
        output="screen",
        emulate_tty=True,
        sigterm_timeout="4",
        **(again if node.respawn else end),
    )


def _rviz() -> list[Any]:
    """Argument `rviz` and what it starts; closing the window ends nothing."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    description = "open RViz with config/vla.rviz, or config/flat.rviz for a robot that drives; needs the package rviz2"
    return [
        DeclareLaunchArgument("rviz", default_value="false", description=description),
        OpaqueFunction(function=_window, args=[]),
    ]


def _window(context: LaunchContext) -> list[Any]:
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import Node

    if LaunchConfiguration("rviz").perform(context).lower() not in ("true", "1"):
        return []
    options = _options(context)
    displays = "flat.rviz" if drives_to_places(options) else "vla.rviz"
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            namespace=options.namespace,
            arguments=["-d", str(workspace_root() / "config" / displays)],
            parameters=[{"use_sim_time": options.use_sim_time}],
        )
    ]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def launch_files() -> list[Path]:
    """Every launch file of the workspace."""
    return sorted((workspace_root() / "launch").glob("*.launch.py"))
