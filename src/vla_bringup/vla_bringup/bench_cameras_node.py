"""Stage 0 of `vla bench line`, in place of camera_node. Out, per camera: <camera>/image_raw rgb8, 2 × VGA at 30 Hz.

It publishes the same picture over and over but for one bit, so the measured load is the line's own and not the
renderer's, and no camera counts as frozen. It notes in the mailbox `captures` when each picture was taken.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from vla_core.records import CAPTURES
from vla_core.shared_memory import Mailbox, link_path
from vla_ros.node import run
from vla_ros.parameters import declare
from vla_ros.qos import publisher
from vla_ros.stamps import now_ns, to_msg
from vla_sim import conversions
from vla_sim.core.cameras import Cameras
from vla_sim.core.suites import suite_of


class BenchCamerasNode(Node):
    """Publishes at a fixed rate of the ROS clock."""

    def __init__(self) -> None:
        super().__init__("bench_cameras_node")
        p = declare(self, Path(__file__).parent / "parameters" / "bench_cameras_node.yaml")
        world = suite_of(p.scene).make_world(p.scene)
        names = [str(camera["name"]) for camera in world.scene["cameras"]]
        cameras = Cameras(world, dict.fromkeys(names, (p.width, p.height)))
        self._outputs = []
        for name in names:
            frame = f"{name}_optical_frame"
            info = conversions.camera_info(p.width, p.height, cameras.intrinsics(name), frame)
            buffer = conversions.ImageBuffer(p.width, p.height, "rgb8", frame)
            image_out = publisher(self, f"{name}/image_raw", Image)
            info_out = publisher(self, f"{name}/camera_info", CameraInfo)
            self._outputs.append((cameras.rgb(name).copy(), buffer, image_out, info, info_out))
        cameras.close()
        self._captures = np.zeros(1, CAPTURES)
        self._box = Mailbox(link_path(p.link, "captures"), CAPTURES, create=True)
        self.create_timer(1.0 / p.rate_hz, self._on_timer)

    def on_exit(self) -> None:
        """Remove the mailbox."""
        self._box.close(unlink=True)

    def _on_timer(self) -> None:
        stamp_ns, record = now_ns(self), self._captures
        slot = int(record["next"][0]) % record["stamp_ns"].shape[1]
        record["stamp_ns"][0, slot], record["monotonic_ns"][0, slot] = stamp_ns, time.monotonic_ns()
        record["next"] += 1
        self._box.write(record)
        for picture, buffer, image_out, info, info_out in self._outputs:
            picture[0, 0, 0] ^= 1
            image_out.publish(buffer.fill(stamp_ns, picture))
            info.header.stamp = to_msg(stamp_ns)
            info_out.publish(info)


def main() -> None:
    """Entry point."""
    sys.exit(run(BenchCamerasNode))


if __name__ == "__main__":
    main()
