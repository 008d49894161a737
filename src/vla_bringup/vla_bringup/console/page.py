"""The page in the browser (viser): scene, camera images, numbers, instruction box, stop button. Knows no ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import viser

from vla_bringup.console.floor_view import BASE, FloorView
from vla_bringup.console.robot_view import RobotView
from vla_core.errors import ConfigError
from vla_core.types import Float64, UInt8
from vla_sim.core.aloha.scene import BAR_HALF
from vla_sim.core.scene import BALL_RADIUS, BOWL_HEIGHT, BOWL_RADIUS, CUBE_HALF, CYLINDER
from vla_sim.core.world import RGB

TRUTH = "/simulator truth"
_PATHS = {
    "predicted": (25, 100, 255), "clamped": (255, 25, 25), "blended": (0, 204, 230), "committed": (255, 140, 0),
    "executed": (25, 190, 50),
}  # fmt: skip  # as in rviz
_DOTS = ("predicted", "clamped")
_FLOOR_LEGEND = (
    " Floor: white where a camera has looked, pale blue what only the lidar knows; frontiers red, the navigator's plan"
    " dark green, things green, doubted ones yellow."
)
_ABOVE = ((-3.0, -3.0, 5.0), (0.5, 0.0, 0.0))  # where a floor is looked at from, and what of it [m]


@dataclass(frozen=True, slots=True)
class Actions:
    """What the buttons do; called on the page's own threads."""

    run: Callable[[str], None]
    cancel: Callable[[], None]
    stop: Callable[[], None]
    release: Callable[[], None]


class Page:
    """Serves the page; every method may be called from one other thread.

    Args:
        host: Address to serve on.
        port: TCP port.
        robot: What to draw.
        cameras: Names, in the order of the panel.
        actions: What the buttons do.
        drives: The robot moves about a floor, which is shown as well.

    Attributes:
        floor: What a robot that drives knows of the place; None for the others.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self, host: str, port: int, robot: RobotView, cameras: Sequence[str], actions: Actions, drives: bool = False
    ) -> None:
        try:
            self._server = viser.ViserServer(host=host, port=port, label="VLA console", verbose=False)
        except OSError as error:
            fix = "choose another host or port"
            raise ConfigError(f"port {port}: {error}", "a free port", fix) from error
        if self._server.get_port() != port:
            got = self._server.get_port()
            self._server.stop()
            raise ConfigError(f"port {port} taken, {got} free", f"port {port} free", f"end its server, or use {got}")
        self._robot = robot
        self._truth: dict[str, Any] = {}
        self._paths: dict[str, Any] = {}
        self.floor = FloorView(self._server.scene) if drives else None
        self._build_panel(cameras, actions)
        self._build_scene()

    @property
    def viewers(self) -> int:
        """How many browsers look at it."""
        return len(self._server.get_clients())

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    def _build_panel(self, cameras: Sequence[str], actions: Actions) -> None:
        gui = self._server.gui
        gui.configure_theme(control_layout="fixed", control_width="large", show_logo=False, show_share_button=False)
        stop = gui.add_button("STOP", color="red", hint="Stop the robot at once; latched until released.")
        stop.on_click(lambda _: actions.stop())
        release = gui.add_button("Release stop", color="gray")
        release.on_click(lambda _: actions.release())
        box = gui.add_text("Instruction", initial_value="", hint="e.g. put the red cube in the blue bowl")
        run = gui.add_button("Run", color="green")
        run.on_click(lambda _: actions.run(box.value))
        cancel = gui.add_button("Cancel", color="gray")
        cancel.on_click(lambda _: actions.cancel())
        self._mission = gui.add_markdown("idle")
        self._views = {name: np.zeros((128, 128, 3), np.uint8) for name in cameras}
        self._image = gui.add_image(beside(self._views.values()), label=" | ".join(cameras), format="jpeg")
        self._numbers = gui.add_markdown("")
        gui.add_markdown(
            "Paths of the tool: predicted chunk blue, clamped steps red, plan cyan, committed orange, executed green."
            + ("" if self.floor is None else _FLOOR_LEGEND)
        )

    def _build_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        if self.floor is None:
            scene.add_frame(BASE, show_axes=False)
            scene.add_grid("/grid", width=3.0, height=3.0, cell_size=0.1, position=(0.3, 0.0, -0.001))
        self._links = {link: scene.add_frame(f"{BASE}/robot/{link}", show_axes=False) for link in self._robot.links}
        for i, mesh in enumerate(self._robot.meshes):
            scene.add_mesh_simple(f"{BASE}/robot/{mesh.link}/{i}", mesh.vertices, mesh.faces, color=mesh.rgb)
        self.show_robot({})

        @self._server.on_client_connect
        def _(client: viser.ClientHandle) -> None:
            eye, looked_at = ((1.35, -0.75, 0.75), (0.3, 0.0, 0.25)) if self.floor is None else _ABOVE
            client.camera.position, client.camera.look_at = eye, looked_at

    def show_robot(self, joints: Mapping[str, float]) -> None:
        """Move the robot to joint positions [rad, m] by name."""
        for link, (position, wxyz) in self._robot.poses(joints).items():
            self._links[link].position, self._links[link].wxyz = position, wxyz

    def show_images(self, fresh: Mapping[str, UInt8]) -> None:
        """Show the newest images, camera → uint8 (H,W,3), side by side; the other cameras keep theirs."""
        if fresh:
            self._views.update(fresh)
            self._image.image = beside(self._views.values())

    def show_path(self, name: str, points: Float64) -> None:
        """Show 'predicted' and 'clamped' as dots, the others as lines; points (N,3) [m] in the base frame."""
        scene, colour = self._server.scene, _PATHS[name]
        if name in _DOTS and len(points) > 0:  # the same name replaces what was there
            self._paths[name] = scene.add_point_cloud(f"{BASE}/paths/{name}", points, colour, point_size=0.006)
        elif name not in _DOTS and len(points) > 1:
            segments = np.stack([points[:-1], points[1:]], axis=1)
            self._paths[name] = scene.add_line_segments(f"{BASE}/paths/{name}", segments, colour, thickness=0.004)
        elif name in self._paths:
            self._paths.pop(name).remove()

    def show_text(self, mission: str, numbers: str) -> None:
        """Show the two Markdown texts; unchanged ones aren't sent."""
        if self._mission.content != mission:
            self._mission.content = mission
        if self._numbers.content != numbers:
            self._numbers.content = numbers

    def show_truth(self, objects: Mapping[str, Mapping[str, Any]]) -> None:
        """Draw what the simulator knows, under its own name: object → {shape, colour, position_m, quaternion_xyzw}."""
        if set(objects) != set(self._truth):
            for handle in self._truth.values():
                handle.remove()
            self._truth = {name: self._thing(name, thing) for name, thing in objects.items()}
            text = "simulator truth, unknown to the robot"
            self._server.scene.add_label(f"{TRUTH}/label", text, position=(0.85, 0.0, 0.0))
        for name, thing in objects.items():
            x, y, z, w = thing["quaternion_xyzw"]
            self._truth[name].position, self._truth[name].wxyz = thing["position_m"], (w, x, y, z)

    def _thing(self, name: str, thing: Mapping[str, Any]) -> Any:
        scene, path = self._server.scene, f"{TRUTH}/{name}"
        red, green, blue = (int(255 * v) for v in RGB[thing["colour"]])
        look: dict[str, Any] = {"color": (red, green, blue), "opacity": 0.7}
        if thing["shape"] == "cube":
            return scene.add_box(path, dimensions=(2 * CUBE_HALF,) * 3, **look)
        if thing["shape"] == "bar":
            return scene.add_box(path, dimensions=tuple(2 * half for half in BAR_HALF), **look)
        if thing["shape"] == "ball":
            return scene.add_icosphere(path, radius=BALL_RADIUS, **look)
        if thing["shape"] == "bowl":
            return scene.add_cylinder(path, radius=BOWL_RADIUS, height=0.3 * BOWL_HEIGHT, **look)
        return scene.add_cylinder(path, radius=CYLINDER[0], height=2 * CYLINDER[1], **look)


def beside(images: Iterable[UInt8]) -> UInt8:
    """Images uint8 (H,W,3) in one row, filled up with black to one height."""
    row = list(images)
    height = max(len(image) for image in row)
    return np.hstack([np.pad(image, ((0, height - len(image)), (0, 0), (0, 0))) for image in row])
