"""The model that control computes with is the one that MuJoCo simulates."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.robot import RobotModel, load_robot_config
from vla_core.errors import ConfigError, UnknownNameError


def test_jacobian_is_the_derivative_of_the_tool_pose(robot: RobotModel) -> None:
    rng = np.random.default_rng(0)
    config, step = robot.config, 1e-6
    for _ in range(5):
        q = rng.uniform(config.position_min_rad, config.position_max_rad)
        jacobian = robot.jacobian(q)
        for i in range(robot.joint_count):
            ahead, behind = q.copy(), q.copy()
            ahead[i] += step
            behind[i] -= step
            a, b = pin.SE3(robot.tool_se3(ahead)), pin.SE3(robot.tool_se3(behind))
            linear = (a.translation - b.translation) / (2 * step)
            angular = pin.log3(a.rotation @ b.rotation.T) / (2 * step)
            np.testing.assert_allclose(jacobian[:, i], np.r_[linear, angular], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_dynamics_equal_those_of_mujoco(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config, n = robot.config, robot.joint_count
    model = _mujoco(str(config.model_path))
    data = mujoco.MjData(model)
    q, qd = rng.uniform(config.position_min_rad, config.position_max_rad), rng.normal(size=n)
    data.qpos[:n], data.qpos[n:], data.qvel[:n] = q, 0.25 * config.grippers[0].max_width_m, qd
    mujoco.mj_forward(model, data)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, mass, data.qM)
    jacobian = np.zeros((6, model.nv))
    site = model.site(config.tool_frame).id
    mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)

    terms = robot.model.createData()
    pin.computeAllTerms(robot.model, terms, q, qd)
    np.testing.assert_allclose(terms.M, mass[:n, :n], atol=1e-5)
    np.testing.assert_allclose(terms.nle, data.qfrc_bias[:n], atol=1e-4)
    np.testing.assert_allclose(robot.jacobian(q), jacobian[:, :n], atol=1e-9)
    position, quaternion = robot.tool_pose(q)
    np.testing.assert_allclose(position, data.site_xpos[site], atol=1e-9)
    x, y, z, w = quaternion
    matrix = pin.Quaternion(w, x, y, z).toRotationMatrix()
    np.testing.assert_allclose(matrix, data.site_xmat[site].reshape(3, 3), atol=1e-9)
    np.testing.assert_allclose(robot.damping_nm_s, model.dof_damping[:n])


_models: dict[str, mujoco.MjModel] = {}


def _mujoco(path: str) -> mujoco.MjModel:
    if path not in _models:
        _models[path] = mujoco.MjModel.from_xml_path(path)
    return _models[path]


def test_unknown_robot_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="panda"):
        load_robot_config("pandaa")


def test_joint_that_the_model_lacks_is_named(robot: RobotModel) -> None:
    arm = replace(robot.config.arms[0], joints=("elbow", *robot.config.joints[1:]))
    with pytest.raises(ConfigError, match="elbow"):
        RobotModel(replace(robot.config, arms=(arm,)))


def test_tool_frame_that_the_model_lacks_is_named(robot: RobotModel) -> None:
    arm = replace(robot.config.arms[0], tool_frame="flange")
    with pytest.raises(ConfigError, match="flange"):
        RobotModel(replace(robot.config, arms=(arm,)))
