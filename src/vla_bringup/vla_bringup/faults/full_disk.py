"""The disk is full while a run is recorded: `vla demo` on a file system of its own, too small for its pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av

from vla_bringup.faults.fault import Fault, Outcome
from vla_control.core.robot import load_robot_config
from vla_core.errors import GraphError, SetupError

_SIZE_MB = 16  # a second of pictures takes eight
_WAIT_S = 1500.0
_MOUNT = 'mount -t tmpfs -o size="$1"m tmpfs "$2"'
# In mount and user namespaces of its own: no rights are needed, and nothing is left.
_SCRIPT = f"{_MOUNT} && " + '"${@:4}"; status=$?; cp "$2"/result.json "$2"/video.mp4 "$3"; exit $status'


def run(fault: Fault, out: Path) -> Outcome:
    """Run the demo on a small disk.

    Args:
        fault: Row of the table.
        out: Folder; gets `result.json` and `video.mp4`.

    Raises:
        SetupError: this kernel lets nobody but root mount.
        GraphError: the demo did not do its job.
    """
    disk = out / "small disk"
    disk.mkdir(parents=True)
    _check_rights(disk)
    demo = (sys.executable, "-m", "vla_bringup.cli", "demo", "--seed", "3", "--out", str(disk))
    done = _in_namespace(_SCRIPT, (str(_SIZE_MB), str(disk), str(out), *demo))
    if done.returncode != 0:
        got = f"status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
        raise GraphError(got, "a demo that carries its task out", "see its output")
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    with av.open(str(out / "video.mp4")) as film:
        frames = sum(1 for _ in film.decode(video=0))
    jerk = float(load_robot_config("panda").jerk_rad_s3.max())
    violations = () if result["max_jerk"] <= 1.01 * jerk else (f"jerk of the target: {result['max_jerk']:.3g}",)
    seen = f"the task was carried out; the film has {frames} pictures of {result['sim_s']:.1f} s"
    said = sum("the film ends early" in line for line in done.stdout.splitlines())
    return Outcome(seen, None, (said,) * len(fault.told), bool(result["success"]), violations)


def _check_rights(disk: Path) -> None:
    if _in_namespace(_MOUNT, ("1", str(disk))).returncode != 0:
        fix = "run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
        raise SetupError("a kernel that refuses a mount namespace", "a small file system of our own", fix)


def _in_namespace(script: str, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, "bash", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=False, env=dict(os.environ))
