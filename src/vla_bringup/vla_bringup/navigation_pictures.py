"""Pictures of the navigator and the explorer at work: docs/images/navigation.png and exploration.png.

./vla python -m vla_bringup.navigation_pictures
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vla_bringup.bench.explore import METHODS, Search, search
from vla_bringup.bench.flat_robot import BASE, RADIUS_M, FlatRobot, clearance_m, free_pose
from vla_bringup.bench.nav import grid_of
from vla_core.files import workspace_root
from vla_core.types import Float64
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_sim.core.floor_plan.generate import generate
from vla_sim.core.floor_plan.world import PlanarWorld

_NAV_SEED, _EXPLORE_SEED = 1005, 2003
_PEOPLE, _APART_M, _LIMIT_S = 3, 7.0, 120.0
_SNAPSHOT_S = 6.0  # the people are drawn where they are then
_EXPLORE_S = 150.0


def draw_navigation(path: Path) -> None:
    """One drive among people: the costmap as the robot has it halfway, its first path, and the way driven."""
    plan, rng = generate(_NAV_SEED), np.random.default_rng([_NAV_SEED, 5])
    away = clearance_m(plan.boxes, plan)
    start = free_pose(rng, away)
    goal = free_pose(rng, away, start, _APART_M)
    mapped = np.concatenate([plan.walls, plan.furniture[1:]])
    world = PlanarWorld(plan, BASE, RADIUS_M, start, _PEOPLE, _NAV_SEED)
    robot = FlatRobot(world, grid_of(mapped, plan.size_m), NavigatorParameters.from_config(), _NAV_SEED)
    robot.nav.go(goal)
    way, first, distance, people = [start[:2]], None, None, world.discs()
    while robot.time_s < _LIMIT_S and robot.nav.feedback().result is None:
        robot.step()
        way.append(world.pose[:2].copy())
        first = robot.nav.path if first is None else first
        if robot.time_s <= _SNAPSHOT_S:
            distance, people = robot.nav.costmap.distance_m(), world.discs()
    assert first is not None and distance is not None
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(7.5, 5.6), layout="constrained")
    extent = (0.0, plan.size_m[0], 0.0, plan.size_m[1])
    shown = axis.imshow(np.minimum(distance, 1.0), origin="lower", extent=extent, cmap="gray")
    figure.colorbar(shown, ax=axis, label="distance to the nearest obstacle, up to 1 m [m]", shrink=0.8)
    _boxes(axis, plan.furniture[:1], "tab:red", "not on the map")
    axis.plot(*first[:, :2].T, "--", color="tab:blue", label="first plan")
    axis.plot(*np.array(way).T, color="tab:orange", label="driven")
    axis.plot(*start[:2], "o", color="tab:orange")
    axis.plot(*goal[:2], "*", color="tab:green", ms=14, label="goal")
    for k, (x, y, radius) in enumerate(people):
        label = f"people after {_SNAPSHOT_S:g} s" if k == 0 else None
        axis.add_patch(pyplot.Circle((x, y), radius, color="tab:purple", label=label))
    axis.set(xlabel="x [m]", ylabel="y [m]")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def draw_exploration(path: Path) -> None:
    """The same flat searched by both methods, and how their coverage grows."""
    found = {method: search(method, _EXPLORE_SEED, _EXPLORE_S) for method in METHODS}
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(13.0, 3.7), layout="constrained")
    for axis, (method, result) in zip(axes, found.items(), strict=False):
        _seen(axis, result)
        count = int(np.isfinite(result.found_s).sum())
        axis.set(title=f"{method}: {count} of {len(result.found_s)} found", xlabel="x [m]", ylabel="y [m]")
        axes[2].plot(np.arange(len(result.coverage)), result.coverage, label=method)
    axes[2].set(xlabel="time [s]", title="share of the floor that the camera has seen", ylim=(0.0, 1.02))
    axes[2].grid(alpha=0.3)
    axes[2].legend(fontsize=8)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _seen(axis: Any, result: Search) -> None:
    """Seen floor white, floor that only the lidar knows blue, obstacles black, frontiers red."""
    layer = result.layer
    picture = np.full((*layer.frame.shape, 3), 0.75)
    picture[layer.free] = (0.55, 0.7, 0.9)
    picture[layer.free & layer.seen] = 1.0
    picture[layer.occupied] = 0.0
    frame = layer.frame
    right, top = frame.x_m + frame.columns * frame.resolution_m, frame.y_m + frame.rows * frame.resolution_m
    axis.imshow(picture, origin="lower", extent=(frame.x_m, right, frame.y_m, top))
    for frontier in result.frontiers:
        axis.plot(*frame.points(frontier.cells).T, ".", color="tab:red", ms=2)
    axis.plot(*np.array(result.way).T, color="tab:orange", lw=1.0)
    hit = np.isfinite(result.found_s)
    axis.plot(*result.targets[hit].T, "*", color="tab:green", ms=10)
    axis.plot(*result.targets[~hit].T, "x", color="tab:red", ms=8, mew=2)


def _boxes(axis: Any, boxes: Float64, colour: str, label: str) -> None:
    for x0, y0, x1, y1 in boxes:
        axis.fill([x0, x1, x1, x0], [y0, y0, y1, y1], color=colour, alpha=0.7, label=label)


def _pyplot() -> Any:
    import matplotlib  # slow to load

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def main() -> None:
    """Draw both."""
    images = workspace_root() / "docs" / "images"
    draw_navigation(images / "navigation.png")
    draw_exploration(images / "exploration.png")


if __name__ == "__main__":
    main()
