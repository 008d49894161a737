"""What a world with a mobile robot has beyond a RobotWorld: a base that drives, and the sensors to drive by."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from vla_sim.core.robot_world import RobotWorld

if TYPE_CHECKING:
    from vla_sim.core.flat.imu import Imu
    from vla_sim.core.flat.lidar import Lidar
    from vla_sim.core.flat.odometry import Odometry


class MobileWorld(RobotWorld):
    """See RobotWorld. A reset may go on in another model: `model`, `data` and every sensor are new ones then.

    Attributes:
        wheels: Names of the wheels' joints.
        lidar_2d, lidar_3d, imu: Sensors, each with noise of its own.
        odometry: What the wheels tell, a new object at its own rate.
        battery_hz: How often its charge is told.
        odom_frame: Where the odometry begins; its child is the robot's base frame.
    """

    wheels: tuple[str, ...]
    lidar_2d: Lidar
    lidar_3d: Lidar
    imu: Imu
    odometry: Odometry
    battery_hz: float
    odom_frame = "odom"

    @abstractmethod
    def command_base(self, vx_m_s: float, wz_rad_s: float) -> None:
        """Ask the base for a twist in its own frame; it stops when nothing follows within its time-out.

        Raises:
            BaseTargetError: a number isn't finite.
        """

    @property
    @abstractmethod
    def command_timeout_s(self) -> float:
        """How old a command may be that the base still takes [s]."""

    @property
    @abstractmethod
    def charge(self) -> float:
        """What is left in the battery, 0..1."""

    @abstractmethod
    def sensor_sites(self) -> dict[str, str]:
        """Where the sensors sit: site of the model → its frame."""

    @abstractmethod
    def base_pose(self) -> tuple[float, float, float]:
        """Ground truth, for judges only: where the base is, x, y [m], yaw [rad]."""
