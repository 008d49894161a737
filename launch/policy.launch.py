"""Stage 2: observations to action chunks.

ros2 launch vla_bringup policy.launch.py --show-args
"""

from launch import LaunchDescription
from vla_bringup.launch_files import layer


def generate_launch_description() -> LaunchDescription:
    """Nodes of the layer 'policy' of `vla_bringup.graph`."""
    return layer("policy")
