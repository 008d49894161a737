"""Types, contracts and errors that every stage of the line shares. No ROS here."""
