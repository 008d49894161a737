"""Simulation without ROS: worlds, tasks, judges, experts and cameras."""
