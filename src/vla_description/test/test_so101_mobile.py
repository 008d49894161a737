"""The mobile robot's model agrees with its configuration file, and nothing of it overlaps at home."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vla_core.files import asset_path, config_path, load_yaml

ROBOT = load_yaml(config_path("robots", "so101_mobile"))
ARM = ROBOT["arms"][0]
FOLDER = "vla_description/robots/so101_mobile"


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(asset_path(ROBOT["model"])))


def test_model_has_the_joints_limits_and_frames_of_the_robot_file(model: mujoco.MjModel) -> None:
    limits = ROBOT["limits"]
    ranges = np.array([model.joint(name).range for name in ARM["joints"]])
    given = np.transpose([limits["position_min_rad"], limits["position_max_rad"]])
    np.testing.assert_allclose(ranges, given, atol=1e-5)
    drives = [model.actuator(name) for name in ARM["joints"]]
    np.testing.assert_allclose([drive.forcerange[1] for drive in drives], limits["torque_nm"])
    assert all(drive.gainprm[0] == -drive.biasprm[1] > 0 for drive in drives), "position drives"
    assert model.site(ARM["tool_frame"]).id >= 0 and model.body(ROBOT["base_frame"]).id > 0
    assert model.actuator(ARM["gripper"]["actuator"]).trnid[0] == model.joint(ARM["gripper"]["joints"][0]).id


def test_wheels_are_as_the_base_section_says(model: mujoco.MjModel) -> None:
    base = ROBOT["base"]
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    left, right = (data.body(f"{side}_wheel_link").xpos for side in ("left", "right"))
    np.testing.assert_allclose(left - right, [0.0, base["track_m"], 0.0], atol=1e-9)
    np.testing.assert_allclose(0.5 * (left + right), [0.0, 0.0, base["wheel_radius_m"]], atol=1e-9)
    assert model.geom("left_tyre").size[0] == base["wheel_radius_m"]
    assert model.actuator("left_wheel").ctrlrange[1] >= base["wheel_speed_rad_s"]


def test_at_home_nothing_of_the_robot_touches_itself_or_leaves_its_outline(model: mujoco.MjModel) -> None:
    """What plans of flats count on: a robot of 0.22 m around the middle of its wheels."""
    data = mujoco.MjData(model)
    for name, value in zip(ARM["joints"], ROBOT["home_rad"], strict=True):
        data.joint(name).qpos[0] = value
    data.joint("gripper").qpos[0] = model.joint("gripper").range[0] + 0.1
    mujoco.mj_forward(model, data)
    assert data.ncon == 0
    farthest = 0.0
    for geom in np.flatnonzero(model.geom_contype):
        half = np.array(model.geom_aabb[geom, 3:])
        corners = model.geom_aabb[geom, :3] + half * np.array(np.meshgrid(*[[-1, 1]] * 3)).T.reshape(-1, 3)
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CYLINDER and model.geom(geom).name in ("chassis", "deck"):
            farthest = max(farthest, float(model.geom_size[geom, 0]))
            continue
        placed = corners @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        farthest = max(farthest, float(np.hypot(*placed[:, :2].T).max()))
    assert farthest < 0.235


def test_pads_meet_when_the_gripper_closes(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    gaps = []
    for angle in np.linspace(*model.joint("gripper").range, 50):
        data.joint("gripper").qpos[0] = angle
        mujoco.mj_kinematics(model, data)
        fixed, moving = model.geom("fixed_jaw_pad").id, model.geom("moving_jaw_pad").id
        gaps.append(mujoco.mj_geomDistance(model, data, fixed, moving, 0.2, None))
    assert min(gaps) <= 0.0 and max(gaps) > ARM["gripper"]["max_width_m"] * 0.9


def test_meshes_are_small_and_their_licence_is_kept() -> None:
    folder = asset_path(ROBOT["model"]).parent
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_000_000
    assert "Apache License" in asset_path(f"{FOLDER}/LICENSE").read_text()
