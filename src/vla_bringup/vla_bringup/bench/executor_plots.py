"""Plots of the executor's table: what a delay does to each strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Column → what the axis says, and whether it is logarithmic.
COLUMNS = {
    "success": ("success", False),
    "seam_jump_mrad_p99": ("seam jump p99 [mrad]", True),
    "rms_jerk": ("jerk rms [rad/s³]", False),
    "task_s": ("time to success [s]", False),
}
_STYLES = ("-", "--", "-.")


def plot(rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """One picture per task: every column over the delay, a line per strategy.

    Args:
        rows: Of the executor's table.
        folder: For the pictures.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    colours, paths = matplotlib.colormaps["tab20"].colors[::2] + matplotlib.colormaps["tab20"].colors[1::2], []
    for task in dict.fromkeys(row["task"] for row in rows):
        figure, axes = pyplot.subplots(1, len(COLUMNS), figsize=(4.2 * len(COLUMNS), 4.0), layout="constrained")
        own = [row for row in rows if row["task"] == task]
        for axis, (column, (title, logarithmic)) in zip(axes, COLUMNS.items(), strict=True):
            for k, strategy in enumerate(dict.fromkeys(row["strategy"] for row in own)):
                found = [(r["delay_ms"], r[column]) for r in own if r["strategy"] == strategy and r[column] is not None]
                if not found:  # no success, so no time to one
                    continue
                look = {"color": colours[k % len(colours)], "marker": "o", "markersize": 3, "label": strategy}
                axis.plot(*zip(*sorted(found), strict=True), _STYLES[k % len(_STYLES)], **look)
            axis.set(xlabel="delay [ms]", title=title, yscale="log" if logarithmic else "linear")
            axis.grid(alpha=0.3)
        axes[0].set_ylim(0.0, 1.02)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
        figure.suptitle(f"{task}: delays ± 30 %, 5 % of the answers lost")
        paths.append(folder / f"executor_{task}.png")
        figure.savefig(paths[-1], dpi=80)
        pyplot.close(figure)
    return paths
