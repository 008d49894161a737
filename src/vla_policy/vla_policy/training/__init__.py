"""Training without ROS: dataset, augmentation, losses, trainer, export. `python -m vla_policy.training --help`."""
