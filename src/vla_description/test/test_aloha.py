"""The bimanual robot's model agrees with its configuration file, and its drives with each other."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vla_core.files import asset_path, config_path, load_yaml

ROBOT = load_yaml(config_path("robots", "aloha"))
JOINTS = [name for arm in ROBOT["arms"] for name in arm["joints"]]


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(asset_path(ROBOT["model"])))


def test_model_has_the_joints_limits_and_frames_of_the_robot_file(model: mujoco.MjModel) -> None:
    limits = ROBOT["limits"]
    ranges = np.array([model.joint(name).range for name in JOINTS])
    np.testing.assert_allclose(ranges, np.transpose([limits["position_min_rad"], limits["position_max_rad"]]))
    drives = [model.actuator(name) for name in JOINTS]
    np.testing.assert_allclose([drive.forcerange[1] for drive in drives], limits["torque_nm"])
    np.testing.assert_allclose([drive.ctrlrange for drive in drives], ranges)
    assert all(drive.gainprm[0] == -drive.biasprm[1] > 0 for drive in drives), "position drives"
    for arm in ROBOT["arms"]:
        assert model.site(arm["tool_frame"]).id >= 0
        gripper = arm["gripper"]
        assert model.actuator(gripper["actuator"]).forcerange[1] >= gripper["max_force_n"]
        travel = sum(float(model.joint(name).range[1]) for name in gripper["joints"])
        assert gripper["max_width_m"] <= travel


def test_the_arms_mirror_each_other(model: mujoco.MjModel) -> None:
    """The same joint positions give tools that are half a turn about z apart."""
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(10):
        q = rng.uniform(-1.0, 1.0, 6)
        for name, value in zip(JOINTS, [*q, *q], strict=True):
            data.joint(name).qpos[0] = value
        mujoco.mj_kinematics(model, data)
        left, right = data.site("left_tool").xpos, data.site("right_tool").xpos
        np.testing.assert_allclose(left, right * [-1.0, -1.0, 1.0], atol=1e-5)


def test_fingers_touch_when_closed_and_are_as_far_apart_as_the_width_says(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    data.joint("left_left_finger").qpos[0] = data.joint("left_right_finger").qpos[0] = 0.01
    mujoco.mj_kinematics(model, data)
    bodies = [model.body(f"left_{side}_finger_link").id for side in ("left", "right")]
    pads = [np.flatnonzero((model.geom_bodyid == body) & (model.geom_group == 3))[0] for body in bodies]
    apart = np.linalg.norm(data.geom_xpos[pads[0]] - data.geom_xpos[pads[1]])
    thickness = model.geom_size[pads[0], 1] + model.geom_size[pads[1], 1]
    assert apart - thickness == pytest.approx(0.02, abs=1e-4)


def test_licence_of_the_meshes_is_kept() -> None:
    assert "Apache License" in asset_path("vla_description/robots/aloha/LICENSE").read_text()
