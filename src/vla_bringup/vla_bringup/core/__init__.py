"""What the commands compute, ROS-free: recordings, summaries, pictures."""
