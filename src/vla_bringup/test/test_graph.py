"""The graph as data: options, nodes, layers."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from vla_bringup.graph import (
    LAYERS,
    RESPAWN_DELAY_S,
    SHIPPED,
    STACK_LAYERS,
    GraphOptions,
    equipment,
    simulated_graph,
    tabletop_graph,
)
from vla_bringup.jobs import process_jobs
from vla_core.contract import load_contract
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import config_path, load_yaml, workspace_root
from vla_core.topics import TOPICS, topic

GRAPH = tabletop_graph(GraphOptions())
MOBILE = tabletop_graph(GraphOptions(robot="panda_mobile", contract="rt1_mobile_panda"))
FLAT = simulated_graph(GraphOptions.of_scene("flat", link="flat", detector="some"))
BIMANUAL = simulated_graph(GraphOptions.of_scene("aloha", policy="scripted_expert", link="two"))


def test_names_are_unique_and_in_the_order_of_the_line() -> None:
    names = [node.name for node in GRAPH.nodes]
    assert [n for n, count in Counter(names).items() if count > 1] == []
    line = ["sim_node", "observation_node", "policy_node", "executor_node", "servo_node"]
    assert [n for n in names if n in line] == line


def test_every_owner_of_a_topic_is_a_node_of_the_graph() -> None:
    for graph in (GRAPH, MOBILE, FLAT):
        has = equipment(graph.options)
        owners = {topic.owner for topic in TOPICS.values() if topic.only_with in has}
        assert owners - {"driver", "all", "person", "other"} <= {node.name for node in graph.nodes}


def test_only_a_robot_with_a_base_gets_the_node_that_moves_it() -> None:
    assert {node.name for node in MOBILE.nodes} - {node.name for node in GRAPH.nodes} == {"base_node"}
    assert MOBILE.node("base_node").layer == "control"


def test_equipment_is_what_robot_and_scene_files_say() -> None:
    """And every need that the topic table names is met by some robot, else its rows would be dead."""
    assert (equipment(GRAPH.options), equipment(MOBILE.options)) == ({""}, {"", "base"})
    assert equipment(FLAT.options) == {row.only_with for row in TOPICS.values()}


def test_the_world_of_a_robot_that_drives_does_not_stand_still_until_an_instruction() -> None:
    assert FLAT.node("sim_node").overrides["wait_for_instruction"] is False
    assert "wait_for_instruction" not in GRAPH.node("sim_node").overrides


def test_a_scene_brings_its_policy_unless_another_is_asked_for() -> None:
    assert GRAPH.options.policy == SHIPPED and FLAT.options.policy == "fetch_flow"
    assert simulated_graph(GraphOptions.of_scene("aloha", policy="act")).options.policy == "act"


def test_sensors_of_the_flat_have_the_rates_of_the_topic_table() -> None:
    scene = load_yaml(config_path("scenes", "flat"))
    sections = {"scan": "lidar_2d", "points": "lidar_3d", "imu": "imu", "odom": "odometry"}
    assert {name: scene[key]["rate_hz"] for name, key in sections.items()} == {
        name: topic(name).rate_hz for name in sections
    }
    assert {camera["rate_hz"] for camera in scene["cameras"]} == {load_contract("fetch_so101").rate_hz}


def test_layers_partition_the_nodes() -> None:
    assert [node for layer in LAYERS for node in GRAPH.layer(layer)] == list(GRAPH.nodes)
    assert set(LAYERS) - set(STACK_LAYERS) == {"sim"}


def test_who_drives_to_things_takes_the_instructions() -> None:
    assert (FLAT.mission, GRAPH.mission, MOBILE.mission) == ("fetch", "execute_instruction", "execute_instruction")


def test_only_a_robot_that_drives_to_places_gets_the_nodes_for_it() -> None:
    more = {"base_node", "slam_node", "navigator_node", "explorer_node", "semantic_map_node", "fetch_node"}
    assert {node.name for node in FLAT.nodes} - {node.name for node in GRAPH.nodes} == more


def test_the_explorer_counts_the_pictures_that_somebody_looks_at() -> None:
    """Regression: without a detector nobody publishes objects, and every search waited for them."""
    alone = tabletop_graph(GraphOptions(robot="so101_mobile"))
    assert alone.node("explorer_node").overrides["looked_at"] == "observation"
    assert FLAT.node("explorer_node").overrides["looked_at"] == "objects"


@pytest.mark.parametrize(
    ("given", "without"),
    [
        ({"slam": "slam_toolbox"}, {"slam_node"}),
        ({"slam": "external"}, {"slam_node"}),
        ({"nav": "nav2"}, {"navigator_node"}),
        ({"detector": ""}, {"semantic_map_node"}),
    ],
)
def test_who_maps_and_who_drives_may_be_somebody_else(given: dict[str, str], without: set[str]) -> None:
    graph = tabletop_graph(GraphOptions(**{"robot": "so101_mobile", "detector": "some", **given}))
    assert {node.name for node in FLAT.nodes} - {node.name for node in graph.nodes} == without


def test_without_ros_2_launch_nobody_starts_slam_toolbox() -> None:
    with pytest.raises(ConfigError, match="fix: source a ROS 2 installation that has slam_toolbox"):
        process_jobs(tabletop_graph(GraphOptions(robot="so101_mobile", slam="slam_toolbox")))
    assert process_jobs(tabletop_graph(GraphOptions(slam="slam_toolbox"))), "an arm on a table needs no SLAM"


@pytest.mark.parametrize("option", ["slam", "nav"])
def test_somebody_else_must_be_one_that_is_known(option: str) -> None:
    with pytest.raises(UnknownNameError, match=f"{option} 'me'; expected one of: embedded"):
        tabletop_graph(GraphOptions(**{option: "me"}))


@pytest.mark.parametrize(
    "node", [*MOBILE.nodes, *FLAT.layer("navigation"), BIMANUAL.node("policy_node")], ids=lambda node: node.executable
)
def test_module_entry_point_and_parameters_exist(node) -> None:
    package = workspace_root() / "src" / node.package
    assert (package / node.package / f"{node.executable}.py").is_file()
    assert f'"{node.executable} = {node.package}.{node.executable}:main"' in (package / "setup.py").read_text()
    schemas = {f.stem: load_yaml(f) for f in workspace_root().glob("src/*/*/parameters/*_node.yaml")}
    schema = {**schemas[node.name], **schemas[node.executable]}
    assert set(node.overrides) - {"use_sim_time"} <= set(schema), "an override that the node never reads"
    assert f"/**/{node.name}" in load_yaml(node.parameter_path)


def test_same_link_wherever_there_is_one() -> None:
    graph = tabletop_graph(GraphOptions(link="left_arm"))
    links = {node.name: node.overrides["link"] for node in graph.nodes if "link" in node.overrides}
    assert {"sim_node", "camera_node", "executor_node", "servo_node", "safety_monitor_node"} <= set(links)
    assert set(links.values()) == {"left_arm"}


@pytest.mark.parametrize("kind", ["robot", "contract", "policy", "scene"])
def test_unknown_name_is_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(UnknownNameError, match=r"got .* 'nonsense'; expected one of: \w+.*; fix: "):
        tabletop_graph(GraphOptions(**{kind: "nonsense"}))


def test_a_scene_brings_its_robot_and_its_contract() -> None:
    robots = {node.name: node.overrides.get("robot") for node in BIMANUAL.nodes}
    assert robots["executor_node"] == robots["servo_node"] == "aloha"
    contracts = {node.overrides["contract"] for node in BIMANUAL.nodes if "contract" in node.overrides}
    assert contracts == {"aloha"}
    assert GraphOptions.of_scene("tabletop") == GraphOptions()
    assert GraphOptions.of_scene("flat").split == "heldout_flat"


def test_a_robot_in_the_scene_of_another_is_refused_with_the_arguments_that_fit() -> None:
    with pytest.raises(ConfigError, match="fix: launch with robot:=aloha contract:=aloha"):
        simulated_graph(GraphOptions(scene="aloha"))
    tabletop_graph(GraphOptions(robot="aloha", contract="aloha"))  # on a robot nobody simulates a scene


def test_the_scripted_expert_takes_the_policy_s_place_under_its_name() -> None:
    node = BIMANUAL.node("policy_node")
    assert (node.package, node.executable, node.layer) == ("vla_sim", "expert_node", "policy")
    assert node.overrides["scene"] == "aloha" and node.overrides["link"] == "two"
    assert GRAPH.node("policy_node").executable == "policy_node"


def test_options_from_launch_texts() -> None:
    options = GraphOptions.parse({"seed": "7", "lockstep": "False", "instruction": "open the drawer"})
    assert options == GraphOptions(seed=7, lockstep=False, instruction="open the drawer")
    with pytest.raises(UnknownNameError, match="option 'sede'"):
        GraphOptions.parse({"sede": "7"})
    with pytest.raises(UnknownNameError, match="truth value 'maybe'"):
        GraphOptions.parse({"lockstep": "maybe"})
    with pytest.raises(ConfigError, match="got seed:=three; expected a whole number"):
        GraphOptions.parse({"seed": "three"})


def test_every_option_reaches_a_node() -> None:
    """Regression guard: an option that is declared, described and then forgotten."""
    given = GraphOptions(seed=41, instruction="press the button", split="heldout_pose", lockstep=False, strategy="bid",
                         policy="act", use_sim_time=True, namespace="arm", link="other", scene="flat",
                         robot="so101_mobile", detector="some")  # fmt: skip
    graph = tabletop_graph(given)
    reached = {name: value for node in graph.nodes for name, value in node.overrides.items()}
    reached["namespace"] = graph.nodes[0].namespace
    for name in set(GraphOptions.describe()) - {"slam", "nav"}:  # these two decide which nodes there are
        assert reached[name] == getattr(given, name), name


def test_graph_is_written_once() -> None:
    """Node names stand in graph.py and nowhere in the launch files."""
    for path in sorted((workspace_root() / "launch").glob("*.py")):
        tree = ast.parse(path.read_text())
        strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not strings & {node.name for node in GRAPH.nodes}, path.name


def test_simulator_waits_for_the_answers_that_the_policy_gives() -> None:
    """In lockstep both count the same period; with different ones every second answer would be waited for in vain."""
    periods = {
        load_yaml(node.parameter_path)[f"/**/{node.name}"]["ros__parameters"]["replan_period_s"]
        for node in (GRAPH.node("sim_node"), GRAPH.node("policy_node"))
    }
    assert len(periods) == 1
    assert periods == {1.0 / topic("action_chunk").rate_hz}, "the topic table tells another rate"


def test_contract_scene_and_topic_table_agree_on_the_rate_of_the_cameras() -> None:
    contract, scene = load_contract(GRAPH.options.contract), load_yaml(config_path("scenes", GRAPH.options.scene))
    rates = {float(camera["rate_hz"]) for camera in scene["cameras"]}
    rates |= {row.rate_hz for name, row in TOPICS.items() if name.startswith("{camera}/")}
    assert rates == {contract.rate_hz} == {topic("observation").rate_hz}


@pytest.mark.parametrize("lockstep", [True, False])
def test_a_robot_gets_no_patience_of_a_simulation(lockstep: bool) -> None:
    """Regression: lockstep is the default, so a robot's servo went on for 10 s after the safety monitor had died."""
    on_robot = tabletop_graph(GraphOptions(lockstep=lockstep))
    assert "safety_timeout_s" not in on_robot.node("servo_node").overrides
    assert not {"max_ahead_s", "servo_timeout_s"} & set(on_robot.node("safety_monitor_node").overrides)
    simulated = simulated_graph(GraphOptions(lockstep=lockstep))
    assert ("safety_timeout_s" in simulated.node("servo_node").overrides) is lockstep
    assert ("max_ahead_s" in simulated.node("safety_monitor_node").overrides) is lockstep


def test_all_are_started_again_but_the_robot_and_its_servo() -> None:
    assert {node.name for node in GRAPH.nodes if not node.respawn} == {"sim_node", "servo_node"}


def test_a_servo_misses_a_dead_monitor_before_the_next_one_is_there() -> None:
    """Else a kill of the watch would pass unnoticed, and nobody would have to release the robot."""
    servo = load_yaml(GRAPH.node("servo_node").parameter_path)["/**/servo_node"]["ros__parameters"]
    assert servo["safety_timeout_s"] < RESPAWN_DELAY_S


def test_only_a_simulated_graph_waits_for_clock() -> None:
    """Regression: on a robot without /clock every age was 0, and no watch ever acted."""
    assert {node.overrides["use_sim_time"] for node in tabletop_graph(GraphOptions()).nodes} == {False}
    simulated = simulated_graph(GraphOptions())
    assert {node.overrides["use_sim_time"] for node in simulated.nodes} == {simulated.options.use_sim_time} == {True}
