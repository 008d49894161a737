"""What a mobile robot knows of the place, in the console's scene: map, seen floor, frontiers, things, plan. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import viser

from vla_bringup.core.floor_picture import SeenThing
from vla_core.types import Float64, UInt8
from vla_navigation.core.occupancy_grid import FREE_BELOW, OCCUPIED_FROM, OccupancyGrid

#: Moves with the robot; everything that is given in its base frame lies under it.
BASE = "/base"
_UNKNOWN, _FREE, _SEEN, _SOLID = (200, 200, 205), (225, 232, 245), (255, 255, 255), (40, 40, 45)
_FRONTIER, _PLAN, _SURE, _DOUBTED = (230, 25, 25), (0, 150, 60), (25, 180, 50), (230, 180, 25)
_ON_FLOOR_M, _MARK_M = 0.02, 0.04
_SURE_FROM = 0.5  # as likely as this a thing is drawn as sure


class FloorView:
    """Draws in map coordinates; the same name replaces what was there.

    Args:
        scene: Of the page.
    """

    def __init__(self, scene: viser.SceneApi) -> None:
        self._scene = scene
        self._base = scene.add_frame(BASE, show_axes=False)
        self._handles: dict[str, Any] = {}
        self._things: dict[str, tuple[Any, Any]] = {}

    def show_robot(self, pose: Float64) -> None:
        """Move the robot to x, y, yaw (3,) [m, rad]."""
        x, y, yaw = pose
        self._base.position, self._base.wxyz = (x, y, 0.0), (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))

    def show_map(self, grid: OccupancyGrid, seen: OccupancyGrid | None) -> None:
        """Show the lidar's map, lighter where a camera has looked.

        Args:
            grid: Of the lidar.
            seen: Of the explorer: 0 where a camera has looked; None: nobody explores.
        """
        picture = map_picture(grid, seen)
        size_m = np.array(picture.shape[1::-1]) * grid.resolution_m
        x, y, yaw = grid.origin
        cos, sin, cos_half, sin_half = np.cos(yaw), np.sin(yaw), np.cos(yaw / 2), np.sin(yaw / 2)
        middle = np.array([[cos, -sin], [sin, cos]]) @ (0.5 * size_m) + [x, y]
        self._handles["map"] = self._scene.add_image(
            "/map", picture, float(size_m[0]), float(size_m[1]), format="png", cast_shadow=False, receive_shadow=False,
            position=(float(middle[0]), float(middle[1]), 0.0),
            wxyz=(cos_half, 0.0, 0.0, sin_half),
        )  # fmt: skip

    def show_frontiers(self, points: Float64) -> None:
        """Show where what the cameras have seen ends, (N,3) [m]."""
        self._replace("frontiers")
        if len(points):
            self._handles["frontiers"] = self._scene.add_point_cloud(
                "/frontiers", points + [0.0, 0.0, _ON_FLOOR_M], _FRONTIER, point_size=_MARK_M
            )

    def show_plan(self, points: Float64) -> None:
        """Show the way that the navigator means to take, (N,2) [m]."""
        self._replace("plan")
        if len(points) > 1:
            way = np.column_stack([points, np.full(len(points), _ON_FLOOR_M)])
            self._handles["plan"] = self._scene.add_line_segments(
                "/plan", np.stack([way[:-1], way[1:]], axis=1), _PLAN, thickness=0.5 * _MARK_M
            )

    def show_things(self, things: Sequence[SeenThing]) -> None:
        """Mark things by name: green when they are sure, yellow while they are doubted."""
        wanted = {f"{thing.name}_{k}": thing for k, thing in enumerate(things)}
        for name in set(self._things) - set(wanted):
            for handle in self._things.pop(name):
                handle.remove()
        for name, thing in wanted.items():
            colour = _SURE if thing.likelihood >= _SURE_FROM else _DOUBTED
            path, place = f"/things/{name.replace(' ', '_')}", (thing.x_m, thing.y_m, 2 * _MARK_M)
            if name not in self._things:
                mark = self._scene.add_icosphere(path, radius=_MARK_M, color=colour, position=place)
                self._things[name] = mark, self._scene.add_label(f"{path}/name", thing.name, depth_test=False)
            self._things[name][0].position, self._things[name][0].color = place, colour

    def _replace(self, name: str) -> None:
        if name in self._handles:
            self._handles.pop(name).remove()


def map_picture(grid: OccupancyGrid, seen: OccupancyGrid | None) -> UInt8:
    """uint8 (H,W,3), row along y as in the map; `seen` counts where it has the same cells as the map."""
    cells = grid.cells
    picture = np.full((*cells.shape, 3), _UNKNOWN, np.uint8)
    free = (cells >= 0) & (cells < FREE_BELOW)
    picture[free] = _FREE
    if seen is not None and seen.cells.shape == cells.shape and np.allclose(seen.origin, grid.origin):
        picture[free & (seen.cells == 0)] = _SEEN
    picture[cells >= OCCUPIED_FROM] = _SOLID
    return picture
