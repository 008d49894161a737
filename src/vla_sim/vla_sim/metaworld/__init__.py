"""Meta-World MT50: 50 tasks of a Sawyer arm, as an evaluation suite and a source of demonstrations.

Meta-World itself lives in a virtual environment of its own; `scene.py` runs there, everything else talks to it.
"""
