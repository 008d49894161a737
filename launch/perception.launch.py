"""Stage 1: camera images and joint states to observations.

ros2 launch vla_bringup perception.launch.py --show-args
"""

from launch import LaunchDescription
from vla_bringup.launch_files import layer


def generate_launch_description() -> LaunchDescription:
    """Nodes of the layer 'perception' of `vla_bringup.graph`."""
    return layer("perception")
