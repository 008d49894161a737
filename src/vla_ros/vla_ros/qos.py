"""Publishers and subscriptions whose quality of service comes from the topic table (`vla_core.topics`).

Both ends that are ours have one row, so they can't be incompatible. Where the other end may be anybody's, a driver's or
Nav2's, rclpy's warning of that stays; elsewhere its handlers, two for every end, would cost every wake-up of a process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.topics import TOPICS, Topic, topic

_OTHERS = ("driver", "person", "other")


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
    events = PublisherEventCallbacks(use_default_callbacks=False)
    return node.create_publisher(message_type, name, profile(_entry(name, message_type)), event_callbacks=events)


def subscription(
    node: Node, name: str, message_type: type, callback: Callable[[Any], None], **options: Any
) -> Subscription:
    """Subscription to topic `name` of the table; `options` go to `create_subscription` (callback_group, raw, ...).

    Raises:
        UnknownNameError: the topic stands nowhere in the table.
        ConfigError: the table gives another type.
    """
    entry = _entry(name, message_type)
    events = SubscriptionEventCallbacks(use_default_callbacks=entry.owner in _OTHERS)
    return node.create_subscription(message_type, name, callback, profile(entry), event_callbacks=events, **options)


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
