"""Make `robots/aloha` from the assets of the gym-aloha wheel: two ViperX-300 arms that face each other over a table.

    python src/vla_description/tools/make_aloha.py PATH/TO/gym_aloha/assets PATH/TO/LICENSE

Needs trimesh and fast_simplification. Kinematics and inertias are the source's, unchanged but for the fingers, whose
joints begin at closed finger tips here. Torque limits are those of Interbotix' URDF (vx300s.urdf.xacro). Gains,
armature, damping and collision shapes are ours: the drives are stiff enough to sag by millimetres under the arm.
"""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import fast_simplification
import numpy as np
import trimesh

HERE = Path(__file__).resolve().parents[1] / "robots" / "aloha"
FACES = 700
DISTANCE_M = 0.469  # from the base frame, the middle of the table, to either arm
CLOSED_M = 0.0224  # the source's finger joint when the finger tips touch
TRAVEL_M = 0.0346  # of one finger
TOOL_M = 0.142  # between the finger tips, from gripper_link


@dataclass(frozen=True)
class Link:
    """One body of an arm and the joint that moves it."""

    name: str
    position: str
    inertia: dict[str, str]
    joint: str
    axis: str
    range: str
    mesh: str
    mesh_pose: dict[str, str]
    capsule: tuple[str, str]  # from, to and radius [m]
    torque_nm: float
    kp: float
    kv: float
    armature: float


LINKS = (
    Link(
        "shoulder_link", "0 0 0.079",
        {"pos": "0.000259233 -3.3552e-06 0.0116129", "quat": "-0.476119 0.476083 0.52279 0.522826",
         "mass": "0.798614", "diaginertia": "0.00120156 0.00113744 0.0009388"},
        "waist", "0 0 1", "-3.14158 3.14158", "vx300s_2_shoulder",
        {"pos": "0 0 -0.003", "quat": "0.707107 0 0 0.707107"}, ("0 0 -0.02 0 0 0.05", "0.045"),
        10.0, 400.0, 24.0, 0.05,
    ),
    Link(
        "upper_arm_link", "0 0 0.04805",
        {"pos": "0.0206949 4e-10 0.226459", "quat": "0 0.0728458 0 0.997343", "mass": "0.792592",
         "diaginertia": "0.00911338 0.008925 0.000759317"},
        "shoulder", "0 1 0", "-1.85005 1.25664", "vx300s_3_upper_arm",
        {"quat": "0.707107 0 0 0.707107"}, ("0 0 0.04 0.02 0 0.29", "0.035"),
        20.0, 1200.0, 50.0, 0.1,
    ),
    Link(
        "upper_forearm_link", "0.05955 0 0.3",
        {"pos": "0.105723 0 0", "quat": "-0.000621631 0.704724 0.0105292 0.709403", "mass": "0.322228",
         "diaginertia": "0.00144107 0.00134228 0.000152047"},
        "elbow", "0 1 0", "-1.76278 1.6057", "vx300s_4_upper_forearm",
        {}, ("0.02 0 0 0.19 0 0", "0.030"),
        15.0, 900.0, 30.0, 0.06,
    ),
    Link(
        "lower_forearm_link", "0.2 0 0",
        {"pos": "0.0513477 0.00680462 0", "quat": "-0.702604 -0.0796724 -0.702604 0.0796724", "mass": "0.414823",
         "diaginertia": "0.0005911 0.000546493 0.000155707"},
        "forearm_roll", "1 0 0", "-3.14158 3.14158", "vx300s_5_lower_forearm",
        {"quat": "0 1 0 0"}, ("0.02 0 0 0.09 0 0", "0.030"),
        2.0, 100.0, 3.0, 0.01,
    ),
    Link(
        "wrist_link", "0.1 0 0",
        {"pos": "0.046743 -7.6652e-06 0.010565", "quat": "-0.00100191 0.544586 0.0026583 0.8387", "mass": "0.115395",
         "diaginertia": "5.45707e-05 4.63101e-05 4.32692e-05"},
        "wrist_angle", "0 1 0", "-1.8675 2.23402", "vx300s_6_wrist",
        {"quat": "0.707107 0 0 0.707107"}, ("0.01 0 0 0.06 0 0", "0.025"),
        5.0, 250.0, 6.0, 0.01,
    ),
    Link(
        "gripper_link", "0.069744 0 0",
        {"pos": "0.0395662 -2.56311e-07 0.00400649", "quat": "0.62033 0.619916 -0.339682 0.339869",
         "mass": "0.251652", "diaginertia": "0.000689546 0.000650316 0.000468142"},
        "wrist_rotate", "1 0 0", "-3.14158 3.14158", "vx300s_7_gripper",
        {"pos": "-0.02 0 0", "quat": "0.707107 0 0 0.707107"}, ("-0.01 0 0 0.03 0 0", "0.025"),
        1.0, 60.0, 1.2, 0.005,
    ),
)  # fmt: skip


def main(source: Path, licence: Path) -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    (HERE / "meshes").mkdir(parents=True)
    names = ["vx300s_1_base", *(link.mesh for link in LINKS), "vx300s_9_gripper_bar"]
    names += [f"vx300s_10_custom_finger_{side}" for side in ("left", "right")]
    root = ET.Element("mujoco", model="aloha")
    ET.SubElement(root, "compiler", angle="radian", meshdir="meshes", autolimits="true")
    _defaults(root)
    asset = ET.SubElement(root, "asset")
    ET.SubElement(asset, "material", {"name": "black", "class": "vx300s", "rgba": "0.16 0.16 0.17 1"})
    for name in names:
        _reduced(source / f"{name}.stl").export(HERE / "meshes" / f"{name}.stl")
        ET.SubElement(asset, "mesh", name=name, file=f"{name}.stl", scale="0.001 0.001 0.001")
    base = ET.SubElement(ET.SubElement(root, "worldbody"), "body", name="aloha_base")
    _arm(base, "left", f"0 {DISTANCE_M} 0", "0.707107 0 0 -0.707107")
    _arm(base, "right", f"0 {-DISTANCE_M} 0", "0.707107 0 0 0.707107")
    _tail(root)
    tree = ET.ElementTree(root)
    ET.indent(tree)
    tree.write(HERE / "aloha.xml", encoding="unicode")
    shutil.copy(licence, HERE / "LICENSE")
    total = sum(path.stat().st_size for path in (HERE / "meshes").iterdir())
    print(f"{len(names)} meshes, {total / 1e3:.0f} kB in {HERE}")


def _reduced(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, force="mesh", process=True)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    if len(mesh.faces) <= FACES:
        return mesh
    vertices, triangles = fast_simplification.simplify(
        np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), target_count=FACES
    )
    return trimesh.Trimesh(vertices, triangles)


def _defaults(root: ET.Element) -> None:
    top = ET.SubElement(ET.SubElement(root, "default"), "default", {"class": "vx300s"})
    ET.SubElement(top, "joint", damping="0.1")
    ET.SubElement(top, "site", size="0.003", group="4")
    finger = ET.SubElement(top, "default", {"class": "finger"})
    ET.SubElement(finger, "joint", type="slide", range=f"0 {TRAVEL_M}", armature="0.1", damping="5")
    visual = ET.SubElement(top, "default", {"class": "visual"})
    flags = {"contype": "0", "conaffinity": "0", "group": "2", "material": "black", "density": "0"}
    ET.SubElement(visual, "geom", type="mesh", **flags)
    collision = ET.SubElement(top, "default", {"class": "collision"})
    ET.SubElement(collision, "geom", type="capsule", group="3", rgba="0.5 0.5 0.9 0.4", density="0")
    pad = ET.SubElement(top, "default", {"class": "pad"})
    friction = {"friction": "1.6 0.05 0.001", "condim": "4", "solref": "0.01 1", "solimp": "0.95 0.99 0.001"}
    ET.SubElement(pad, "geom", type="box", group="3", rgba="0.5 0.5 0.9 0.4", density="0", **friction)


def _arm(base: ET.Element, side: str, position: str, quaternion: str) -> None:
    body = ET.SubElement(base, "body", name=f"{side}_base_link", childclass="vx300s", pos=position, quat=quaternion)
    visual = {"class": "visual", "mesh": "vx300s_1_base", "quat": "0.707107 0 0 0.707107"}
    ET.SubElement(body, "geom", visual)
    for link in LINKS:
        body = ET.SubElement(body, "body", name=f"{side}_{link.name}", pos=link.position)
        ET.SubElement(body, "inertial", link.inertia)
        joint = {"name": f"{side}_{link.joint}", "axis": link.axis, "range": link.range}
        ET.SubElement(body, "joint", joint, armature=f"{link.armature:g}")
        ET.SubElement(body, "geom", {"class": "visual", "mesh": link.mesh, **link.mesh_pose})
        ends, radius = link.capsule
        ET.SubElement(body, "geom", {"class": "collision", "fromto": ends, "size": radius})
    _gripper(body, side)


def _gripper(body: ET.Element, side: str) -> None:
    bar = {"pos": "-0.020175 0 0", "quat": "0.707107 0 0 0.707107"}
    ET.SubElement(body, "geom", {"class": "visual", "mesh": "vx300s_9_gripper_bar", **bar})
    box = {"type": "box", "size": "0.020 0.072 0.020", "pos": "0.045 0 0"}
    ET.SubElement(body, "geom", {"class": "collision", **box})
    ET.SubElement(body, "site", name=f"{side}_tool", pos=f"{TOOL_M} 0 0")
    for finger, sign in (("left", 1), ("right", -1)):
        link = ET.SubElement(body, "body", name=f"{side}_{finger}_finger_link", pos=f"0.0687 {sign * CLOSED_M} 0")
        inertia = {
            1: {"pos": "0.017344 -0.0060692 0", "quat": "0.449364 0.449364 -0.54596 -0.54596"},
            -1: {"pos": "0.017344 0.0060692 0", "quat": "0.44937 -0.44937 0.545955 -0.545955"},
        }[sign]
        ET.SubElement(link, "inertial", inertia, mass="0.034796", diaginertia="2.48e-05 1.417e-05 1.208e-05")
        ET.SubElement(link, "joint", {"name": f"{side}_{finger}_finger", "class": "finger", "axis": f"0 {sign} 0"})
        mesh = f"vx300s_10_custom_finger_{finger}"
        pose = {"pos": f"0.005 {sign * -0.052} 0", "quat": "0.000563 0.707388 0.000563 0.706825"}
        ET.SubElement(link, "geom", {"class": "visual", "mesh": mesh, **pose})
        # the pad between 0.130 and 0.154 m in front of gripper_link, its face in the middle plane when closed; above it
        # the finger bends outwards
        for size, place in (
            ("0.013 0.004 0.009", f"{TOOL_M - 0.0687:.4f} {sign * (0.004 - CLOSED_M):.4f} 0"),
            ("0.020 0.004 0.010", f"0.042 {sign * (0.016 - CLOSED_M):.4f} 0"),
        ):
            ET.SubElement(link, "geom", {"class": "pad", "size": size, "pos": place})


def _tail(root: ET.Element) -> None:
    tendons, equality = ET.SubElement(root, "tendon"), ET.SubElement(root, "equality")
    contact, actuator = ET.SubElement(root, "contact"), ET.SubElement(root, "actuator")
    for side in ("left", "right"):
        fingers = [f"{side}_{finger}_finger" for finger in ("left", "right")]
        tendon = ET.SubElement(tendons, "fixed", name=f"{side}_split")
        for finger in fingers:
            ET.SubElement(tendon, "joint", joint=finger, coef="0.5")
        softness = {"solimp": "0.95 0.99 0.001", "solref": "0.005 1"}
        ET.SubElement(equality, "joint", joint1=fingers[0], joint2=fingers[1], **softness)
        chain = [f"{side}_base_link", *(f"{side}_{link.name}" for link in LINKS)]
        for i, first in enumerate(chain):
            for second in chain[i + 1 : i + 3]:
                ET.SubElement(contact, "exclude", body1=first, body2=second)
        for finger in fingers:
            for link in ("wrist_link", "gripper_link"):
                ET.SubElement(contact, "exclude", body1=f"{side}_{link}", body2=f"{finger}_link")
        for link in LINKS:
            servo = {"kp": f"{link.kp:g}", "kv": f"{link.kv:g}", "ctrlrange": link.range}
            force = f"{-link.torque_nm:g} {link.torque_nm:g}"
            joint = f"{side}_{link.joint}"
            ET.SubElement(actuator, "position", name=joint, joint=joint, forcerange=force, **servo)
        grip = {"ctrlrange": f"-0.01 {TRAVEL_M}", "kp": "2000", "kv": "60", "forcerange": "-20 20"}
        ET.SubElement(actuator, "position", name=f"{side}_gripper", tendon=f"{side}_split", **grip)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
