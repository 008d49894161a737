"""Everything that runs on a robot: perception, policy, control and mission. Drivers bring cameras and joints.

ros2 launch vla_bringup stack.launch.py
"""

from launch import LaunchDescription
from vla_bringup.graph import STACK_LAYERS
from vla_bringup.launch_files import including


def generate_launch_description() -> LaunchDescription:
    """The stack's layers, each from its own launch file."""
    return including(tuple(f"{name}.launch.py" for name in STACK_LAYERS), rviz=True)
