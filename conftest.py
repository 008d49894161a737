"""Test discipline for every package: a bound on each test's time, reproducible property-based tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType

import hypothesis
import pytest

FAST_S, SLOW_S = 300.0, 3000.0

hypothesis.settings.register_profile("vla", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "vla"))


@pytest.fixture(autouse=True)
def _bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs. The bounds are far above what any test takes: they end hangs, they measure nothing."""
    bound_s = SLOW_S if request.node.get_closest_marker("slow") else FAST_S

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"hangs: not finished after {bound_s:.0f} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, bound_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
