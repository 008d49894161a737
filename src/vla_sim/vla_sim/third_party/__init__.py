"""Benchmarks of others: their scenes run in virtual environments of their own, judged by themselves.

`worker.py` runs there with a `scene.py` of the benchmark; `client.py` and `evaluation.py` are our side.
"""
