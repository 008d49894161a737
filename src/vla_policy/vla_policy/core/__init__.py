"""Policies without ROS: blocks, models, decoding, weights, run time."""
