"""What drivers say about their hardware on /diagnostics: hot motors, a lost bus, a supply that sags."""

from __future__ import annotations

from fnmatch import fnmatchcase

_OK, _WARN, _ERROR = 0, 1, 2


class HardwareWatch:
    """Keeps the newest status of each piece of hardware.

    An error stands until the same status says something else: a driver that falls silent has not cooled down.

    Args:
        names: Patterns of status names (`*` and `?`, small letters) that are hardware.
        timeout_s: A status that isn't repeated for longer is missed [s].

    Attributes:
        errors: Status name -> its sentence, of those at level ERROR.
    """

    def __init__(self, names: tuple[str, ...], timeout_s: float) -> None:
        self._names, self._timeout_s = names, timeout_s
        self._newest: dict[str, tuple[int, str, int]] = {}
        self.errors: dict[str, str] = {}

    def take(self, name: str, level: int, message: str, wall_ns: int) -> None:
        """Take a status.

        Args:
            name: Of the status, in any case. level: 0 OK, 1 WARN, 2 ERROR, 3 STALE. message: Its sentence.
            wall_ns: Now [ns, monotonic clock].
        """
        if not any(fnmatchcase(name.lower(), pattern) for pattern in self._names):
            return
        self._newest[name] = (level, message, wall_ns)
        if level == _ERROR:
            self.errors.setdefault(name, f"{name}: {message}")
        else:
            self.errors.pop(name, None)

    def warnings(self, wall_ns: int) -> list[str]:
        """What is to be said at `wall_ns` [ns, monotonic clock], but stops nobody."""
        found = []
        for name, (level, message, said_ns) in self._newest.items():
            if (wall_ns - said_ns) * 1e-9 > self._timeout_s:
                found.append(f"{name}: no diagnostics for {self._timeout_s:g} s")
            elif level not in (_OK, _ERROR):
                found.append(f"{name}: {message}" if level == _WARN else f"{name} is stale: {message}")
        return found
