"""Build the MuJoCo model of a flat around a robot. Metres; the floor is z = 0.

Geom group 0 is what stands or lies in the flat: cameras and lidars see it. Group 2 is the robot as cameras see it, 3
what is only touched. There is no ceiling: one can look in from above.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from vla_sim.core.flat.floor import DOOR_HEIGHT_M, WALL_HEIGHT_M, Door, Floor, Rect
from vla_sim.core.flat.furnish import Placed
from vla_sim.core.flat.plan import FlatPlan
from vla_sim.core.flat.spots import Thing
from vla_sim.core.flat.style import PATTERN_M, Style, floor_pattern
from vla_sim.core.flat.things import CATEGORIES, RGB, TONES, Shape
from vla_sim.core.scene_parts import SOFT, add_cameras, new_spec

SEEN, TOUCHED = 0, 3  # geom groups
DOOR_AWAY_M = -3.0  # height of a leaf that has slid away
_LEAF_M = 0.03
_LIFT_M = 5e-4
_GEOM = mujoco.mjtGeom
_FORMS = {"box": _GEOM.mjGEOM_BOX, "wall": _GEOM.mjGEOM_BOX, "cylinder": _GEOM.mjGEOM_CYLINDER,
          "sphere": _GEOM.mjGEOM_SPHERE, "ellipsoid": _GEOM.mjGEOM_ELLIPSOID}  # fmt: skip
_NO_SLIP = 4
_ROLL = 0.003  # rolling friction of what is round [m]
_PADS = ("fixed_jaw_pad", "moving_jaw_pad")
_FRICTION = [-1.0, -900.0]  # direct format: no stiffness to speak of, damping [1/s] below 1 / time step
_QUIET: dict[str, Any] = {"contype": 0, "conaffinity": 0}


def build_model(scene: dict[str, Any], robot_file: Path, plan: FlatPlan, style: Style) -> mujoco.MjModel:
    """Compile a flat; the robot comes first, so its joints lie at the same place in every flat.

    Args:
        scene: Parsed `config/scenes/flat.yaml`.
        robot_file: MJCF of the robot.
        plan: What stands where.
        style: What it looks like.

    Returns:
        The model. Bodies `thing0`, `thing1`, ... are the plan's things, `door0`, ... (mocap) the leaves of its doors,
        and every piece of furniture is a body named after its kind, e.g. `shelf/2`.
    """
    spec = new_spec(scene, robot_file)
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    spec.option.sleep_tolerance = 0.02
    spec.option.noslip_iterations = _NO_SLIP  # what is carried for a minute must not creep out of the jaws
    spec.visual.map.zfar = 60.0 / 10.0
    spec.stat.extent = 10.0
    spec.visual.map.znear = 0.02 / 10.0
    _light(spec, style)
    _add_floors(spec, plan.floor, style)
    _add_walls(spec, plan.floor, style)
    for i, door in enumerate(plan.floor.doors):
        _add_door(spec, i, door)
    for i, placed in enumerate(plan.furniture):
        _add_furniture(spec, i, placed, style)
    for i, thing in enumerate(plan.things):
        _add_thing(spec, i, thing)
    add_cameras(spec, scene["cameras"])
    return spec.compile()


def _light(spec: mujoco.MjSpec, style: Style) -> None:
    spec.visual.headlight.ambient = [style.ambient] * 3
    spec.visual.headlight.diffuse = [0.36] * 3
    spec.visual.headlight.specular = [0.05] * 3
    sky = {"name": "sky", "type": mujoco.mjtTexture.mjTEXTURE_SKYBOX, "builtin": mujoco.mjtBuiltin.mjBUILTIN_FLAT}
    spec.add_texture(**sky, width=8, height=8, rgb1=[0.93, 0.93, 0.94], rgb2=[0.93, 0.93, 0.94])
    spec.worldbody.add_light(name="lamp", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0, 0, 4], castshadow=False,
                             dir=list(style.lamp_from), diffuse=[style.lamp] * 3)  # fmt: skip


def _add_floors(spec: mujoco.MjSpec, floor: Floor, style: Style) -> None:
    """One plane to drive on, and a covering per room to look at."""
    spec.worldbody.add_geom(name="ground", type=_GEOM.mjGEOM_PLANE, size=[20, 20, 0.1], group=TOUCHED,
                            friction=[0.9, 0.01, 0.0005], **SOFT)  # fmt: skip
    for i, name in enumerate(sorted({style.floors[room.kind] for room in floor.rooms})):
        picture = floor_pattern(name, np.random.default_rng(i))
        side = picture.shape[0]
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=side, height=side, nchannel=3)
        texture.data = picture.tobytes()
        covering = spec.add_material(name=name, texuniform=True, texrepeat=[1 / PATTERN_M] * 2, specular=0.05)
        covering.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    for room in floor.rooms:
        _box(spec.worldbody, f"floor/{room.kind}", room.rect, (-0.05, 0.0), material=style.floors[room.kind], **_QUIET)


def _add_walls(spec: mujoco.MjSpec, floor: Floor, style: Style) -> None:
    rgba = [*style.wall, 1.0]
    for i, wall in enumerate(floor.walls):
        _box(spec.worldbody, f"wall/{i}", wall, (0.0, WALL_HEIGHT_M), rgba=rgba)
    for i, door in enumerate(floor.doors):
        _box(spec.worldbody, f"lintel/{i}", door.rect, (DOOR_HEIGHT_M, WALL_HEIGHT_M), rgba=rgba)


def _add_door(spec: mujoco.MjSpec, index: int, door: Door) -> None:
    """A leaf that slides into the wall; it is away until it is shut."""
    body = spec.worldbody.add_body(name=f"door{index}", mocap=True, pos=[door.x, door.y, DOOR_AWAY_M])
    half = [_LEAF_M / 2, door.width / 2, DOOR_HEIGHT_M / 2]
    size = half if door.along_y else [half[1], half[0], half[2]]
    body.add_geom(name=f"door{index}", type=_GEOM.mjGEOM_BOX, size=size, rgba=[0.86, 0.82, 0.74, 1], group=SEEN)


def _add_furniture(spec: mujoco.MjSpec, index: int, placed: Placed, style: Style) -> None:
    angle = placed.turns * np.pi / 2
    quat = [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]
    body = spec.worldbody.add_body(name=f"{placed.piece.kind}/{index}", pos=[placed.x, placed.y, 0.0], quat=quat)
    for part in placed.piece.parts:
        form = _GEOM.mjGEOM_CYLINDER if part.round else _GEOM.mjGEOM_BOX
        size = [part.half[0], part.half[2], 0.0] if part.round else list(part.half)
        body.add_geom(type=form, pos=list(part.centre), size=size, group=SEEN,
                      rgba=[*style.materials[part.colour], 1.0], friction=[0.8, 0.01, 0.0005], **SOFT)  # fmt: skip


def _add_thing(spec: mujoco.MjSpec, index: int, thing: Thing) -> None:
    category = CATEGORIES[thing.category]
    quat = [np.cos(thing.yaw / 2), 0.0, 0.0, np.sin(thing.yaw / 2)]
    body = spec.worldbody.add_body(name=f"thing{index}", pos=[thing.x, thing.y, thing.z + _LIFT_M], quat=quat)
    body.add_freejoint(name=f"thing{index}")
    density = category.mass / sum(shape.volume for shape in category.shapes if shape.touches)
    for k, shape in enumerate(category.shapes):
        name = f"thing{index}/{k}"
        _add_shape(body, name, shape, RGB[thing.colour], density * shape.volume * shape.touches)
        if shape.touches and shape.form != "cylinder":
            _add_grip(spec, name, _rolls(shape))


def _add_grip(spec: mujoco.MjSpec, name: str, rolls: bool) -> None:
    """How the pads hold a shape: as soft as other contacts, but friction that stops slip at once.

    MuJoCo leaves out how contacts turn with the bodies (J' v), so that what is carried round a bend slips outwards by
    r w^2 / b; b, the damping of friction, is set apart from that of the contact here. Not for cylinders: along the
    lines where they touch the pads so stiff a friction chatters, and throws them out.
    """
    for pad in _PADS:
        slide, spin, _ = spec.geom(pad).friction
        roll = _ROLL if rolls else 0.0
        spec.add_pair(geomname1=pad, geomname2=name, condim=6 if rolls else 4, **SOFT,
                      friction=[slide, slide, spin, roll, roll], solreffriction=_FRICTION)  # fmt: skip


def _rolls(shape: Shape) -> bool:
    return shape.form in ("sphere", "ellipsoid")


def _add_shape(body: Any, name: str, shape: Shape, own: tuple[float, float, float], mass: float) -> None:
    rgb = own if shape.tone == "own" else TONES[shape.tone]
    geom: dict[str, Any] = {"type": _FORMS[shape.form], "pos": list(shape.centre), "rgba": [*rgb, 1.0], "mass": mass}
    geom["size"] = [*shape.size, 0.0, 0.0][:3]
    if shape.form == "wall":
        angle = float(np.arctan2(shape.centre[1], shape.centre[0]))
        geom["quat"] = [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]
    elif shape.tilt:
        geom["quat"] = [np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]
    rolls = _rolls(shape)
    grip = {"condim": 6 if rolls else 4, "friction": [1.0, 0.02, _ROLL if rolls else 0.0005], **SOFT}
    body.add_geom(name=name, group=SEEN, **geom, **(grip if shape.touches else _QUIET))


def _box(parent: Any, name: str, rect: Rect, z: tuple[float, float], **more: Any) -> None:
    (x, y), (low, high) = rect.centre, z
    half = [(rect.x1 - rect.x0) / 2, (rect.y1 - rect.y0) / 2, (high - low) / 2]
    parent.add_geom(name=name, type=_GEOM.mjGEOM_BOX, size=half, pos=[x, y, (low + high) / 2], group=SEEN, **more)
