"""The node graph as data, written once: `launch/*.launch.py` and the process runner are both made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from vla_core import strategies
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import config_path, load_yaml, workspace_root

Scalar = bool | int | float | str
Layer = Literal["sim", "perception", "policy", "control", "navigation"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
SHIPPED = "tabletop_flow"  # the policy preset of the default scene, and of everything that isn't about a scene
EXPERT = "scripted_expert"  # `policy` of presets that a node of the simulator plays
STACK_LAYERS: tuple[Layer, ...] = LAYERS[1:]  # what runs on a robot, where drivers take the place of `sim`
OUR_SLAMS = ("embedded", "fast_livo2")
SLAMS, NAVIGATORS = (*OUR_SLAMS, "slam_toolbox", "external"), ("embedded", "nav2")
RESPAWN_DELAY_S = 1.0  # longer than the servo waits for the safety monitor: the arm is braking before it is back


def _option(default: Scalar, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """What a user can choose about the graph; each is a launch argument of the same name."""

    robot: str = _option("panda", "robot, a file of config/robots")
    contract: str = _option("tabletop_panda", "contract, a file of config/contracts")
    policy: str = _option("", "policy preset, a file of config/policies; empty: the scene's")
    strategy: str = _option("", "how chunks are executed (docs/strategies.md); empty: as config/control.yaml says")
    scene: str = _option("tabletop", "simulated scene, a file of config/scenes")
    seed: int = _option(0, "decides everything that is random: scene and sampling of actions")
    instruction: str = _option("", "build the scene for this instruction; empty: draw a task")
    split: str = _option("train", "which objects and phrases a drawn task may have")
    slam: str = _option(
        "embedded",
        "who makes map and map -> odom: embedded, fast_livo2 (slam_node at its poses), slam_toolbox, external",
    )
    nav: str = _option("embedded", "who serves navigate_to_pose: embedded, or nav2, started beside")
    detector: str = _option("", "finds things for the semantic map; empty: the simulated scene's, or no such map")
    lockstep: bool = _option(True, "the simulated world waits for servo and policy; false: real time")
    use_sim_time: bool = _option(False, "nodes take their time from /clock; only sim.launch.py sets it by default")
    namespace: str = _option("", "namespace of every node, for more than one robot")
    link: str = _option("vla", "name of the shared-memory link, one per running graph")

    @classmethod
    def describe(cls) -> dict[str, tuple[Scalar, str]]:
        """Every option: name → (default, description)."""
        defaults = cls()
        return {f.name: (getattr(defaults, f.name), f.metadata["description"]) for f in fields(cls)}

    @classmethod
    def of_scene(cls, scene: str, **options: Any) -> GraphOptions:
        """Options for a simulated scene, with the robot, the contract and, where it has one, the split of its file.

        Raises:
            UnknownNameError: no such scene.
        """
        data = load_yaml(config_path("scenes", scene))
        named: dict[str, Any] = {name: data[name] for name in ("robot", "contract", "split") if name in data}
        return cls(scene=scene, **(named | options))

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> GraphOptions:
        """Make options of launch-argument texts; options that aren't named keep their default.

        Raises:
            UnknownNameError: no such option, or no such truth value.
            ConfigError: not a whole number where one is needed.
        """
        known = cls.describe()
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name not in known:
                raise UnknownNameError("option", name, known)
            values[name] = _parse(name, text, known[name][0])
        return cls(**values)


def _parse(name: str, text: str, like: Scalar) -> Scalar:
    if isinstance(like, bool):
        truths = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in truths:
            raise UnknownNameError("truth value", text, ("true", "false"))
        return truths[text.lower()]
    if not isinstance(like, int):
        return text
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"{name}:={text}", "a whole number", f"for example {name}:={like}") from error


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node process.

    Attributes:
        name: Node name.
        package: ROS package, also the Python module's name.
        executable: Entry point of the package, also the module `<package>.<executable>`.
        layer: Which launch file starts it.
        parameter_file: File of `config/` with its parameters.
        overrides: Parameters that the options decide; they win over the file.
        remaps: Topic names, from → to.
        namespace: ROS namespace, empty: the root.
        respawn: Started again when it dies, after RESPAWN_DELAY_S; the arm is held meanwhile. False for the robot and
            its servo: nobody can say what the arm did without them, so the graph ends and a person starts it.
    """

    name: str
    package: str
    executable: str
    layer: Layer
    parameter_file: str
    overrides: Mapping[str, Scalar]
    remaps: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    respawn: bool = False

    @property
    def parameter_path(self) -> Path:
        return workspace_root() / "config" / self.parameter_file


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of the straight line, and the options that they were made from."""

    options: GraphOptions
    nodes: tuple[NodeSpec, ...]

    def layer(self, name: str) -> tuple[NodeSpec, ...]:
        """Nodes of one layer.

        Raises:
            UnknownNameError: no such layer.
        """
        if name not in LAYERS:
            raise UnknownNameError("layer", name, LAYERS)
        return tuple(node for node in self.nodes if node.layer == name)

    @property
    def mission(self) -> str:
        """The action that takes instructions: 'fetch' where somebody drives to things, else 'execute_instruction'."""
        return "fetch" if any(node.name == "fetch_node" for node in self.nodes) else "execute_instruction"

    def node(self, name: str) -> NodeSpec:
        """Node by name.

        Raises:
            UnknownNameError: no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise UnknownNameError("node", name, (node.name for node in self.nodes))


def simulated_graph(options: GraphOptions) -> Graph:
    """`tabletop_graph` with the simulator as its robot: time comes from /clock, whatever the options say."""
    return tabletop_graph(replace(options, use_sim_time=True))


def tabletop_graph(options: GraphOptions) -> Graph:
    """The whole line for one arm on a table; on a robot, drivers take the place of the layer 'sim'.

    Raises:
        UnknownNameError: robot, contract, policy or scene has no file; the message lists those that have.
        ConfigError: the simulated scene is for another robot.
    """
    scene = load_yaml(config_path("scenes", options.scene))
    options = replace(options, policy=options.policy or str(scene["policy"]))
    for kind, name in {"robots": options.robot, "contracts": options.contract, "policies": options.policy}.items():
        config_path(kind, name)
    if options.use_sim_time:
        _check_robot(options, scene)
        options = replace(options, detector=options.detector or str(scene.get("detector", "")))
    link: dict[str, Scalar] = {"link": options.link}
    robot: dict[str, Scalar] = {"robot": options.robot}
    contract: dict[str, Scalar] = {"contract": options.contract}
    # On a busy machine heartbeats and /clock may come late; a simulated robot in lockstep waits for everybody anyway.
    waits = options.lockstep and options.use_sim_time
    servo_patience: dict[str, Scalar] = {"safety_timeout_s": 10.0} if waits else {}
    monitor_patience: dict[str, Scalar] = {"max_ahead_s": 10.0, "servo_timeout_s": 0.0} if waits else {}
    world: dict[str, Scalar] = {"scene": options.scene, **link}
    task: dict[str, Scalar] = {"seed": options.seed, "instruction": options.instruction, "split": options.split}
    policy: dict[str, Scalar] = {**contract, "policy": options.policy, "seed": options.seed}
    found: dict[str, Scalar] = {**robot, "detector": options.detector}
    looks: dict[str, Scalar] = {"looked_at": "objects" if options.detector else "observation"}
    strategy: dict[str, Scalar] = {"strategy": options.strategy} if options.strategy else {}
    if options.strategy and options.strategy not in strategies.ALL:
        raise UnknownNameError("strategy", options.strategy, strategies.ALL)
    for kind, name, known in (("slam", options.slam, SLAMS), ("nav", options.nav, NAVIGATORS)):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    drives = drives_to_places(options)
    maps: dict[str, Scalar] = {"pose_source": "lidar_inertial"} if options.slam == "fast_livo2" else {}
    base = "base" in equipment(options)
    # a robot that drives does so before it is told to use its arm: its world must not stand still until then
    pace: dict[str, Scalar] = {"lockstep": options.lockstep, **({"wait_for_instruction": False} if base else {})}
    rows: tuple[tuple[Layer, str, str, dict[str, Scalar]], ...] = (
        ("sim", "vla_sim", "sim_node", world | task | contract | pace),
        ("sim", "vla_sim", "camera_node", world),
        ("perception", "vla_perception", "observation_node", contract),
        ("policy", "vla_policy", "policy_node", policy),
        ("control", "vla_control", "executor_node", {**robot, **contract, **link, **strategy}),
        ("control", "vla_control", "servo_node", {**robot, **link, **servo_patience}),
        *((("control", "vla_control", "base_node", robot),) if base else ()),
        ("control", "vla_control", "safety_monitor_node", {**link, **monitor_patience}),
        ("navigation", "vla_navigation", "mission_node", {"policy": options.policy}),
        *((("navigation", "vla_navigation", "slam_node", maps),) if drives and options.slam in OUR_SLAMS else ()),
        *((("navigation", "vla_navigation", "navigator_node", robot),) if drives and options.nav == "embedded" else ()),
        *((("navigation", "vla_navigation", "explorer_node", looks),) if drives else ()),
        *((("navigation", "vla_navigation", "semantic_map_node", found),) if drives and options.detector else ()),
        *((("navigation", "vla_navigation", "fetch_node", robot),) if drives else ()),
    )
    nodes = tuple(
        NodeSpec(
            name=name,
            package=package,
            executable=name,
            layer=layer,
            parameter_file=f"{package.removeprefix('vla_')}.yaml",
            overrides={"use_sim_time": options.use_sim_time, **overrides},
            namespace=options.namespace,
            respawn=name not in ("sim_node", "servo_node"),
        )
        for layer, package, name, overrides in rows
    )
    if load_yaml(config_path("policies", options.policy)).get("policy") == EXPERT:
        nodes = tuple(_played_by_expert(node, world) if node.name == "policy_node" else node for node in nodes)
    return Graph(options, nodes)


def drives_to_places(options: GraphOptions) -> bool:
    """Whether the robot's file has a section `navigation`: then it has wheels and a lidar, and maps where it goes."""
    return "navigation" in load_yaml(config_path("robots", options.robot))


def _played_by_expert(node: NodeSpec, world: Mapping[str, Scalar]) -> NodeSpec:
    """The policy node with the scripted expert in it: the simulator's, but under the same name and parameters."""
    return replace(node, package="vla_sim", executable="expert_node", overrides={**node.overrides, **world})


def equipment(options: GraphOptions) -> frozenset[str]:
    """What the robot has, as `only_with` of the topic table names it; '' stands for what every robot has.

    A base and what navigation needs to know of it are sections of the robot file; sensors to drive by are sections
    `lidar_2d`, `lidar_3d`, `imu` and `battery` of the simulated scene's. A physical robot's drivers are not ours: of
    its sensors the stack knows by their topics. A detector is named by the options.
    """
    robot = load_yaml(config_path("robots", options.robot))
    scene = load_yaml(config_path("scenes", options.scene)) if options.use_sim_time else {}
    sensors = {"lidar": "lidar_2d", "lidar_3d": "lidar_3d", "imu": "imu", "battery": "battery"}
    has = {name for name, section in sensors.items() if section in scene}
    return frozenset({"", *has, *(name for name in ("base", "navigation") if name in robot),
                      *({"detector"} if options.detector and "navigation" in robot else ())})  # fmt: skip


def _check_robot(options: GraphOptions, scene: Mapping[str, Any]) -> None:
    if scene["robot"] != options.robot:
        got = f"robot '{options.robot}' in scene '{options.scene}'"
        fix = f"launch with robot:={scene['robot']} contract:={scene['contract']}"
        raise ConfigError(got, f"robot '{scene['robot']}'", fix)
