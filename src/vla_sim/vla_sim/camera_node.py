"""Stage 0, the simulated cameras, in a process of their own. In: world snapshots (shared memory). Out, per camera and
at the scene's rate: <camera>/image_raw rgb8, <camera>/camera_info, <camera>/depth/image_raw 32FC1 [m] when somebody
listens: perfect, or as an RGB-D camera senses it where the scene has such.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from vla_core.errors import LinkError
from vla_core.records import CAPTURES
from vla_core.shared_memory import Mailbox, link_path
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import publisher
from vla_ros.stamps import to_msg
from vla_sim import conversions
from vla_sim.core.cameras import Cameras
from vla_sim.core.late_joiners import LateJoiners
from vla_sim.core.link import WatchfulPeer
from vla_sim.core.mirror import Mirror
from vla_sim.core.records import RENDERED, SNAPSHOT
from vla_sim.core.suites import suite_of

_WAIT_S = 0.02


class _Output:
    """Publishers and buffers of one camera."""

    def __init__(self, node: Node, name: str, cameras: Cameras) -> None:
        (width, height), frame = cameras.sizes[name], f"{name}_optical_frame"
        self.rgb = conversions.ImageBuffer(width, height, "rgb8", frame)
        self.depth = conversions.ImageBuffer(width, height, "32FC1", frame)
        self.info = conversions.camera_info(width, height, cameras.intrinsics(name), frame)
        self.rgb_out = publisher(node, f"{name}/image_raw", Image)
        self.depth_out = publisher(node, f"{name}/depth/image_raw", Image)
        self.info_out = publisher(node, f"{name}/camera_info", CameraInfo)


class CameraNode(Node):
    """Draws every snapshot once, or the newest one when it falls behind."""

    def __init__(self) -> None:
        super().__init__("camera_node", parameter_overrides=[Parameter("use_sim_time", value=False)])
        self._p = declare(self, Path(__file__).parent / "parameters" / "camera_node.yaml", self._on_parameters)
        suite = suite_of(self._p.scene)
        self._mirror = Mirror(suite.make_world(self._p.scene))
        self._cameras = suite.make_cameras(self._mirror.world)
        self._outputs = {name: _Output(self, name, self._cameras) for name in self._cameras.sizes}
        self._snapshots = WatchfulPeer(self._p.link, "snapshot", SNAPSHOT)
        self._joiners = LateJoiners()
        self._captures = np.zeros(1, CAPTURES)
        self._rendered = np.zeros(1, RENDERED)
        self._captures_box = Mailbox(link_path(self._p.link, "captures"), CAPTURES, create=True)
        self._rendered_box = Mailbox(link_path(self._p.link, "rendered"), RENDERED, create=True)
        self._render_ms: deque[float] = deque(maxlen=100)
        self._frames = self._skipped = self._versions = 0
        Diagnostics(self, self._status, hardware_id="simulation", now_ns=lambda: int(self._rendered["stamp_ns"][0]))

    def loop(self, executor: Executor) -> None:
        """Draw snapshots until a signal ends the context; replaces `executor.spin()`."""
        deadline = time.monotonic() + self._p.link_timeout_s
        while self.context.ok():
            if self._snapshots.wait(_WAIT_S):
                self._draw()
            elif self._frames > 0 and self._joiners.waiting(self._listeners(), time.monotonic()):
                self._repeat()
            elif self._snapshots.missing and time.monotonic() > deadline:
                got = f"no snapshot mailbox within {self._p.link_timeout_s:g} s"
                raise LinkError(got, f"a sim_node on link '{self._p.link}'", "start sim_node with the same link")
            executor.spin_once(timeout_sec=0.0)

    def on_exit(self) -> None:
        """Remove the mailboxes and free the renderer."""
        self._snapshots.close()
        self._captures_box.close(unlink=True)
        self._rendered_box.close(unlink=True)
        self._cameras.close()

    def _draw(self) -> None:
        """Restore the snapshot, draw and publish every camera, then say that it is done."""
        begin = time.perf_counter()
        record = self._snapshots.record
        stamp_ns = int(record["stamp_ns"][0])
        self._take(record)
        for name, output in self._outputs.items():
            output.rgb_out.publish(output.rgb.fill(stamp_ns, self._cameras.rgb(name)))
            output.info.header.stamp = to_msg(stamp_ns)
            output.info_out.publish(output.info)
            if self._p.depth or output.depth_out.get_subscription_count() > 0:
                output.depth_out.publish(output.depth.fill(stamp_ns, self._cameras.depth(name)))
        captures, slot = self._captures, int(self._captures["next"][0]) % CAPTURES["stamp_ns"].shape[0]
        captures["stamp_ns"][0, slot], captures["monotonic_ns"][0, slot] = stamp_ns, record["monotonic_ns"][0]
        captures["next"] += 1
        self._captures_box.write(captures)
        self._rendered["stamp_ns"] = stamp_ns
        self._rendered_box.write(self._rendered)
        self._frames += 1
        self._joiners.published(time.monotonic())
        self._render_ms.append((time.perf_counter() - begin) * 1e3)

    def _repeat(self) -> None:
        """Publish the newest frame again: the world stands still and somebody has just come."""
        self._joiners.published(time.monotonic())
        for output in self._outputs.values():
            output.rgb_out.publish(output.rgb.message)
            output.info_out.publish(output.info)

    def _listeners(self) -> int:
        return sum(
            o.rgb_out.get_subscription_count() + o.info_out.get_subscription_count() for o in self._outputs.values()
        )

    def _take(self, record: np.ndarray) -> None:
        """Bring our world to the snapshot."""
        if not self._mirror.take(record):
            self._skipped += max(self._snapshots.version - self._versions - 1, 0)
        self._versions = self._snapshots.version

    def _status(self) -> list[Status]:
        values: dict[str, float | int] = {"frames": self._frames, "skipped_frames": self._skipped}
        if self._render_ms:
            p50, p95 = np.percentile(self._render_ms, [50, 95])
            values |= {"render_ms_p50": float(p50), "render_ms_p95": float(p95)}
        if self._frames == 0:
            return [Status(Level.WARN, "got no snapshot yet; sim_node waits or is missing", values)]
        return [Status(Level.OK, "drawing", values)]

    def _on_parameters(self, values: Parameters) -> None:
        self._p = values


def main() -> None:
    """Entry point."""
    sys.exit(run(CameraNode))


if __name__ == "__main__":
    main()
