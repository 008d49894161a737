"""What a machine and a checkout must offer, one function per question; `vla doctor` asks them all."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vla_bringup.jobs import has_launch
from vla_bringup.runner import SHM
from vla_bringup.setup import system
from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_core.files import workspace_root

SEGMENT_BYTES = 32 * 2**20
MODULES = ("rclpy", "vla_msgs.msg", "tf2_msgs.msg", "mujoco", "pinocchio", "ruckig", "torch", "openvino", "av", "cv2")
RENDER = "from vla_sim.core.world import World; from vla_sim.core.cameras import Cameras; Cameras(World()).rgb('front')"


@dataclass(frozen=True, slots=True)
class Check:
    """Answer to one question.

    Attributes:
        name: What was looked at.
        level: 'ok', 'warning' (works, but worse) or 'error' (doesn't work).
        found: What there is.
        fix: How to mend it; empty when ok.
    """

    name: str
    level: str
    found: str
    fix: str = ""


def modules() -> Iterator[Check]:
    """Python packages that the stack imports."""
    missing = [name for name in MODULES if not _importable(name)]
    if missing:
        yield Check("packages", "error", f"missing: {', '.join(missing)}", "./vla setup")
    else:
        yield Check("packages", "ok", f"{len(MODULES)} of {len(MODULES)}, Python {sys.version.split()[0]}")


def ros() -> Iterator[Check]:
    """Which ROS 2 is used, and whether `ros2 launch` is there."""
    kind = os.environ.get("VLA_ROS", "")
    if not kind:
        yield Check("ROS 2", "error", "no environment", "start through ./vla, or source .venv/ros_env.sh")
        return
    launch = "with ros2 launch" if has_launch() else "without ros2 launch (not needed)"
    yield Check("ROS 2", "ok", f"{kind}, {launch}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}")


def dds() -> Iterator[Check]:
    """The Fast DDS profile: with the default one most camera frames get lost."""
    name, fix = "DDS profile", f"export FASTRTPS_DEFAULT_PROFILES_FILE={workspace_root()}/config/dds/fastdds_shm.xml"
    rmw = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if rmw != "rmw_fastrtps_cpp":
        yield Check(name, "warning", f"{rmw}: not measured", "export RMW_IMPLEMENTATION=rmw_fastrtps_cpp")
        return
    path = Path(os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", ""))
    if not path.is_file():
        yield Check(name, "error", "none: camera frames get lost", fix)
        return
    sizes = [int(n) for n in re.findall(r"<segment_size>\s*(\d+)\s*</segment_size>", path.read_text(encoding="utf-8"))]
    if max(sizes, default=0) < SEGMENT_BYTES:
        yield Check(name, "error", f"{path.name} with segments of {max(sizes, default=0)} bytes", fix)
    else:
        yield Check(name, "ok", f"{path.name}, {max(sizes) // 2**20} MiB segments")


def shared_memory(shm: Path = SHM) -> Iterator[Check]:
    """Room in /dev/shm, and what killed processes left there."""
    room = os.statvfs(shm)
    free = room.f_bavail * room.f_frsize
    level = "ok" if free >= 256 * 2**20 else "error"
    fix = "" if level == "ok" else f"remount {shm} with 1 GiB (in a container: --shm-size=1g)"
    yield Check("shared memory", level, f"{free // 2**20} MiB free", fix)
    left = sorted(path.name for path in shm.glob("vla_*") if not _mapped(path))
    if left:
        yield Check("left-overs", "warning", f"nobody uses {', '.join(left)}", f"cd {shm} && rm {' '.join(left)}")


def real_time() -> Iterator[Check]:
    """The right to run the servo with SCHED_FIFO and locked memory."""
    try_it = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))"
    allowed = _run(try_it) == ""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    locked = soft == resource.RLIM_INFINITY or soft > 512 * 2**20 or os.geteuid() == 0
    fix = (
        "add '@realtime - rtprio 98' and '@realtime - memlock unlimited' to /etc/security/limits.conf, join that group"
    )
    if allowed and locked:
        yield Check("real-time rights", "ok", "SCHED_FIFO and locked memory")
    else:
        missing = " and ".join(n for n, there in (("SCHED_FIFO", allowed), ("locked memory", locked)) if not there)
        yield Check("real-time rights", "warning", f"no {missing}: more jitter in real time, none in lockstep", fix)


def processors() -> Iterator[Check]:
    """Cores that we may use."""
    count = len(os.sched_getaffinity(0))
    if count >= 2:
        yield Check("processors", "ok", f"{count}")
    else:
        yield Check("processors", "warning", "1: servo and policy share it", "allow at least 2 cores; or use lockstep")


def drawing() -> Iterator[Check]:
    """Pictures without a screen."""
    missing = system.missing_drawing()
    if missing:
        yield Check("drawing", "error", f"missing: {', '.join(missing)}", system.apt_command(missing.values()))
        return
    problem = _run(RENDER)
    backend = os.environ.get("MUJOCO_GL", "the default")
    if problem:
        fix = "install an EGL driver, or export MUJOCO_GL=osmesa (apt-get install libosmesa6)"
        yield Check("drawing", "error", f"{backend}: {problem}", fix)
    else:
        yield Check("drawing", "ok", f"MUJOCO_GL={backend} draws the front camera")


def gpu() -> Iterator[Check]:
    """A GPU is never needed; torch must see one that is there."""
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if not devices:
        yield Check("GPU", "ok", "none; policies run on the processor through OpenVINO")
        return
    problem = _run("import torch, sys; sys.exit(0 if torch.cuda.is_available() else 'torch sees no CUDA device')")
    if problem:
        yield Check("GPU", "warning", problem, "install the CUDA build of the pinned torch")
    else:
        yield Check("GPU", "ok", f"{len(devices)} for torch")


def configuration() -> Iterator[Check]:
    """Every contract parses and fits its robot; every policy has weights that were trained for its contract."""
    config = workspace_root() / "config"
    for path in sorted((config / "contracts").glob("*.yaml")):
        yield _contract(path.stem)
    untrained = []
    for path in sorted((config / "policies").glob("*.yaml")):
        if (check := _policy(path.stem)) is None:
            untrained.append(path.stem)
        else:
            yield check
    if untrained:
        found = f"{', '.join(untrained)}; ./vla train --policy NAME makes them"
        yield Check("policies without weights", "ok", found)


def _contract(name: str) -> Check:
    from vla_bringup.third_party_suites import THIRD_PARTY
    from vla_control.core.action_spaces.composite import ActionSpaces
    from vla_control.core.robot import load_robot_config

    try:
        contract = load_contract(name)
        if contract.robot in {load_contract(suite.contract).robot for suite in THIRD_PARTY.values()}:
            return Check(f"contract {name}", "ok", "a benchmark moves its robot, for ./vla eval alone")
        ActionSpaces(contract, load_robot_config(contract.robot), "continuous")
    except VlaError as error:
        return Check(f"contract {name}", "error", error.got, error.fix)
    return Check(f"contract {name}", "ok", f"fits {contract.robot}, hash {contract.hash}")


def _policy(name: str) -> Check | None:
    """Whether it loads; None for one whose weights aren't there, which is no fault of the machine."""
    # loaded here: torch takes seconds, and doctor must answer the other questions without it
    from vla_policy.core.policy import load_policy
    from vla_policy.core.preset import BACKBONE, EXPERT, load_preset

    try:
        preset = load_preset(name)
        if preset.policy == EXPERT:
            return Check(f"policy {name}", "ok", "reads the simulator's ground truth: for simulation only")
        if preset.policy == BACKBONE:
            return Check(f"policy {name}", "ok", "a part that others are built on")
        if preset.weights and not preset.has_weights():
            return None
        load_policy(name, load_contract(preset.contract))
    except VlaError as error:
        return Check(f"policy {name}", "error", error.got, error.fix)
    except ImportError as error:
        return Check(f"policy {name}", "error", str(error), "./vla setup")
    return Check(f"policy {name}", "ok", "weights and contract agree")


#: All questions, quick ones first.
QUESTIONS: tuple[Callable[[], Iterator[Check]], ...] = (
    ros, modules, dds, shared_memory, processors, real_time, gpu, drawing, configuration
)  # fmt: skip


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _run(script: str) -> str:
    """Last line that a Python script complains with, empty if it succeeds; in a process of its own, it may crash."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _mapped(path: Path) -> bool:
    """Whether a process that we may look at uses a file."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if str(path) in maps.read_text(encoding="utf-8", errors="replace"):
                return True
        except OSError:
            continue  # it ended, or belongs to somebody else
    return False
