"""Embedded MuJoCo worlds: robots, cameras, tasks, scripted experts."""
