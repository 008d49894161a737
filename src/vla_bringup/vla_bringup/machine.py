"""Which machine and which revision a number was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from vla_core.files import workspace_root


def describe(proc: Path = Path("/proc")) -> dict[str, str | int | float]:
    """Processor, cores that we may use, memory [GiB] and, where there is one, the GPU."""
    machine: dict[str, str | int | float] = {
        "cpu": _field(proc / "cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gib": round(int(_field(proc / "meminfo", "MemTotal").split()[0]) / 2**20, 1),
    }
    gpus = sorted((proc / "driver" / "nvidia" / "gpus").glob("*/information"))
    if gpus:
        machine["gpu"] = _field(gpus[0], "Model")
    return machine


def sentence(machine: dict[str, str | int | float]) -> str:
    """One line for a page."""
    text = f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB"
    return f"{text}, {machine['gpu']}" if "gpu" in machine else text


def revision() -> str:
    """`git describe` of the checkout, '-dirty' with uncommitted changes outside docs/; 'unversioned' outside one.

    Nothing that is measured depends on docs/, and a benchmark that publishes plots there goes on.
    """
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
        return _git("describe", "--always", "--tags") + "-dirty" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return "unversioned"


def _git(*words: str) -> str:
    command = ["git", "-C", str(workspace_root()), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def exact_revision() -> str | None:
    """The revision where it tells all of the code: None with uncommitted changes, or outside a checkout."""
    found = revision()
    return None if found.endswith("dirty") or found == "unversioned" else found


def _field(path: Path, name: str) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
