"""The robot: its configuration file and its rigid-body model.

The model is Pinocchio's reading of the robot file's MJCF with the gripper joints locked half open, so mass matrix,
gravity and Jacobians are those of the arm with a hand of constant inertia.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pinocchio as pin

from vla_control.core.base.config import BaseConfig, parse_base
from vla_control.core.collision import Box, CollisionConfig, CollisionModel, parse_collision, parse_obstacles
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import asset_path, config_path, load_yaml
from vla_core.records import MAX_GRIPPERS, MAX_JOINTS
from vla_core.types import Float64

_HOLDS_M, _OPEN = 0.006, 0.9  # closed tips may stand a little apart; from this share of the width on they are open


@dataclass(frozen=True, slots=True)
class GripperConfig:
    """Gripper: name of its action, actuator and joints of the model file, largest tip distance, force [N].

    Attributes that need a word:
        widths: Of a jaw that turns: (joint position [rad], distance of the pads [m]), by rising position. Empty where
            fingers slide: then the joints' positions [m] add up to the distance of the tips.
    """

    name: str
    actuator: str
    joints: tuple[str, ...]
    max_width_m: float
    max_force_n: float
    widths: tuple[tuple[float, float], ...] = ()

    @property
    def holding_m(self) -> tuple[float, float]:
        """Tips that want to close and stay so far apart [m], least and most, have something between them."""
        return _HOLDS_M, _OPEN * self.max_width_m

    def width_m(self, positions: Float64) -> float:
        """Distance of the tips [m] at joint positions (F,) [m], or [rad] of a turning jaw."""
        if not self.widths:
            return float(positions.sum())
        at, width = zip(*self.widths, strict=True)
        return float(np.interp(positions[0], at, width))


#: What an arm takes from the servo: COMMAND's `tau`, or its `q`.
INTERFACES = ("effort", "position")


@dataclass(frozen=True, slots=True)
class ArmConfig:
    """One arm: its share of the robot's joints, the frame between its finger tips, its gripper."""

    name: str
    joints: tuple[str, ...]
    tool_frame: str
    gripper: GripperConfig


@dataclass(frozen=True, slots=True)
class RobotConfig:
    """Parsed `config/robots/<name>.yaml`; every array is float64 (J,) in the order of `joints`: arm after arm.

    Attributes that need a word:
        interface: One of INTERFACES.
        joint_stiffness_nm_rad: Of joint impedance.
        tool_speed_m_s: Limit on the speed of every tool.
        contact_force_n: Limit on the external force at every tool.
        workspace_min_m, workspace_max_m: (3,) where the tools may be, base frame.
        obstacles: What stands around the robot, fixed to its base.
        self_clearance_m, scene_clearance_m: Smallest distances to itself, and to the obstacles, kept by every tick.
        ik_rotation_m: What a radian of the tool costs where a pose is out of reach [m].
        base: The mobile base that carries the arms, None where they stand still.
        collision: What inverse kinematics keeps apart, None where it watches nothing.
    """

    name: str
    interface: str
    model_path: Path
    base_frame: str
    arms: tuple[ArmConfig, ...]
    home_rad: Float64
    position_min_rad: Float64
    position_max_rad: Float64
    velocity_rad_s: Float64
    acceleration_rad_s2: Float64
    jerk_rad_s3: Float64
    torque_nm: Float64
    torque_rate_nm_s: Float64
    joint_stiffness_nm_rad: Float64
    coulomb_friction_nm: Float64
    tool_speed_m_s: float
    contact_force_n: float
    workspace_min_m: Float64
    workspace_max_m: Float64
    obstacles: tuple[Box, ...]
    self_clearance_m: float
    scene_clearance_m: float
    ik_rotation_m: float
    base: BaseConfig | None
    collision: CollisionConfig | None

    @property
    def joints(self) -> tuple[str, ...]:
        return tuple(name for arm in self.arms for name in arm.joints)

    @property
    def grippers(self) -> tuple[GripperConfig, ...]:
        return tuple(arm.gripper for arm in self.arms)

    @property
    def tool_frame(self) -> str:
        """The first arm's."""
        return self.arms[0].tool_frame

    @property
    def gripper_width_max_m(self) -> Float64:
        """Opening of each gripper at most [m], float64 (G,)."""
        return np.array([gripper.max_width_m for gripper in self.grippers])

    @property
    def gripper_force_n(self) -> Float64:
        """Force of each gripper at most [N], float64 (G,)."""
        return np.array([gripper.max_force_n for gripper in self.grippers])


_LIMITS = (
    "position_min_rad",
    "position_max_rad",
    "velocity_rad_s",
    "acceleration_rad_s2",
    "jerk_rad_s3",
    "torque_nm",
    "torque_rate_nm_s",
)


def load_robot_config(name: str) -> RobotConfig:
    """Load `config/robots/<name>.yaml`.

    Raises:
        UnknownNameError: no such robot or interface; lists the known ones.
        ConfigError: a key is missing, has a wrong type or a wrong number of values.
    """
    path = config_path("robots", name)
    data = load_yaml(path)
    try:
        arms = tuple(_arm(arm) for arm in data["arms"])
        joints = tuple(name for arm in arms for name in arm.joints)
        limits, room, clearance, count = data["limits"], data["workspace"], data["clearance"], len(joints)
        arrays = {key: _array(limits[key], count, key, path) for key in _LIMITS}
        stiffness = _array(data["joint_impedance"]["stiffness_nm_rad"], count, "stiffness_nm_rad", path)
        coulomb = _array(data["friction"]["coulomb_nm"], count, "coulomb_nm", path)
        config = RobotConfig(
            name=str(data["name"]),
            interface=str(data["interface"]),
            model_path=asset_path(str(data["model"])),
            base_frame=str(data["base_frame"]),
            arms=arms,
            home_rad=_array(data["home_rad"], count, "home_rad", path),
            joint_stiffness_nm_rad=stiffness,
            coulomb_friction_nm=coulomb,
            tool_speed_m_s=_positive(limits["tool_speed_m_s"], "tool_speed_m_s", path),
            contact_force_n=_positive(limits["contact_force_n"], "contact_force_n", path),
            workspace_min_m=_array(room["min_m"], 3, "min_m", path),
            workspace_max_m=_array(room["max_m"], 3, "max_m", path),
            obstacles=parse_obstacles(data["obstacles"], path),
            self_clearance_m=float(clearance["self_m"]),
            scene_clearance_m=float(clearance["scene_m"]),
            ik_rotation_m=_positive(data["ik"]["rotation_m"], "rotation_m", path),
            base=parse_base(data["base"], path) if "base" in data else None,
            collision=parse_collision(data["collision"], path) if "collision" in data else None,
            **arrays,
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{path.name}: {reason}", "the keys of panda.yaml", f"mend {path}") from error
    if np.any(stiffness <= 0) or np.any(coulomb < 0):
        raise ConfigError(f"{path.name}: stiffness or friction", "stiffness > 0, friction >= 0", f"mend {path}")
    if not np.all(config.workspace_min_m < config.workspace_max_m):
        raise ConfigError(f"{path.name}: a workspace without volume", "min_m < max_m", f"mend {path}")
    if config.interface not in INTERFACES:
        raise UnknownNameError("interface", config.interface, INTERFACES)
    positive = [key for key in _LIMITS[2:] if not np.all(arrays[key] > 0)]
    if positive or not np.all(config.position_min_rad < config.position_max_rad):
        got = f"{path.name}: limits {positive or ['position_min_rad >= position_max_rad']}"
        raise ConfigError(got, "limits > 0 and min < max", f"mend {path}")
    if not 0 < len(arms) <= MAX_GRIPPERS or not 0 < len(joints) <= MAX_JOINTS:
        got = f"{path.name}: {len(arms)} arms with {len(joints)} joints"
        raise ConfigError(got, f"1 to {MAX_GRIPPERS} arms, 1 to {MAX_JOINTS} joints", f"mend {path}")
    return config


def _widths(gripper: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    rows = tuple((float(at), float(width)) for at, width in gripper.get("widths", ()))
    if any(before[0] >= after[0] for before, after in pairwise(rows)):
        raise ValueError(f"widths of gripper '{gripper['name']}' whose joint positions don't rise")
    if rows and len(gripper["joints"]) != 1:
        raise ValueError(f"widths of gripper '{gripper['name']}' with {len(gripper['joints'])} joints, not one")
    return rows


def _arm(data: dict[str, Any]) -> ArmConfig:
    gripper = data["gripper"]
    return ArmConfig(
        name=str(data["name"]),
        joints=tuple(str(joint) for joint in data["joints"]),
        tool_frame=str(data["tool_frame"]),
        gripper=GripperConfig(
            name=str(gripper["name"]),
            actuator=str(gripper["actuator"]),
            joints=tuple(str(joint) for joint in gripper["joints"]),
            max_width_m=float(gripper["max_width_m"]),
            max_force_n=float(gripper["max_force_n"]),
            widths=_widths(gripper),
        ),
    )


class RobotModel:
    """Kinematics and dynamics of the arm, or of all arms together.

    One instance belongs to one thread: Pinocchio's data is reused between calls.

    Attributes:
        config: The robot's configuration.
        model: pinocchio.Model of the arms' J joints, grippers locked.
        tool_ids: Frame index of each arm's tool in `model`.
        damping_nm_s: float64 (J,) passive joint damping of the model file [N*m*s/rad].
    """

    def __init__(self, config: RobotConfig) -> None:
        """Build the model.

        Raises:
            ConfigError: the model file can't be read, lacks a joint or the tool frame of the configuration, or a tool
                isn't carried by the joints of its own arm only.
        """
        self.config = config
        path = config.model_path
        try:
            full = pin.buildModelFromMJCF(str(path))
        except Exception as error:  # the binding raises RuntimeError and several Boost exceptions
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{path.name}: {reason}", "an MJCF robot", f"mend {path}") from error
        names = [str(n) for n in full.names][1:]
        fingers = [name for gripper in config.grippers for name in gripper.joints]
        missing = [j for j in (*config.joints, *fingers) if j not in names]
        if missing:
            raise ConfigError(f"{path.name} without joints {missing}", f"joints {names}", "mend the robot file")
        locked = [full.getJointId(n) for n in names if n not in config.joints]
        reference = pin.neutral(full)
        for gripper in config.grippers:
            for name in gripper.joints:
                reference[full.joints[full.getJointId(name)].idx_q] = 0.25 * gripper.max_width_m
        model = pin.buildReducedModel(full, locked, reference)
        order = tuple(str(n) for n in model.names)[1:]
        if order != config.joints:
            raise ConfigError(f"joint order {list(config.joints)}", f"{list(order)}", "use the model file's order")
        for arm in config.arms:
            if not model.existFrame(arm.tool_frame):
                raise ConfigError(f"{path.name} without site '{arm.tool_frame}'", "a tool site", "add the site")
            carrier = int(model.frames[model.getFrameId(arm.tool_frame)].parentJoint)
            carriers = {str(model.names[joint]) for joint in model.supports[carrier] if joint}
            if not carriers or not carriers <= set(arm.joints):
                got = f"{path.name}: site '{arm.tool_frame}' on joints {sorted(carriers)}"
                raise ConfigError(got, f"joints of arm '{arm.name}' only", "mend the robot file")
        self.model: Any = model
        self.tool_ids = tuple(int(model.getFrameId(arm.tool_frame)) for arm in config.arms)
        self.damping_nm_s: Float64 = np.array(model.damping, dtype=np.float64)
        self._data = model.createData()
        self._reduction = full, locked, reference

    def collision_model(self) -> CollisionModel | None:
        """Model of what must keep apart; None where the robot file names nothing.

        Raises:
            ConfigError: a pair names a shape that the model file lacks.
        """
        if self.config.collision is None:
            return None
        return CollisionModel(self.config.collision, self.config.obstacles, self.model, self._reduced_shapes())

    def shapes(self, fingers: bool) -> list[Any]:
        """Collision shapes of the model file as pinocchio's geometry objects, placed on the joints of `model`.

        Args:
            fingers: With those that the grippers' joints move, as they are when half open.
        """
        full, _, _ = self._reduction
        moved = {full.getJointId(name) for gripper in self.config.grippers for name in gripper.joints}
        own = {str(shape.name) for shape in self._all_shapes().geometryObjects if shape.parentJoint in moved}
        return [s for s in self._reduced_shapes().geometryObjects if fingers or str(s.name) not in own]

    def _all_shapes(self) -> Any:
        full, _, _ = self._reduction
        return pin.buildGeomFromMJCF(full, str(self.config.model_path), pin.GeometryType.COLLISION)

    def _reduced_shapes(self) -> Any:
        full, locked, reference = self._reduction
        _, (reduced,) = pin.buildReducedModel(full, [self._all_shapes()], locked, reference)
        return reduced

    @classmethod
    def load(cls, name: str) -> RobotModel:
        """Model of `config/robots/<name>.yaml`.

        Raises:
            UnknownNameError: no such robot.
            ConfigError: the configuration or the model file is broken.
        """
        return cls(load_robot_config(name))

    def copy(self) -> RobotModel:
        """The same robot with a rigid-body model of its own, whose inertias may be changed."""
        twin = object.__new__(RobotModel)
        twin.config, twin.tool_ids, twin.damping_nm_s = self.config, self.tool_ids, self.damping_nm_s
        twin._reduction = self._reduction
        twin.model = pin.Model(self.model)
        twin._data = twin.model.createData()
        return twin

    @property
    def joint_count(self) -> int:
        return len(self.config.joints)

    def joints_of(self, arm: int) -> slice:
        """Place of an arm's joints among those of the robot."""
        counts = [len(each.joints) for each in self.config.arms]
        return slice(sum(counts[:arm]), sum(counts[: arm + 1]))

    @property
    def tool_id(self) -> int:
        """Frame index of the first arm's tool."""
        return self.tool_ids[0]

    @property
    def gripper_count(self) -> int:
        return len(self.config.arms)

    def tool_se3(self, q: Float64, arm: int = 0) -> Any:
        """T_base_tool of an arm as pinocchio.SE3 at q [rad] (J,); valid until the next call on this object."""
        pin.forwardKinematics(self.model, self._data, q)
        return pin.updateFramePlacement(self.model, self._data, self.tool_ids[arm])

    def tool_pose(self, q: Float64, arm: int = 0) -> tuple[Float64, Float64]:
        """Tool of an arm in the base frame at joint positions q.

        Args:
            q: [rad] float64 (J,).
            arm: Which, in the robot file's order.

        Returns:
            Position [m] (3,) and unit quaternion xyzw (4,) with w >= 0.
        """
        pose = self.tool_se3(np.ascontiguousarray(q, dtype=np.float64), arm)
        quaternion = np.array(pin.Quaternion(pose.rotation).coeffs())
        return np.array(pose.translation), quaternion if quaternion[3] >= 0 else -quaternion

    def jacobian(self, q: Float64, arm: int = 0) -> Float64:
        """Geometric Jacobian of an arm's tool, axes of the base frame (LOCAL_WORLD_ALIGNED).

        Args:
            q: [rad] float64 (J,).
            arm: Which, in the robot file's order.

        Returns:
            (6,J): linear [m/rad] over angular [rad/rad].
        """
        frame = pin.LOCAL_WORLD_ALIGNED
        tool = self.tool_ids[arm]
        return np.array(pin.computeFrameJacobian(self.model, self._data, np.asarray(q, float), tool, frame))


def _array(values: Any, count: int, key: str, path: Path) -> Float64:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,) or not np.all(np.isfinite(array)):
        raise ConfigError(f"{path.name}: {key} = {values}", f"{count} finite numbers", f"mend {path}")
    array.setflags(write=False)
    return array


def _positive(value: Any, key: str, path: Path) -> float:
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ConfigError(f"{path.name}: {key} = {value}", "a number > 0", f"mend {path}")
    return number
