"""Stage 1: camera frames and joint states become one time-aligned observation."""
