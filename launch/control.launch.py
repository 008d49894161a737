"""Stages 3 and 4 and the watch: action chunks to joint torque.

ros2 launch vla_bringup control.launch.py --show-args
"""

from launch import LaunchDescription
from vla_bringup.launch_files import layer


def generate_launch_description() -> LaunchDescription:
    """Nodes of the layer 'control' of `vla_bringup.graph`."""
    return layer("control")
