"""The stack with a simulated robot and cameras in place of drivers.

ros2 launch vla_bringup sim.launch.py seed:=3 lockstep:=false
"""

from launch import LaunchDescription
from vla_bringup.launch_files import including


def generate_launch_description() -> LaunchDescription:
    """stack.launch.py and the layer 'sim', which makes the clock of all."""
    return including(("stack.launch.py",), layers=("sim",), defaults={"use_sim_time": True})
