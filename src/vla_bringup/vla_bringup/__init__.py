"""The node graph as data, launch files, configuration and the `vla` commands."""
