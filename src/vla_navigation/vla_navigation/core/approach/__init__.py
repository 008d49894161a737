"""Where to stand to take something, and the last decimetres there."""
