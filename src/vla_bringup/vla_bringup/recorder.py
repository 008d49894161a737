"""Watches a run from outside: subscribes to the line and keeps what the video, the plot and the numbers need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vla_bringup import conversions
from vla_bringup.core.overlay import Pinhole
from vla_bringup.core.recording import ImageSpool, Recording
from vla_core.topics import topic
from vla_msgs.msg import ActionChunk, ControlState, ExecutorState, Observation, SafetyState
from vla_ros.qos import profile
from vla_ros.stamps import to_ns

_DEPTH = 200  # the line's own queues are short; a watcher may lag and must not lose


class Recorder:
    """Keeps a Recording up to date while the node spins.

    Args:
        node: Its subscriptions are made on this node.
        cameras: Cameras to record, in the order of the video; none: no pictures are kept.
        base_frame: Frame that chunks and tool poses are given in.
        spool: Takes the images.

    Attributes:
        recording: What has been seen.
        enabled: False: nothing more is kept.
        free: The safety monitor has said that the robot may move. It holds the robot until it has heard /clock.
    """

    def __init__(self, node: Node, cameras: tuple[str, ...], base_frame: str, spool: ImageSpool) -> None:
        self.recording = Recording(spool)
        self.cameras = cameras
        self.enabled = True
        self.free = False
        self._base_frame = base_frame
        self._info: CameraInfo | None = None
        self._mounts: dict[str, Any] = {}
        self._node = node
        for camera in cameras:
            self._listen(f"{camera}/image_raw", Image, self._image_taker(camera))
        for camera in cameras[:1]:
            self._listen(f"{camera}/camera_info", CameraInfo, self._on_info)
        self._listen("/tf_static", TFMessage, self._on_mounts)
        self._listen("/clock", Clock, self._on_clock)
        self._listen("observation", Observation, self._on_observation)
        self._listen("action_chunk", ActionChunk, self._on_chunk)
        self._listen("executor_state", ExecutorState, self._on_executor)
        self._listen("control_state", ControlState, self._on_control)
        self._listen("safety_state", SafetyState, self._on_safety)

    @property
    def camera_model(self) -> Pinhole | None:
        """The first camera, once its calibration is known and if it is fixed to the robot's base."""
        pose = self._mounts.get(self._info.header.frame_id) if self._info else None
        return conversions.pinhole(self._info, pose) if pose is not None else None

    def _listen(self, name: str, message_type: type, callback: Callable[[Any], None]) -> None:
        quality = profile(topic(name))
        quality.depth = _DEPTH

        def keep(message: Any) -> None:
            if self.enabled:
                callback(message)

        self._node.create_subscription(message_type, name, keep, quality)

    def _image_taker(self, camera: str) -> Callable[[Image], None]:
        def take(message: Image) -> None:
            self.recording.images.add(camera, to_ns(message.header.stamp), conversions.rgb(message))

        return take

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_mounts(self, message: TFMessage) -> None:
        for one in message.transforms:
            if one.header.frame_id == self._base_frame:
                self._mounts[one.child_frame_id] = one.transform

    def _on_clock(self, message: Clock) -> None:
        self.recording.clock_ns = to_ns(message.clock)

    def _on_observation(self, message: Observation) -> None:
        self.recording.observations_ns.append(to_ns(message.header.stamp))

    def _on_chunk(self, message: ActionChunk) -> None:
        self.recording.chunks.append(conversions.chunk_trace(message))

    def _on_executor(self, message: ExecutorState) -> None:
        self.recording.starved.append((to_ns(message.header.stamp), float(message.starved_s)))
        self.recording.rejected = int(message.chunks_rejected)
        self.recording.last_error = message.last_error

    def _on_control(self, message: ControlState) -> None:
        self.recording.controls.append(conversions.control_sample(message))

    def _on_safety(self, message: SafetyState) -> None:
        self.free = not message.stopped
