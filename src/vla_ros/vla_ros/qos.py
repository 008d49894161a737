"""Publishers and subscriptions whose quality of service comes from the topic table (`vla_core.topics`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.topics import TOPICS, Topic, topic


def profile(entry: Topic) -> QoSProfile:
    """QoS profile of one row of the table."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=entry.depth,
        reliability=ReliabilityPolicy.RELIABLE if entry.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if entry.latched else DurabilityPolicy.VOLATILE,
    )


def publisher(node: Node, name: str, message_type: type) -> Publisher:
    """Publisher on topic `name` of the table, e.g. 'observation' or 'front/image_raw'.

    Raises:
        UnknownNameError: the topic stands nowhere in the table.
        ConfigError: the table gives another type.
    """
    return node.create_publisher(message_type, name, profile(_entry(name, message_type)))


def subscription(
    node: Node, name: str, message_type: type, callback: Callable[[Any], None], **options: Any
) -> Subscription:
    """Subscription to topic `name` of the table; `options` go to `create_subscription` (callback_group, raw, ...).

    Raises:
        UnknownNameError: the topic stands nowhere in the table.
        ConfigError: the table gives another type.
    """
    return node.create_subscription(message_type, name, callback, profile(_entry(name, message_type)), **options)


def _entry(name: str, message_type: type) -> Topic:
    try:
        entry = topic(name)
    except KeyError as error:
        raise UnknownNameError("topic", name, TOPICS) from error
    module, kind, *_ = message_type.__module__.split(".")
    got = f"{module}/{kind}/{message_type.__name__}"
    if got != entry.type:
        fix = "use the table's type or change vla_core/topics.py"
        raise ConfigError(f"type {got} on topic '{name}'", f"{entry.type} as in the topic table", fix)
    return entry
