"""Transform broadcasters and a listener without tf2_ros: the messages and the QoS are the same as there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from vla_core.errors import TransformError
from vla_core.frames import FrameTree, Stamped
from vla_ros import qos, stamps


def transform(
    parent: str, child: str, stamp_ns: int, position: Sequence[float], quaternion: Sequence[float]
) -> TransformStamped:
    """`T_parent_child`, which maps coordinates in `child` into `parent`.

    Args:
        parent: Frame name.
        child: Frame name.
        stamp_ns: Time that it holds for [ns, ROS clock].
        position: Origin of child in parent [m], (3,).
        quaternion: Rotation xyzw, (4,), unit length.
    """
    x, y, z = (float(v) for v in position)
    qx, qy, qz, qw = (float(v) for v in quaternion)
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = stamps.to_msg(stamp_ns)
    message.transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    return message


class TransformBroadcaster:
    """Sends moving transforms on /tf."""

    def __init__(self, node: Node) -> None:
        self._publisher = qos.publisher(node, "/tf", TFMessage)

    def send(self, transforms: Iterable[TransformStamped]) -> None:
        """Publish one message with all `transforms`."""
        self._publisher.publish(TFMessage(transforms=list(transforms)))


class StaticTransformBroadcaster:
    """Sends fixed transforms on /tf_static, latched.

    A late subscriber gets the last messages of the topic only, so every message repeats all transforms of this node.
    """

    def __init__(self, node: Node) -> None:
        self._publisher = qos.publisher(node, "/tf_static", TFMessage)
        self._sent: dict[str, TransformStamped] = {}

    def send(self, transforms: Iterable[TransformStamped]) -> None:
        """Publish `transforms` together with the ones sent before; a child has one parent, the newest given."""
        self._sent.update({t.child_frame_id: t for t in transforms})
        self._publisher.publish(TFMessage(transforms=list(self._sent.values())))


class TransformListener:
    """Hears /tf and /tf_static.

    Attributes:
        tree: What was heard.
        refused: Why the last transform that couldn't be used was refused; empty: none was.
    """

    def __init__(self, node: Node) -> None:
        self.tree, self.refused = FrameTree(), ""
        qos.subscription(node, "/tf", TFMessage, self._on_moving)
        qos.subscription(node, "/tf_static", TFMessage, self._on_fixed)

    def _on_moving(self, message: TFMessage) -> None:
        self._take(message, False)

    def _on_fixed(self, message: TFMessage) -> None:
        self._take(message, True)

    def _take(self, message: TFMessage, fixed: bool) -> None:
        for one in message.transforms:
            t, r = one.transform.translation, one.transform.rotation
            stamped = Stamped(stamps.to_ns(one.header.stamp), np.array([t.x, t.y, t.z]), np.array([r.x, r.y, r.z, r.w]))
            try:
                self.tree.set(one.header.frame_id, one.child_frame_id, stamped, fixed)
            except TransformError as error:
                self.refused = str(error)
