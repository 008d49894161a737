"""The robot model agrees with its configuration file."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.files import asset_path, config_path, load_yaml


def test_model_has_the_joints_limits_and_frames_of_the_robot_file() -> None:
    robot = load_yaml(config_path("robots", "panda"))
    (arm,) = robot["arms"]
    model = mujoco.MjModel.from_xml_path(str(asset_path(robot["model"])))
    ranges = np.array([model.joint(name).range for name in arm["joints"]])
    assert np.allclose(ranges[:, 0], robot["limits"]["position_min_rad"])
    assert np.allclose(ranges[:, 1], robot["limits"]["position_max_rad"])
    torque = np.array([model.actuator(name).ctrlrange[1] for name in arm["joints"]])
    assert np.allclose(torque, robot["limits"]["torque_nm"])
    assert model.actuator(arm["gripper"]["actuator"]).forcerange[1] >= arm["gripper"]["max_force_n"]
    assert model.site(arm["tool_frame"]).id >= 0
    assert [model.joint(name).type[0] for name in arm["gripper"]["joints"]] == [mujoco.mjtJoint.mjJNT_SLIDE] * 2


def test_licence_of_the_meshes_is_kept() -> None:
    assert "Apache License" in asset_path("vla_description/robots/panda/LICENSE").read_text()
