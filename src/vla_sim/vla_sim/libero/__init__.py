"""LIBERO-Spatial: 10 tasks of a Panda, as an evaluation suite.

LIBERO itself lives in a virtual environment of its own; `scene.py` runs there, everything else talks to it.
"""
