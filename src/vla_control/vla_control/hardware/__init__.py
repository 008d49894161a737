"""How the servo reaches a robot."""
