"""Messages to what the recorder keeps; the only place of this package where the two meet."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Transform
from sensor_msgs.msg import CameraInfo, Image

from vla_bringup.core.overlay import Pinhole, rotation_matrix
from vla_bringup.core.recording import ChunkTrace, ControlSample
from vla_core.errors import ObservationError
from vla_core.types import UInt8
from vla_msgs.msg import ActionChunk, ControlState
from vla_ros.stamps import to_ns


def rgb(message: Image) -> UInt8:
    """Pixels as uint8 (H,W,3) RGB.

    Raises:
        ObservationError: neither rgb8 nor bgr8.
    """
    if message.encoding not in ("rgb8", "bgr8"):
        raise ObservationError(f"encoding '{message.encoding}'", "rgb8 or bgr8", "convert in the camera driver")
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    return pixels if message.encoding == "rgb8" else pixels[:, :, ::-1]


def chunk_trace(message: ActionChunk) -> ChunkTrace:
    """What the film and the summary need of a chunk."""
    path = None
    if message.action_space == "tool_pose" and message.horizon > 0:
        path = np.array(message.actions, np.float64).reshape(message.horizon, -1)[:, :3]
    return ChunkTrace(
        stamp_ns=to_ns(message.header.stamp),
        path_m=path,
        inference_s=float(message.inference_s),
        progress=float(message.progress),
        success_estimate=float(message.success_estimate),
        subtask=message.subtask,
    )


def control_sample(message: ControlState) -> ControlSample:
    """What the plot and the summary need of a control state."""
    tool = message.tool_pose.position
    return ControlSample(
        stamp_ns=to_ns(message.header.stamp),
        q_rad=np.array(message.position),
        q_target_rad=np.array(message.position_target),
        tau_nm=np.array(message.effort),
        tool_m=np.array([tool.x, tool.y, tool.z]),
        limit_counts=dict(zip(message.limit_names, (int(n) for n in message.limit_counts), strict=True)),
        max_jerk=float(message.max_jerk),
    )


def pinhole(info: CameraInfo, pose: Transform) -> Pinhole:
    """Camera model from its calibration and the pose of its optical frame in the base frame."""
    q, p = pose.rotation, pose.translation
    return Pinhole(
        matrix=np.array(info.k).reshape(3, 3),
        size=(info.width, info.height),
        rotation=rotation_matrix(np.array([q.x, q.y, q.z, q.w])),
        position_m=np.array([p.x, p.y, p.z]),
    )
