"""Transform broadcasters and a listener without tf2_ros: the messages and the QoS are the same as there."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from vla_core.errors import TransformError
from vla_core.frames import FrameTree, Stamped
from vla_core.types import NS
from vla_ros import qos, stamps

_PLAIN_CDR, _ENCAPSULATION = b"\x00\x01", 4  # little endian
_COUNT, _STAMPED = struct.Struct("<I"), struct.Struct("<iII")  # stamp, and the length of a string with its final zero


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
        qos.subscription(node, "/tf", TFMessage, lambda data: self._take(data, False), raw=True)
        qos.subscription(node, "/tf_static", TFMessage, lambda data: self._take(data, True), raw=True)

    def _take(self, data: bytes, fixed: bool) -> None:
        for parent, child, stamped in of_serialized(data):
            try:
                self.tree.set(parent, child, stamped, fixed)
            except TransformError as error:
                self.refused = str(error)


def of_serialized(data: bytes) -> Iterator[tuple[str, str, Stamped]]:
    """Parent, child and transform of every one in a serialized TFMessage: what rclpy's decoding says, at a fraction of
    its time; /tf is the topic with most messages, and five nodes of a mobile robot hear it.

    Plain CDR (OMG DDS-XTypes 7.4.1): four bytes of encapsulation, then the fields, numbers aligned to their size.
    Anything else is left to rclpy.
    """
    if data[:2] != _PLAIN_CDR:
        yield from (_decoded(one) for one in deserialize_message(data, TFMessage).transforms)
        return
    view, at = memoryview(data)[_ENCAPSULATION:], 4
    for _ in range(*_COUNT.unpack_from(view)):
        seconds, nanoseconds, length = _STAMPED.unpack_from(view, at := _aligned(at, 4))
        parent, at = bytes(view[at + 12 : at + 11 + length]), _aligned(at + 12 + length, 4)
        (length,) = _COUNT.unpack_from(view, at)
        child, at = bytes(view[at + 4 : at + 3 + length]), _aligned(at + 4 + length, 8)
        pose = np.frombuffer(view, np.float64, 7, at)
        yield parent.decode(), child.decode(), Stamped(seconds * NS + nanoseconds, pose[:3], pose[3:])
        at += pose.nbytes


def _aligned(at: int, size: int) -> int:
    return (at + size - 1) & -size


def _decoded(one: TransformStamped) -> tuple[str, str, Stamped]:
    t, r = one.transform.translation, one.transform.rotation
    stamped = Stamped(stamps.to_ns(one.header.stamp), np.array([t.x, t.y, t.z]), np.array([r.x, r.y, r.z, r.w]))
    return one.header.frame_id, one.child_frame_id, stamped
