"""What is in a picture, where, and of which colour: one image in, boxes out. Free of ROS."""
