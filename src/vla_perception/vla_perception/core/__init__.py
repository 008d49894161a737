"""Perception without ROS: matching by capture stamp, resizing, proprioception, the observation."""
