"""One page of curves of a run: targets, torques, latencies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bringup.core.lettering import legible
from vla_bringup.core.recording import Recording
from vla_core.types import NS


def write_plot(
    path: Path, recording: Recording, start_ns: int, image_to_torque_ms: Sequence[float], title: str
) -> None:
    """Draw joint targets with measured joints, torques, tracking error, and the latencies of inference and line.

    Args:
        path: `.png` file.
        recording: Of the run.
        start_ns: Zero of the time axis [ns, ROS clock].
        image_to_torque_ms: One per answered observation.
        title: Instruction.
    """
    import matplotlib  # seconds to load, and the graph should be up first

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, figsize=(10, 12), layout="constrained")
    title, fonts = legible(title)
    figure.suptitle(title, fontfamily=fonts)
    controls = recording.controls
    time_s = np.array([c.stamp_ns - start_ns for c in controls]) / NS
    if controls:
        q, target = np.array([c.q_rad for c in controls]), np.array([c.q_target_rad for c in controls])
        lines = axes[0].plot(time_s, target, lw=1.0)
        for line, column in zip(lines, q.T, strict=True):
            axes[0].plot(time_s, column, ":", color=line.get_color(), lw=1.5)
        axes[1].plot(time_s, np.array([c.tau_nm for c in controls]), lw=0.8)
        axes[1].legend([f"joint {i + 1}" for i in range(q.shape[1])], ncols=q.shape[1], fontsize=7, loc="upper right")
        axes[2].plot(time_s, np.abs(target - q).max(axis=1) * 1e3, lw=0.8)
    for chunk in recording.chunks:
        axes[0].axvline((chunk.stamp_ns - start_ns) / NS, color="0.85", lw=0.6, zorder=0)
    axes[0].set_ylabel("joint target (line), measured (dots) [rad]")
    axes[1].set_ylabel("commanded torque [N·m]")
    axes[2].set_ylabel("largest joint error [mrad]")
    for axis in axes[:3]:
        axis.set_xlabel("time since the goal [s, ROS clock]")
    for name, values in (
        ("inference", [1e3 * c.inference_s for c in recording.chunks if c.stamp_ns >= start_ns]),
        ("image to torque", list(image_to_torque_ms)),
    ):
        if values:
            ordered = np.sort(values)
            axes[3].step(
                ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", label=f"{name}, n={len(values)}"
            )
    axes[3].set_xlabel("latency [ms]")
    axes[3].set_ylabel("share of chunks")
    axes[3].set_ylim(0, 1.02)
    if axes[3].get_legend_handles_labels()[0]:
        axes[3].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
