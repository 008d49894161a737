"""The skills of a mobile manipulator, over what a node connects them to."""
