"""The processes of a job: what it started and what those started, whoever their parent is by now.

Process groups don't tell: a servo loop leads a session of its own, and a `ros2 launch` that dies leaves its nodes to
init. The environment does: every process inherits the mark that its job was started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Environment variable that holds the mark, `<run>/<job>`.
MARK = "VLA_JOB"


def families(run: str, proc: Path = Path("/proc")) -> dict[str, dict[int, int]]:
    """Running processes of a run's jobs, as job → process id → process id of the parent. Zombies have ended.

    Args:
        run: What the marks of all its jobs start with.
        proc: Where the kernel tells about processes.
    """
    start = f"{MARK}={run}/".encode()
    found: dict[str, dict[int, int]] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            marks = [v for v in (folder / "environ").read_bytes().split(b"\0") if v.startswith(start)]
            if marks:
                stat = (folder / "stat").read_text(errors="replace")  # 'pid (name) state parent ...'
                members = found.setdefault(marks[0].removeprefix(start).decode(), {})
                members[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended, or belongs to somebody else
    return found


def heads(members: Mapping[int, int]) -> set[int]:
    """Members of a family whose parent isn't one; they end the others in their own way."""
    return {pid for pid, parent in members.items() if parent not in members}
