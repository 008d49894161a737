"""The mission of a mobile manipulator: search, approach, manipulate, check, return. Without ROS."""
