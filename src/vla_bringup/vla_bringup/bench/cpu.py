"""CPU time of process trees, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class CpuShares:
    """CPU seconds per second of named processes and their children since the start, 1 = one core.

    Args:
        pids: Name → process id.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._begin_s = time.monotonic()
        self._before = {name: tree_cpu_s(pid) for name, pid in pids.items()}

    def shares(self) -> dict[str, float]:
        """Name → share; a process that has ended counts with what is still known of it."""
        wall_s = time.monotonic() - self._begin_s
        return {name: (tree_cpu_s(pid) - self._before[name]) / wall_s for name, pid in self._pids.items()}


def tree_cpu_s(pid: int) -> float:
    """User and system time [s] of a process and its living descendants."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        used[int(folder.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        total += used.get(one, 0.0)
        todo += children.get(one, [])
    return total
