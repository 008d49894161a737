"""Launch files, run against a recording stand-in of the launch API (the wheels don't have launch_ros)."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vla_bringup.graph import LAYERS, STACK_LAYERS, GraphOptions, simulated_graph, tabletop_graph
from vla_bringup.launch_files import launch_files
from vla_core.files import load_yaml, workspace_root

FILES = ("sim", "stack", *STACK_LAYERS)


class Action:
    """Remembers how it was made; subclasses only differ by name."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        self.args, self.kw = args, kw


class LaunchConfiguration(Action):
    def perform(self, context: SimpleNamespace) -> str:
        return context.launch_configurations[self.args[0]]


@pytest.fixture
def launch_api(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "launch": ["LaunchDescription", "LaunchContext"],
        "launch.actions": ["DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction", "Shutdown"],
        "launch.conditions": ["IfCondition"],
        "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
        "launch.substitutions": [],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }
    for module, classes in names.items():
        fake = ModuleType(module)
        for name in classes:
            setattr(fake, name, type(name, (Action,), {}))
        monkeypatch.setitem(sys.modules, module, fake)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration


def nodes(name: str, given: dict[str, str]) -> tuple[list[Action], set[str]]:
    """Node actions of a launch file and what it includes, as the launch system would expand it; and its files."""
    path = workspace_root() / "launch" / f"{name}.launch.py"
    description = runpy.run_path(str(path))["generate_launch_description"]()
    context = SimpleNamespace(launch_configurations=dict(given))
    found, files = [], {path.name}
    for action in description.args[0]:
        match type(action).__name__:
            case "DeclareLaunchArgument":
                assert action.kw["description"]
                context.launch_configurations.setdefault(action.args[0], action.kw["default_value"])
            case "OpaqueFunction":
                found += action.kw["function"](context, *action.kw["args"])
            case "IncludeLaunchDescription":
                passed = {key: value.perform(context) for key, value in action.kw["launch_arguments"]}
                file = action.args[0].args[0].rpartition("/")[2]
                more, their_files = nodes(file.removesuffix(".launch.py"), passed)
                found, files = found + more, files | their_files
    return found, files


def test_the_layers_have_launch_files() -> None:
    assert {path.name for path in launch_files()} == {f"{name}.launch.py" for name in FILES}


@pytest.mark.usefixtures("launch_api")
@pytest.mark.parametrize(
    "scene", [{}, {"scene": "flat", "robot": "so101_mobile", "contract": "fetch_so101"}], ids=["default", "flat"]
)
def test_sim_launch_starts_the_whole_graph_through_every_file(scene: dict[str, str]) -> None:
    found, files = nodes("sim", {"seed": "3", "link": "x", "lockstep": "false", **scene})
    graph = simulated_graph(GraphOptions(seed=3, link="x", lockstep=False, **scene))
    assert sorted(action.kw["name"] for action in found) == sorted(node.name for node in graph.nodes)
    for action in found:
        node = graph.node(action.kw["name"])
        assert (action.kw["package"], action.kw["executable"]) == (node.package, node.executable)
        file, overrides = action.kw["parameters"]
        assert file == str(node.parameter_path)
        assert {name: value.args[0] for name, value in overrides.items()} == dict(node.overrides)
        assert action.kw.get("respawn", False) is node.respawn
        assert ("on_exit" in action.kw) is not node.respawn, "a shutdown would come before the next start"
        assert all(value.kw["value_type"] is type(value.args[0]) for value in overrides.values())
    assert files == {f"{name}.launch.py" for name in FILES}


@pytest.mark.usefixtures("launch_api")
def test_stack_launch_leaves_the_simulator_and_its_clock_out() -> None:
    """Regression: a robot had to be told use_sim_time:=false, else all of its watches were off."""
    found, _ = nodes("stack", {})
    assert {action.kw["package"] for action in found} & {"vla_sim"} == set()
    assert all(action.kw["parameters"][1]["use_sim_time"].args[0] is False for action in found)


@pytest.mark.usefixtures("launch_api")
@pytest.mark.parametrize(
    ("given", "displays"),
    [({}, "vla.rviz"), ({"robot": "so101_mobile", "contract": "fetch_so101", "scene": "flat"}, "flat.rviz")],
)
def test_rviz_is_off_unless_asked_for_and_shows_what_the_robot_has(given: dict[str, str], displays: str) -> None:
    assert "rviz2" not in [action.kw["name"] for action in nodes("stack", given)[0]]
    window = nodes("stack", {**given, "rviz": "true", "namespace": "left"})[0][0]
    assert window.kw["name"] == "rviz2", "first: a missing rviz2 would orphan the nodes"
    assert Path(window.kw["arguments"][1]) == workspace_root() / "config" / displays
    assert Path(window.kw["arguments"][1]).is_file() and window.kw["namespace"] == "left"
    assert window.kw["parameters"] == [{"use_sim_time": False}]


@pytest.mark.usefixtures("launch_api")
@pytest.mark.parametrize("name", STACK_LAYERS)
def test_each_layer_runs_alone(name: str) -> None:
    found, _ = nodes(name, {})
    assert [action.kw["name"] for action in found] == [n.name for n in tabletop_graph(GraphOptions()).layer(name)]


@pytest.mark.usefixtures("launch_api")
@pytest.mark.parametrize(("robot", "count"), [("so101_mobile", 1), ("panda", 0)])
def test_slam_toolbox_comes_by_its_own_launch_file(robot: str, count: int) -> None:
    scene = {"so101_mobile": "flat", "panda": "tabletop"}[robot]
    given = {"robot": robot, "scene": scene, "slam": "slam_toolbox", "use_sim_time": "true"}
    found, _ = nodes("navigation", given)
    theirs = [action for action in found if type(action).__name__ == "IncludeLaunchDescription"]
    assert len(theirs) == count and "slam_node" not in {action.kw.get("name") for action in found}
    for action in theirs:
        package, file = action.args[0].args[0]
        assert package.args == ("slam_toolbox",) and file == "/launch/online_async_launch.py"
        given = dict(action.kw["launch_arguments"])
        values = load_yaml(Path(given["slam_params_file"]))["slam_toolbox"]["ros__parameters"]
        ours = load_yaml(workspace_root() / "config" / "navigation.yaml")["/**/slam_node"]["ros__parameters"]
        assert {values[f] == ours[f] for f in ("map_frame", "odom_frame", "base_frame")} == {True}
        assert given["use_sim_time"] == "true"


def test_all_layers_are_covered() -> None:
    assert set(FILES) == {"sim", "stack", *LAYERS}
