"""Arm and base come to rest: what everybody else may be doing is cancelled, and the base is watched until it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vla_core.types import NS
from vla_navigation.core.fetch.skills import DONE, Report
from vla_navigation.core.nav.backend import NavigatorBackend
from vla_navigation.core.skills.ports import Errand, Wheels

_STANDS_S = 0.3


class Rest:
    """Skill `rest`. It never fails: while the base doesn't stand it isn't done.

    Args:
        navigator, errands, wheels: Who might move something.
    """

    def __init__(self, navigator: NavigatorBackend, errands: Sequence[Errand], wheels: Wheels) -> None:
        self._navigator, self._errands, self._wheels = navigator, errands, wheels
        self._since_ns: int | None = None

    def start(self, goal: Any) -> None:
        """Cancel everything."""
        self._since_ns = None
        self._navigator.cancel()
        for errand in self._errands:
            errand.cancel()

    def tick(self, now_ns: int) -> Report:
        """DONE once nobody drives, and the base has stood for a moment."""
        self._wheels.drive(0.0, 0.0)
        underway = self._navigator.feedback().state != "idle"  # asking also serves it
        if underway or self._wheels.moves():
            self._since_ns = None
            return Report(message="coming to rest")
        self._since_ns = now_ns if self._since_ns is None else self._since_ns
        return Report(DONE) if now_ns - self._since_ns >= _STANDS_S * NS else Report()

    def cancel(self) -> None:
        """It is left where it is."""
