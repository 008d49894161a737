"""A robot's visible shapes as meshes and where its links are, from its MJCF; for drawing only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import trimesh
from mujoco import mjtGeom
from numpy.typing import NDArray

from vla_core.files import asset_path, config_path, load_yaml
from vla_core.types import Float64

_VISUAL_GROUP = 2


@dataclass(frozen=True, slots=True)
class LinkMesh:
    """One coloured mesh in its link's frame.

    Attributes:
        link: Name of the link.
        vertices: float32 (N,3) [m].
        faces: uint32 (M,3).
        rgb: 0..255.
    """

    link: str
    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]
    rgb: tuple[int, int, int]


class RobotView:
    """Forward kinematics and meshes of `config/robots/<name>.yaml`.

    Attributes:
        meshes: Everything to draw.
        links: Names of the links that have meshes.
        joints: Names of the joints that move them.

    Raises:
        UnknownNameError: no such robot.
    """

    def __init__(self, name: str) -> None:
        robot = load_yaml(config_path("robots", name))
        self._model = mujoco.MjModel.from_xml_path(str(asset_path(str(robot["model"]))))
        self._data = mujoco.MjData(self._model)
        model = self._model
        self.joints = tuple(model.joint(i).name for i in range(model.njnt))
        self._addresses = {joint: int(model.joint(joint).qposadr[0]) for joint in self.joints}
        visual = [g for g in range(model.ngeom) if model.geom_group[g] == _VISUAL_GROUP and self._shape(g) is not None]
        self.meshes = tuple(self._mesh(geom) for geom in visual)
        self.links = tuple(dict.fromkeys(mesh.link for mesh in self.meshes))

    def poses(self, position: Mapping[str, float]) -> dict[str, tuple[Float64, Float64]]:
        """Link → position (3,) [m] and quaternion wxyz (4,) in the base frame.

        Args:
            position: Joint → rad or m; joints that aren't named stay where they were.
        """
        for joint, address in self._addresses.items():
            if joint in position:
                self._data.qpos[address] = position[joint]
        mujoco.mj_kinematics(self._model, self._data)
        bodies = {link: self._data.body(link) for link in self.links}
        return {link: (body.xpos.copy(), body.xquat.copy()) for link, body in bodies.items()}

    def _mesh(self, geom: int) -> LinkMesh:
        model, shape, rotation = self._model, self._shape(geom), np.zeros(9)
        assert shape is not None
        mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
        vertices = shape[0] @ rotation.reshape(3, 3).T + model.geom_pos[geom]
        material = int(model.geom_matid[geom])
        rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
        red, green, blue = (round(255 * float(v)) for v in rgba[:3])
        return LinkMesh(
            link=model.body(int(model.geom_bodyid[geom])).name,
            vertices=vertices.astype(np.float32),
            faces=shape[1].astype(np.uint32),
            rgb=(red, green, blue),
        )

    def _shape(self, geom: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Vertices (N,3) [m] and faces (M,3) in the geom's frame; None of a kind that isn't drawn."""
        model, mesh = self._model, int(self._model.geom_dataid[geom])
        if mesh >= 0:
            first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
            vertices = model.mesh_vert[first : first + count]
            first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
            return vertices, model.mesh_face[first : first + count]
        size = model.geom_size[geom]
        if model.geom_type[geom] == mjtGeom.mjGEOM_BOX:
            solid = trimesh.creation.box(extents=2 * size)
        elif model.geom_type[geom] == mjtGeom.mjGEOM_CYLINDER:
            solid = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
        elif model.geom_type[geom] == mjtGeom.mjGEOM_SPHERE:
            solid = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
        else:
            return None
        return np.asarray(solid.vertices), np.asarray(solid.faces)
