"""The robot: its configuration file and its rigid-body model.

The model is Pinocchio's reading of the robot file's MJCF with the gripper joints locked half open, so mass matrix,
gravity and Jacobians are those of the arm with a hand of constant inertia.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pinocchio as pin

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import asset_path, config_path, load_yaml
from vla_core.types import Float64


@dataclass(frozen=True, slots=True)
class GripperConfig:
    """Parallel gripper: joint names, largest tip distance [m], largest force [N]."""

    joints: tuple[str, ...]
    max_width_m: float
    max_force_n: float


#: What an arm takes from the servo: COMMAND's `tau`, or its `q`.
INTERFACES = ("effort", "position")


@dataclass(frozen=True, slots=True)
class RobotConfig:
    """Parsed `config/robots/<name>.yaml`; every array is float64 (J,) in the order of `joints`.

    Attributes that need a word:
        interface: One of INTERFACES.
        joint_stiffness_nm_rad: Of joint impedance.
        tool_speed_m_s, contact_force_n: Limits on the tool's speed and on the external force at the tool.
        workspace_min_m, workspace_max_m: (3,) where the tool may be, base frame.
        self_clearance_m, scene_clearance_m: Smallest distances to itself, and to the boxes.
        boxes_m: (B,2,3) lowest and highest corner of what stands around the robot, base frame.
    """

    name: str
    interface: str
    model_path: Path
    base_frame: str
    tool_frame: str
    joints: tuple[str, ...]
    home_rad: Float64
    gripper: GripperConfig
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
    self_clearance_m: float
    scene_clearance_m: float
    boxes_m: Float64


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
        joints = tuple(str(j) for j in data["joints"])
        arrays = {key: _array(data["limits"][key], len(joints), key, path) for key in _LIMITS}
        count = len(joints)
        stiffness = _array(data["joint_impedance"]["stiffness_nm_rad"], count, "stiffness_nm_rad", path)
        coulomb = _array(data["friction"]["coulomb_nm"], count, "coulomb_nm", path)
        room, clearance = data["workspace"], data["clearance"]
        corners = [_array(box[key], 3, key, path) for box in clearance["boxes"] for key in ("min_m", "max_m")]
        gripper = data["gripper"]
        config = RobotConfig(
            name=str(data["name"]),
            interface=str(data["interface"]),
            model_path=asset_path(str(data["model"])),
            base_frame=str(data["base_frame"]),
            tool_frame=str(data["tool_frame"]),
            joints=joints,
            home_rad=_array(data["home_rad"], len(joints), "home_rad", path),
            gripper=GripperConfig(
                tuple(str(j) for j in gripper["joints"]), float(gripper["max_width_m"]), float(gripper["max_force_n"])
            ),
            joint_stiffness_nm_rad=stiffness,
            coulomb_friction_nm=coulomb,
            tool_speed_m_s=_positive(data["limits"]["tool_speed_m_s"], "tool_speed_m_s", path),
            contact_force_n=_positive(data["limits"]["contact_force_n"], "contact_force_n", path),
            workspace_min_m=_array(room["min_m"], 3, "min_m", path),
            workspace_max_m=_array(room["max_m"], 3, "max_m", path),
            self_clearance_m=float(clearance["self_m"]),
            scene_clearance_m=float(clearance["scene_m"]),
            boxes_m=np.array(corners, np.float64).reshape(-1, 2, 3),
            **arrays,
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{path.name}: {reason}", "the keys of panda.yaml", f"mend {path}") from error
    if np.any(stiffness <= 0) or np.any(coulomb < 0):
        raise ConfigError(f"{path.name}: stiffness or friction", "stiffness > 0, friction >= 0", f"mend {path}")
    lows = [config.workspace_min_m, *config.boxes_m[:, 0]]
    highs = [config.workspace_max_m, *config.boxes_m[:, 1]]
    if not all(np.all(low < high) for low, high in zip(lows, highs, strict=True)):
        raise ConfigError(f"{path.name}: a workspace or box with min_m >= max_m", "min_m < max_m", f"mend {path}")
    if config.interface not in INTERFACES:
        raise UnknownNameError("interface", config.interface, INTERFACES)
    positive = [key for key in _LIMITS[2:] if not np.all(arrays[key] > 0)]
    if positive or not np.all(config.position_min_rad < config.position_max_rad):
        got = f"{path.name}: limits {positive or ['position_min_rad >= position_max_rad']}"
        raise ConfigError(got, "limits > 0 and min < max", f"mend {path}")
    return config


class RobotModel:
    """Kinematics and dynamics of the arm.

    One instance belongs to one thread: Pinocchio's data is reused between calls.

    Attributes:
        config: The robot's configuration.
        model: pinocchio.Model of the arm's J joints, gripper locked.
        tool_id: Frame index of the tool in `model`.
        damping_nm_s: float64 (J,) passive joint damping of the model file [N*m*s/rad].
    """

    def __init__(self, config: RobotConfig) -> None:
        """Build the model.

        Raises:
            ConfigError: the model file can't be read or lacks a joint or the tool frame of the configuration.
        """
        self.config = config
        path = config.model_path
        try:
            full = pin.buildModelFromMJCF(str(path))
        except Exception as error:  # the binding raises RuntimeError and several Boost exceptions
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{path.name}: {reason}", "an MJCF robot", f"mend {path}") from error
        names = [str(n) for n in full.names][1:]
        missing = [j for j in (*config.joints, *config.gripper.joints) if j not in names]
        if missing:
            raise ConfigError(f"{path.name} without joints {missing}", f"joints {names}", "mend the robot file")
        locked = [full.getJointId(n) for n in names if n not in config.joints]
        reference = pin.neutral(full)
        for name in config.gripper.joints:
            reference[full.joints[full.getJointId(name)].idx_q] = 0.25 * config.gripper.max_width_m
        model = pin.buildReducedModel(full, locked, reference)
        order = tuple(str(n) for n in model.names)[1:]
        if order != config.joints:
            raise ConfigError(f"joint order {list(config.joints)}", f"{list(order)}", "use the model file's order")
        if not model.existFrame(config.tool_frame):
            raise ConfigError(f"{path.name} without site '{config.tool_frame}'", "a tool site", "add the site")
        self.model: Any = model
        self.tool_id = int(model.getFrameId(config.tool_frame))
        self.damping_nm_s: Float64 = np.array(model.damping, dtype=np.float64)
        self._data = model.createData()

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
        twin.config, twin.tool_id, twin.damping_nm_s = self.config, self.tool_id, self.damping_nm_s
        twin.model = pin.Model(self.model)
        twin._data = twin.model.createData()
        return twin

    @property
    def joint_count(self) -> int:
        return len(self.config.joints)

    def tool_se3(self, q: Float64) -> Any:
        """T_base_tool as pinocchio.SE3 at q [rad] (J,); valid until the next call on this object."""
        pin.forwardKinematics(self.model, self._data, q)
        return pin.updateFramePlacement(self.model, self._data, self.tool_id)

    def tool_pose(self, q: Float64) -> tuple[Float64, Float64]:
        """Tool in the base frame at joint positions q.

        Args:
            q: [rad] float64 (J,).

        Returns:
            Position [m] (3,) and unit quaternion xyzw (4,) with w >= 0.
        """
        pose = self.tool_se3(np.ascontiguousarray(q, dtype=np.float64))
        quaternion = np.array(pin.Quaternion(pose.rotation).coeffs())
        return np.array(pose.translation), quaternion if quaternion[3] >= 0 else -quaternion

    def jacobian(self, q: Float64) -> Float64:
        """Geometric Jacobian of the tool, axes of the base frame (LOCAL_WORLD_ALIGNED).

        Args:
            q: [rad] float64 (J,).

        Returns:
            (6,J): linear [m/rad] over angular [rad/rad].
        """
        frame = pin.LOCAL_WORLD_ALIGNED
        return np.array(pin.computeFrameJacobian(self.model, self._data, np.asarray(q, float), self.tool_id, frame))


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
