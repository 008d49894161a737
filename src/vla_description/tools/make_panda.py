"""Make `robots/panda` from a MuJoCo Menagerie checkout: one decimated mesh per link and colour, primitive collision.

    python src/vla_description/tools/make_panda.py PATH/TO/mujoco_menagerie/franka_emika_panda

Needs trimesh and fast_simplification. Kinematics, inertias, armature and damping are Menagerie's, unchanged.
Collision shapes are capsules and boxes, which collide faster and more evenly than the meshes.
"""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import fast_simplification
import numpy as np
import trimesh

HERE = Path(__file__).resolve().parents[1] / "robots" / "panda"
FACES_PER_LINK = {"link0": 900, "link1": 600, "link2": 600, "link3": 800, "link4": 800, "link5": 900}
FACES_DEFAULT = 900
CAPSULES = {  # from, to, radius [m] in the link's frame
    "link0": ("-0.05 0 0.03 0 0 0.10", 0.075),
    "link1": ("0 0 -0.19 0 0 0.0", 0.06),
    "link2": ("0 0 -0.06 0 0 0.06", 0.06),
    "link3": ("0 0 -0.20 0 0 -0.06", 0.06),
    "link4": ("0 0 -0.06 0 0 0.06", 0.06),
    "link5": ("0 0 -0.26 0 0.03 -0.12", 0.05),
    "link6": ("0 0 -0.03 0.05 0 0.0", 0.05),
    "link7": ("0 0 0.02 0 0 0.07", 0.045),
}
PADS = [  # finger collision boxes: half sizes, position [m]; the last one is the pad itself
    ("0.0100 0.0075 0.0130", "0 0.0145 0.0150"),
    ("0.0085 0.0040 0.0120", "0 0.0055 0.0420"),
]


def merged(parts: list[Path], faces: int) -> trimesh.Trimesh:
    """Concatenate the meshes and reduce them to about `faces` triangles."""
    mesh = trimesh.util.concatenate([trimesh.load(p, force="mesh", process=True) for p in parts])
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    if len(mesh.faces) <= faces:
        return mesh
    vertices, triangles = fast_simplification.simplify(
        np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), target_count=faces
    )
    return trimesh.Trimesh(vertices, triangles)


def main(source: Path) -> None:
    tree = ET.parse(source / "panda.xml")
    root = tree.getroot()
    shutil.rmtree(HERE / "meshes", ignore_errors=True)
    (HERE / "meshes").mkdir(parents=True)
    asset, world = root.find("asset"), root.find("worldbody")
    assert asset is not None and world is not None
    files = {m.get("name") or Path(m.get("file", "")).stem: m.get("file", "") for m in asset.findall("mesh")}
    for mesh in asset.findall("mesh"):
        asset.remove(mesh)
    done: set[str] = set()
    for body in world.iter("body"):
        name = body.get("name", "")
        groups: dict[str, list[str]] = defaultdict(list)
        for geom in body.findall("geom"):
            if geom.get("class") == "visual":
                groups[geom.get("material", "")].append(geom.get("mesh", ""))
            body.remove(geom)
        link = "finger" if name.endswith("_finger") else name
        sizes = {m: sum((source / "assets" / files[g]).stat().st_size for g in gs) for m, gs in groups.items()}
        for material, meshes in groups.items():
            stem = f"{link}_{material}"
            if stem not in done:
                share = sizes[material] / sum(sizes.values())
                count = max(60, int(FACES_PER_LINK.get(link, FACES_DEFAULT) * share))
                paths = [source / "assets" / files[m] for m in meshes]
                merged(paths, count).export(HERE / "meshes" / f"{stem}.stl")
                ET.SubElement(asset, "mesh", name=stem, file=f"{stem}.stl")
                done.add(stem)
            ET.SubElement(body, "geom", {"mesh": stem, "material": material, "class": "visual"})
        _collision(body, name)
        if name.startswith("link") or name == "hand" or name.endswith("finger"):
            body.set("name", f"panda_{name.replace('_finger', 'finger')}")
        for joint in body.findall("joint"):
            joint.set("name", f"panda_{joint.get('name')}")
        if name == "hand":
            ET.SubElement(body, "site", name="tool", pos="0 0 0.1034", size="0.003", group="4")
    _header(root)
    _tail(root)
    world.remove(world.find("light"))  # type: ignore[arg-type]
    ET.indent(tree)
    tree.write(HERE / "panda.xml", encoding="unicode")
    shutil.copy(source / "LICENSE", HERE / "LICENSE")
    total = sum(p.stat().st_size for p in (HERE / "meshes").iterdir())
    print(f"{len(done)} meshes, {total / 1e3:.0f} kB in {HERE}")


def _collision(body: ET.Element, name: str) -> None:
    if name in CAPSULES:
        ends, radius = CAPSULES[name]
        shape = {"type": "capsule", "fromto": ends, "size": str(radius)}
        ET.SubElement(body, "geom", {"name": f"{name}_collision", "class": "collision", **shape})
    if name == "hand":
        shape = {"type": "box", "size": "0.032 0.100 0.033", "pos": "0 0 0.030"}
        ET.SubElement(body, "geom", {"name": "hand_collision", "class": "collision", **shape})
    if name.endswith("finger"):
        for i, (size, pos) in enumerate(PADS):
            ET.SubElement(body, "geom", {"name": f"{name}_pad{i}", "class": "pad", "size": size, "pos": pos})


def _header(root: ET.Element) -> None:
    compiler = root.find("compiler")
    assert compiler is not None
    compiler.set("meshdir", "meshes")
    default = root.find("default/default[@class='panda']")
    assert default is not None
    collision = default.find("default[@class='collision']")
    assert collision is not None
    default.remove(collision)
    collision = ET.SubElement(default, "default", {"class": "collision"})
    ET.SubElement(collision, "geom", group="3", rgba="0.5 0.5 0.9 0.4")
    pad = ET.SubElement(default, "default", {"class": "pad"})
    friction = {"friction": "1.6 0.05 0.001", "condim": "4", "solref": "0.01 1", "solimp": "0.95 0.99 0.001"}
    ET.SubElement(pad, "geom", group="3", type="box", rgba="0.5 0.5 0.9 0.4", **friction)


def _tail(root: ET.Element) -> None:
    for tag in ("actuator", "keyframe", "tendon", "equality"):
        element = root.find(tag)
        assert element is not None
        root.remove(element)
    tendon = ET.SubElement(ET.SubElement(root, "tendon"), "fixed", name="split")
    for i in (1, 2):
        ET.SubElement(tendon, "joint", joint=f"panda_finger_joint{i}", coef="0.5")
    same = {"joint1": "panda_finger_joint1", "joint2": "panda_finger_joint2"}
    ET.SubElement(ET.SubElement(root, "equality"), "joint", **same, solimp="0.95 0.99 0.001", solref="0.005 1")
    contact = ET.SubElement(root, "contact")
    chain = [f"panda_link{i}" for i in range(8)] + ["panda_hand"]
    for i, first in enumerate(chain):
        for second in chain[i + 1 : i + 3]:
            ET.SubElement(contact, "exclude", body1=first, body2=second)
    ET.SubElement(contact, "exclude", body1="panda_link5", body2="panda_hand")
    for finger in ("panda_leftfinger", "panda_rightfinger"):
        ET.SubElement(contact, "exclude", body1="panda_link7", body2=finger)
        ET.SubElement(contact, "exclude", body1="panda_hand", body2=finger)
    actuator = ET.SubElement(root, "actuator")
    for i, torque in enumerate((87, 87, 87, 87, 12, 12, 12), start=1):
        ET.SubElement(
            actuator, "motor", name=f"panda_joint{i}", joint=f"panda_joint{i}", ctrlrange=f"{-torque} {torque}"
        )
    grip = {"ctrlrange": "-0.01 0.04", "kp": "2000", "kv": "60", "forcerange": "-40 40"}
    ET.SubElement(actuator, "position", name="panda_gripper", tendon="split", **grip)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
