"""A process gone wild: `python -m vla_bringup.faults.flood TOPIC` publishes rubbish until it is killed."""

from __future__ import annotations

import sys

import rclpy
from rclpy.node import Node

from vla_core.errors import UnknownNameError
from vla_msgs.msg import ActionChunk
from vla_ros import qos

_RUBBISH = {"action_chunk": lambda: ActionChunk(contract_hash="0" * 16, horizon=20, actions=[0.0] * 160, dt_s=0.05)}


def main() -> None:
    """Entry point."""
    name = sys.argv[1]
    if name not in _RUBBISH:
        raise UnknownNameError("topic to flood", name, _RUBBISH)
    rclpy.init()
    message = _RUBBISH[name]()
    publisher = qos.publisher(Node("flood"), name, type(message))
    while publisher.get_subscription_count() == 0:
        pass
    print("READY flood", flush=True)
    while True:
        publisher.publish(message)


if __name__ == "__main__":
    main()
