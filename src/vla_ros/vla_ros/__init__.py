"""The thin layer between rclpy and the stack: run a node, QoS from the topic table, parameters from a schema."""
