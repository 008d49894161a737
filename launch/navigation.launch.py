"""The mission: from an instruction to a verdict.

ros2 launch vla_bringup navigation.launch.py --show-args
"""

from launch import LaunchDescription
from vla_bringup.launch_files import layer


def generate_launch_description() -> LaunchDescription:
    """Nodes of the layer 'navigation' of `vla_bringup.graph`."""
    return layer("navigation")
