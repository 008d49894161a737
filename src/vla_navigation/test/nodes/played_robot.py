"""A robot on a floor plan that a test plays on the standard topics: /clock, scan, odom, TF; it follows cmd_vel.

Simulated time goes on by `step` alone, so nothing depends on how fast the machine is. The truth stays here.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Quaternion, TwistStamped
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Odometry
from navigation_data import RADIUS_M, base
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import LaserScan
from tf2_msgs.msg import TFMessage

from vla_core import se2
from vla_core.frames import planar
from vla_core.types import NS, Float64
from vla_msgs.msg import SafetyState
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import to_msg, to_ns
from vla_ros.tf import StaticTransformBroadcaster, TransformBroadcaster, TransformListener, transform
from vla_sim.core.floor_plan.generate import FloorPlan
from vla_sim.core.floor_plan.world import LIDAR_LEAST_M, LIDAR_REACH_M, PlanarWorld

STEP_S = 0.04
SCAN_STEPS = 2
SCALE_ERROR = 1.05  # of the odometry's distances


class PlayedRobot:
    """Drivers of a robot, and everything that listens to the stack for the test.

    Args:
        spinner: Serves all nodes. plan: The world. start: (3,) true pose.
        commands: Topic that moves the base.
    """

    def __init__(self, spinner, plan: FloorPlan, start: tuple[float, float, float], commands: str = "cmd_vel") -> None:
        self.spinner = spinner
        self.node = spinner.add(Node("drivers", parameter_overrides=[Parameter("use_sim_time", value=False)]))
        quick = replace(base(), acceleration=np.array([50.0, 0.0, 50.0]), jerk=np.array([1e4, 0.0, 1e4]))
        self.world = PlanarWorld(plan, quick, RADIUS_M, np.array(start))
        self.world.now_ns = 10 * NS
        self.odometry = np.zeros(3)
        self.speaks = {"scan": True, "odom": True, "tf": True, "laser": True}
        self.stopped = False
        self.command: TwistStamped | None = None
        self.commands: list[tuple[float, float]] = []
        self.maps: list[GridMsg] = []
        self.states: dict[str, DiagnosticStatus] = {}
        self._steps = 0
        self._clock = publisher(self.node, "/clock", Clock)
        self._scans, self._odometry = publisher(self.node, "scan", LaserScan), publisher(self.node, "odom", Odometry)
        self._safety = publisher(self.node, "safety_state", SafetyState)
        self._tf, self._fixed = TransformBroadcaster(self.node), StaticTransformBroadcaster(self.node)
        self.frames = TransformListener(self.node)
        self.map_odom_ns: list[int] = []
        subscription(self.node, "/tf", TFMessage, self._on_tf)
        subscription(self.node, commands, TwistStamped, self._on_command)
        subscription(self.node, "map", GridMsg, self.maps.append)
        subscription(self.node, "/diagnostics", DiagnosticArray, self._on_diagnostics)

    @property
    def now_ns(self) -> int:
        return self.world.now_ns

    def mount_laser(self) -> None:
        """Say where the lidar is: turned by a quarter and moved aside, so that nobody can leave it out."""
        self._fixed.send([transform("base_link", "laser", 0, (0.0, 0.0, 0.2), (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)))])

    def step(self) -> None:
        """One step of simulated time: follow the newest command, then tell what the sensors say."""
        fresh = self.command is not None and self.now_ns - to_ns(self.command.header.stamp) < 0.5 * NS
        twist = twist_of(self.command) if fresh and self.command is not None else np.zeros(3)
        before = self.world.pose.copy()
        self.world.step(twist, STEP_S)
        motion = se2.log(se2.between(before, self.world.pose))
        motion[:2] *= SCALE_ERROR
        self.odometry = se2.compose(self.odometry, se2.exp(motion))
        self._steps += 1
        if self._steps == 1 and self.speaks["laser"]:
            self.mount_laser()
        self._clock.publish(Clock(clock=to_msg(self.now_ns)))
        self._safety.publish(SafetyState(stopped=self.stopped, cause="operator" if self.stopped else ""))
        if self.speaks["scan"] and self._steps % SCAN_STEPS == 0:
            self._scans.publish(self.scan())
        if self.speaks["tf"]:
            yaw = self.odometry[2]
            quaternion = (0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2))
            self._tf.send([transform("odom", "base_link", self.now_ns, (*self.odometry[:2], 0.0), quaternion)])
        if self.speaks["odom"]:
            self._odometry.publish(self.odometry_msg())
        self.spinner.settle()

    def run(self, seconds: float) -> None:
        """So much simulated time."""
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def until(self, condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
        """Let simulated time pass until the condition holds; fails when it doesn't within the limit."""
        end_ns = self.now_ns + round(limit_s * NS)
        while not condition():
            assert self.now_ns < end_ns, f"not within {limit_s:g} s of simulated time: {what}; {self.said()}"
            self.step()

    def wait(self, future, what: str = "an answer"):
        """Result of a future."""
        self.until(future.done, what)
        return future.result()

    def said(self) -> dict[str, str]:
        """The newest diagnostics of every node."""
        return {name: state.message for name, state in self.states.items()}

    def localised(self) -> bool:
        """Whether somebody tells where the robot is now."""
        return bool(self.map_odom_ns) and self.map_odom_ns[-1] >= self.now_ns

    def believed(self) -> Float64:
        """Where the stack has the robot (3,), map frame, which lies at the start of the robot."""
        newest = self.frames.tree.newest_ns("map", "base_link")
        assert newest is not None
        return planar(self.frames.tree.lookup("map", "base_link", newest))

    def scan(self) -> LaserScan:
        """What the lidar sees; its x axis points to the robot's left."""
        ranges = np.roll(self.world.scan(), -len(self.world.angles) // 4).astype(np.float32)
        step = 2 * np.pi / len(ranges)
        message = LaserScan(
            angle_min=-np.pi, angle_max=np.pi - step, angle_increment=step, range_min=LIDAR_LEAST_M,
            range_max=LIDAR_REACH_M, ranges=array("f", ranges.tobytes()),
        )  # fmt: skip
        message.header.frame_id, message.header.stamp = "laser", to_msg(self.now_ns)
        return message

    def odometry_msg(self) -> Odometry:
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id, message.header.stamp = "odom", to_msg(self.now_ns)
        message.pose.pose.position.x, message.pose.pose.position.y = self.odometry[:2].tolist()
        yaw = float(self.odometry[2])
        message.pose.pose.orientation = Quaternion(z=np.sin(yaw / 2), w=np.cos(yaw / 2))
        message.twist.twist.linear.x, _, message.twist.twist.angular.z = self.world.twist.tolist()
        return message

    def _on_command(self, message: TwistStamped) -> None:
        self.command = message
        self.commands.append((message.twist.linear.x, message.twist.angular.z))

    def _on_tf(self, message: TFMessage) -> None:
        self.map_odom_ns += [to_ns(one.header.stamp) for one in message.transforms if one.header.frame_id == "map"]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.states.update({status.name: status for status in message.status})


def twist_of(message: TwistStamped) -> Float64:
    """(3,) of a command."""
    return np.array([message.twist.linear.x, message.twist.linear.y, message.twist.angular.z])


def in_map(pose: Float64, start: Float64) -> Float64:
    """A true pose (3,) in a map that began with the robot at `start`."""
    return se2.between(start, pose)
