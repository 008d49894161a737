"""`vla bench slam`: the SLAM default in worlds of walls: how far off it is, and how long a scan takes.

A differential robot drives through generated flats, round a ring of rooms and along a corridor of 40 m and back. Its
odometry is off by up to 5 % all the time and by 5 % from step to step, and its wheels slip; the lidar has 360 rays at
10 Hz, noise of 1 cm and dropouts. The truth is used for the score only. The error is that of the pose told at the time
(online) and of the same way in the last map (final), from the known start on, without alignment. The time is that of
the CPU of this thread. AnywhereVLA (2025) tells rates only: SLAM 10 Hz, map 15 Hz.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vla_bringup.statistics import rounded, spread
from vla_core import se2
from vla_core.types import Float64
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.slam import TRACKING, Slam
from vla_navigation.core.slam.warm_up import warm_up
from vla_navigation.core.worlds.drive import Drive, Moment, drive
from vla_navigation.core.worlds.walls import World, corridor, flat, ring

#: World → how it is made from a seed, and what drives through it.
WORLDS: dict[str, tuple[Callable[[int], World], Drive]] = {
    "flat of 6 rooms": (flat, Drive()),
    "ring of 6 rooms": (ring, Drive()),
    "corridor of 40 m": (lambda seed: corridor(), Drive(range_max_m=6.0)),
}
#: What AnywhereVLA tells of itself [Hz].
PEER_HZ = {"scan": 10.0, "grid": 15.0}
FIRST_SEED = 1000  # thresholds were chosen on the first few
_NO_PRIOR = {"degenerate_share": 1e-9, "odometry_share": 100.0}
Row = dict[str, Any]


@dataclass(slots=True)
class Run:
    """What came of one way: errors [m] and times [ms] of every scan, and shares of them."""

    online_m: list[float] = field(default_factory=list)
    final_m: list[float] = field(default_factory=list)
    odometry_m: list[float] = field(default_factory=list)
    scan_ms: list[float] = field(default_factory=list)
    grid_ms: list[float] = field(default_factory=list)
    tracked: int = 0
    loops: int = 0
    keyframes: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench slam`."""
    parser.add_argument("--seeds", type=int, default=4, help="ways per world, each with other rooms and other noise")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--seeds", str(args.seeds)]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Rows of `docs/results/slam.json`.

    Args:
        args: Of `add_arguments`.
        say: Takes progress lines.
    """
    params, rows = SlamParameters.from_config(), []
    warm_up(params)
    for name, (make, how) in WORLDS.items():
        for label, changed in (("", {}), (", no prior", _NO_PRIOR)):
            if label and not name.startswith("corridor"):
                continue
            say(f"{name}{label}")
            seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
            runs = [follow(drive(make(seed), seed, how), replace(params, **changed)) for seed in seeds]
            rows += _rows(f"{name}{label}", runs)
    return rows


def follow(moments: Iterable[Moment], params: SlamParameters) -> Run:
    """Give a way's scans to a SLAM and compare it with the truth."""
    slam, run = Slam(params), Run()
    told: list[Float64] = []
    kept: list[tuple[int, Float64]] = []
    truth: list[Float64] = []
    odometry: list[Float64] = []
    for moment in moments:
        begin = time.thread_time_ns()
        estimate = slam.update(moment.scan, moment.odometry)
        run.scan_ms.append((time.thread_time_ns() - begin) * 1e-6)
        run.tracked += estimate.status == TRACKING
        run.loops += estimate.events.count("loop")
        told.append(estimate.pose)
        kept.append(slam.reference)
        truth.append(moment.truth)
        odometry.append(moment.odometry)
        if len(told) % 50 == 0:
            begin = time.thread_time_ns()
            slam.grid()
            run.grid_ms.append((time.thread_time_ns() - begin) * 1e-6)
    keyframes = slam.keyframes
    run.keyframes = len(keyframes)
    final = se2.compose(keyframes[[number for number, _ in kept]], np.array([pose for _, pose in kept]))
    run.online_m = _errors(np.array(told), np.array(truth))
    run.final_m = _errors(final, np.array(truth))
    run.odometry_m = _errors(se2.between(odometry[0], np.array(odometry)), np.array(truth))
    return run


def _errors(poses: Float64, truth: Float64) -> list[float]:
    """Distances [m] of poses (N,3), which begin near zero, from the truth (N,3), seen from its own beginning."""
    off: Float64 = np.linalg.norm((poses - se2.between(truth[0], truth))[:, :2], axis=1)
    return off.tolist()


def _rows(name: str, runs: list[Run]) -> list[Row]:
    """One row of errors and one each of times per scan and per grid."""
    scans = sum(len(run.scan_ms) for run in runs)
    errors = {
        "n": scans,
        "ate_rmse_m": _worst([_rms(run.online_m) for run in runs]),
        "ate_rmse_median_m": rounded(float(np.median([_rms(run.online_m) for run in runs])), 3),
        "final_rmse_m": _worst([_rms(run.final_m) for run in runs]),
        "furthest_m": _worst([max(run.online_m) for run in runs]),
        "odometry_rmse_m": rounded(float(np.median([_rms(run.odometry_m) for run in runs])), 3),
        "tracked": rounded(sum(run.tracked for run in runs) / scans),
        "loops": sum(run.loops for run in runs),
        "keyframes": max(run.keyframes for run in runs),
    }
    times = {"scan": [t for run in runs for t in run.scan_ms], "grid": [t for run in runs for t in run.grid_ms]}
    return [
        {"world": name, "measure": f"error, worst of {len(runs)} ways", **errors},
        *(
            {"world": name, "measure": f"time per {what}", "unit": "ms", **spread(ms), "peer_hz": PEER_HZ[what]}
            for what, ms in times.items()
        ),
    ]


def _rms(errors_m: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors_m))))


def _worst(values: list[float]) -> float:
    return rounded(max(values), 3)
