"""The flat world: a generated apartment around a mobile manipulator with its sensors; stage 0 of the line.

A reset compiles the model of another flat. The robot comes first in every model, so its addresses never change; what
holds on to `model` or `data` has to fetch them anew.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np

from vla_control.core.base.controller import BaseTargetError
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.types import Float64, RobotState
from vla_sim.core.flat import faults, truth
from vla_sim.core.flat.collisions import CollisionCounter
from vla_sim.core.flat.drive import BaseDrive
from vla_sim.core.flat.floor import DOOR_HEIGHT_M
from vla_sim.core.flat.imu import Imu, ImuConfig
from vla_sim.core.flat.jaw import Jaw
from vla_sim.core.flat.lidar import Lidar, LidarConfig
from vla_sim.core.flat.model import DOOR_AWAY_M, build_model
from vla_sim.core.flat.odometry import Odometry, OdometryConfig, WheelOdometry
from vla_sim.core.flat.plan import FlatPlan, draw_plan
from vla_sim.core.flat.style import draw_style
from vla_sim.core.mobile_world import MobileWorld
from vla_sim.core.tasks import Item

_SPREAD_RAD = 0.02
_GRIP_RAD = 0.15  # beyond closed: a jaw asked to shut presses on
_SHUT_M = 0.005
_SETTLE_STEPS = 60  # things sink into their contacts


class FlatWorld(MobileWorld):
    """See MobileWorld. `base_link` is the robot's base frame; `command_base` drives it, `step` the arm.

    Attributes:
        plan: Ground truth of the flat, for judges and experts only.
        collisions: Ground truth, for judges only.
        driven_m: The same: way of the base since the reset.
        faults: What is wrong now.
    """

    wheels = ("left_wheel", "right_wheel")

    def __init__(self, scene: str = "flat") -> None:
        self.plan = draw_plan(0)
        super().__init__(scene)
        if self.robot.base is None or self.robot.base.drive != "differential":
            raise ConfigError(f"robot '{self.robot.name}'", "one with a differential base", f"mend scene '{scene}'")
        self._begin()

    def build(self) -> mujoco.MjModel:
        style = draw_style(np.random.default_rng([self.plan.seed, 43]))
        return build_model(self.scene, self.robot.model_path, self.plan, style)

    # -- reset -----------------------------------------------------------------------------------------------------

    def reset(self, seed: int, instruction: str | None = None, split: str = "train", family: str | None = None) -> str:
        """Build another flat.

        Args:
            seed: Decides everything that is random.
            instruction: Build the flat for this errand instead of drawing one.
            split: Which flats, pairs and phrases may be drawn; see `errands.SPLITS`.
            family: Draw an errand of this family.

        Returns:
            The instruction.

        Raises:
            UnknownNameError: no such split or family.
            UnknownObjectError: the instruction is no errand, or no flat has room for it.
        """
        self.place(draw_plan(seed, split, instruction, family))
        return self.task.instruction

    def place(self, plan: FlatPlan) -> None:
        """Go on in a flat that somebody has planned."""
        self.plan = plan
        self.take(self.build())
        self._begin()

    def _begin(self) -> None:
        plan, scene, model = self.plan, self.scene, self.model
        self.task = plan.errand
        self.slots = {Item(thing.colour, thing.category): f"thing{i}" for i, thing in enumerate(plan.things)}
        self.faults = faults.FlatFaults()
        noise = [np.random.default_rng([plan.seed, 47, i]) for i in range(5)]
        self.lidar_2d = Lidar(LidarConfig(**scene["lidar_2d"]), noise[0])
        self.lidar_3d = Lidar(LidarConfig(**scene["lidar_3d"]), noise[1])
        self.battery_hz = float(scene["battery"]["rate_hz"])
        self.imu = Imu(ImuConfig(**scene["imu"]), noise[2])
        base, errors = self.robot.base, OdometryConfig(**scene["odometry"])
        assert base is not None, "checked at the beginning"
        self._wheel_odometry = WheelOdometry(errors, base.wheel_radius_m, base.track_m, noise[3])
        self._odometry_steps = round(1.0 / (errors.rate_hz * model.opt.timestep))
        self._drive = BaseDrive(base, self.command_timeout_s)
        self._jaw = Jaw(model, self.robot.grippers[0].joints[0])
        self.gripper_force_limit_n = self.robot.gripper_force_n
        self._wheels = np.array([model.actuator(name).id for name in self.wheels])
        self._wheel_q = np.array([model.joint(name).qposadr[0] for name in self.wheels])
        self._base = model.body(self.robot.base_frame).id
        self.collisions = CollisionCounter(model, self.robot.base_frame, float(scene["collision"]["force_n"]))
        self.clear()
        self.start_robot(noise[4], _SPREAD_RAD)
        self._settle()
        self._steps, self.driven_m = 0, 0.0
        self._was_at = self.base_pose()[:2]
        self._turned = self._wheels_were = self.wheel_angles()
        self.odometry: Odometry = self._wheel_odometry.update(self._turned, 0.0)

    def start_robot(self, rng: np.random.Generator, spread_rad: float) -> None:
        """Put the robot where the plan says, its arm near home and its gripper closed."""
        x, y, yaw = self.plan.start
        free = self.model.joint("base_free").qposadr[0]
        self.data.qpos[free : free + 7] = [x, y, 0.0, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        q = self.robot.home_rad + rng.uniform(-spread_rad, spread_rad, self.robot.home_rad.shape)
        self.data.qpos[self.arm_q], self.data.ctrl[self._motors] = q, q
        self.data.qpos[self.finger_q] = self.data.ctrl[self._grippers] = self._jaw.angle(0.0)
        mujoco.mj_forward(self.model, self.data)

    def _settle(self) -> None:
        """Let things and wheels sink into their contacts; time begins after it."""
        mujoco.mj_step(self.model, self.data, _SETTLE_STEPS)
        self.data.time = 0.0
        mujoco.mj_forward(self.model, self.data)

    # -- run -------------------------------------------------------------------------------------------------------

    def command_base(self, vx_m_s: float, wz_rad_s: float) -> None:
        """See MobileWorld; the base ramps to the twist."""
        if not np.isfinite([vx_m_s, wz_rad_s]).all():
            got = f"a base command of {vx_m_s} m/s and {wz_rad_s} rad/s"
            raise BaseTargetError(got, "finite numbers", "mend who publishes cmd_vel")
        self._drive.command(vx_m_s, wz_rad_s)

    @property
    def command_timeout_s(self) -> float:
        return float(self.scene["base"]["command_timeout_s"])

    @property
    def charge(self) -> float:
        """It falls evenly from full at the beginning."""
        used = float(self.data.time) / (3600.0 * float(self.scene["battery"]["hours"]))
        return max(0.0, 1.0 - used - self.faults.drained)

    def sensor_sites(self) -> dict[str, str]:
        lidars = {str(self.scene[key]["site"]): str(self.scene[key]["frame"]) for key in ("lidar_2d", "lidar_3d")}
        return {**lidars, str(self.scene["imu"]["site"]): str(self.scene["imu"]["frame"])}

    def step(self, command: Float64, gripper_width_m: Float64, gripper_force_n: Float64) -> None:
        """Advance by one step of the scene's timestep.

        Args:
            command: Joint positions [rad] (J,).
            gripper_width_m, gripper_force_n: Distance of the pads [m] and their force [N] (1,).
        """
        data, model = self.data, self.model
        self.faults.tick(data.time)
        width = float((self.robot.gripper_width_max_m if self.faults.opened else gripper_width_m)[0])
        torque = float(gripper_force_n[0]) * self._jaw.lever_m
        data.ctrl[self._motors] = command
        data.ctrl[self._grippers] = self._jaw.angle(width) - _GRIP_RAD * (width < _SHUT_M)
        model.actuator_forcerange[self._grippers[0]] = [-torque, torque]
        data.ctrl[self._wheels] = self.faults.grip * self._drive.wheels(model.opt.timestep)
        mujoco.mj_step(model, data)
        self.collisions.update(data)
        self._steps += 1
        if self._steps % self._odometry_steps == 0:
            elapsed_s = self._odometry_steps * model.opt.timestep
            wheels = self.wheel_angles()
            self._turned = self._turned + (wheels - self._wheels_were) / self.faults.grip
            self._wheels_were = wheels
            self.odometry = self._wheel_odometry.update(self._turned, elapsed_s)
            at = self.base_pose()[:2]
            self.driven_m += math.dist(at, self._was_at)
            self._was_at = at

    def robot_state(self) -> RobotState:
        """Proprioception now; the gripper's width is the distance of its pads."""
        width = self._jaw.width(float(self.data.qpos[self.finger_q[0]]))
        return replace(super().robot_state(), gripper_width_m=np.array([width]))

    def wheel_angles(self) -> Float64:
        """Angles of the left and right wheel [rad] (2,), for joint states."""
        return np.array(self.data.qpos[self._wheel_q])

    def set_door(self, index: int, shut: bool) -> None:
        """Shut a door of the plan, or open it: a fault that a mission has to live with.

        Raises:
            UnknownNameError: there is no such door.
        """
        doors = self.plan.floor.doors
        if not 0 <= index < len(doors):
            raise UnknownNameError("door", str(index), [str(i) for i in range(len(doors))])
        leaf = self.model.body(f"door{index}").mocapid[0]
        self.data.mocap_pos[leaf, 2] = DOOR_HEIGHT_M / 2 if shut else DOOR_AWAY_M
        mujoco.mj_forward(self.model, self.data)

    def inject(self, fault: str) -> str:
        """See RobotWorld; faults of `core/flat/faults.py`."""
        return faults.inject(self, fault)

    # -- ground truth, for judges, experts and training labels only ------------------------------------------------

    def base_pose(self) -> tuple[float, float, float]:
        """Where the base is in the flat: x, y [m], yaw [rad]."""
        x, y, _ = self.data.xpos[self._base]
        forward = self.data.xmat[self._base]
        return float(x), float(y), float(np.arctan2(forward[3], forward[0]))

    def tool_pose(self, arm: int = 0) -> tuple[Float64, Float64]:
        """Tool position (3,) [m] and rotation matrix (3,3), base frame."""
        position, rotation = super().tool_pose(arm)
        base = self.data.xmat[self._base].reshape(3, 3)
        return base.T @ (position - self.data.xpos[self._base]), base.T @ rotation

    def contact_force_n(self) -> float:
        return self.collisions.largest_n

    def facts(self) -> dict[str, Any]:
        return truth.facts(self)
