"""Stage 0 of the line benchmark. Out: <camera>/image_raw (rgb8, 30 Hz), joint_states (100 Hz); capture times in memory.

Stands in for camera and robot drivers: noise frames made beforehand and an arm that sways about its home position. The
monotonic time of each capture is told through the mailbox `captures`, where `bench_observation` looks it up by stamp.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from vla_control.core.robot import load_robot_config
from vla_core.contract import load_contract
from vla_core.records import CAPTURES
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import NS
from vla_perception import conversions
from vla_ros import parameters, qos, stamps
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "bench_source.yaml"
_FRAMES = 8
_SWAY_RAD, _SWAY_HZ = 0.1, 0.5


class BenchSource(Node):
    """Publishes synthetic frames and joint states at fixed rates."""

    def __init__(self) -> None:
        super().__init__("bench_source")
        values = parameters.declare(self, _SCHEMA)
        contract = load_contract(values.contract)
        robot = load_robot_config(contract.robot)
        fingers = [name for gripper in robot.grippers for name in gripper.joints]
        self._names, self._home_rad = (*robot.joints, *fingers), robot.home_rad
        self._fingers = np.full(len(fingers), 0.02)
        shape = (_FRAMES, values.height, values.width, 3)
        self._frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._cameras = {
            name: (qos.publisher(self, f"{name}/image_raw", Image), conversions.image_msg(self._frames[0], 0, name))
            for name in contract.view_names
        }
        self._joints = qos.publisher(self, "joint_states", JointState)
        self._captures = np.zeros(1, CAPTURES)
        self._box = Mailbox(link_path(values.link, "captures"), CAPTURES, create=True)
        self._count = 0
        self.create_timer(1.0 / values.camera_rate_hz, self._on_cameras)
        self.create_timer(1.0 / values.joint_rate_hz, self._on_joints)

    def on_exit(self) -> None:
        """Remove the mailbox."""
        self._box.close(unlink=True)

    def _capture(self) -> int:
        """Stamp of an instant that is now, told to whoever measures."""
        stamp_ns, monotonic_ns = stamps.now_ns(self), time.monotonic_ns()
        index = int(self._captures["next"][0]) % self._captures["stamp_ns"].shape[1]
        self._captures["stamp_ns"][0, index] = stamp_ns
        self._captures["monotonic_ns"][0, index] = monotonic_ns
        self._captures["next"][0] += 1
        self._box.write(self._captures)
        return stamp_ns

    def _on_cameras(self) -> None:
        stamp_ns = self._capture()
        for publisher, message in self._cameras.values():
            conversions.refill_image(message, self._frames[self._count % _FRAMES], stamp_ns)
            publisher.publish(message)
        self._count += 1

    def _on_joints(self) -> None:
        stamp_ns = self._capture()
        q = self._home_rad + _SWAY_RAD * np.sin(2 * np.pi * _SWAY_HZ * stamp_ns / NS)
        position, none = np.append(q, self._fingers), np.zeros(0)
        self._joints.publish(conversions.joint_state_msg(self._names, position, none, none, stamp_ns))


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(BenchSource))


if __name__ == "__main__":
    main()
