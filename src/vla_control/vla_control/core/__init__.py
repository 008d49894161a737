"""Stages 3 and 4 without ROS: chunk to trajectory, trajectory to torque."""
