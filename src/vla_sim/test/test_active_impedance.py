"""The skill that finds the way of a mechanism by touch, on the tabletop's drawer and on a hinged door."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.parameters import ServoParameters
from vla_control.core.skills.active_impedance import (
    ActiveImpedance,
    ActiveImpedanceParameters,
    ToolHandle,
    target_ahead,
)
from vla_core.contract import load_contract
from vla_core.errors import ConfigError
from vla_core.types import Float64
from vla_sim.core.expert import clean_chunk, observe
from vla_sim.core.rig import Rig
from vla_sim.core.world import World

PARAMS = ActiveImpedanceParameters(
    force_n=6.0, directions=6, cone_rad=0.5, probe_s=0.06, stretch_s=0.15, still_m=5e-4, patience=4
)
DOOR = """<mujoco><compiler angle="radian"/><option timestep="0.001" gravity="0 0 0" integrator="implicitfast"/>
  <worldbody><body name="door">
  <joint name="hinge" axis="0 0 1" range="0 1.6" limited="true" damping="1.0" frictionloss="0.5"/>
  <geom type="box" size="0.2 0.01 0.3" pos="0.2 0 0" mass="2"/><site name="handle" pos="0.38 0.02 0"/>
</body></worldbody></mujoco>"""


@dataclass
class Pushed:
    """A point of a MuJoCo body that can be pushed; after a push its mechanism is held still."""

    model: mujoco.MjModel
    data: mujoco.MjData
    body: int
    point: str
    way: list[Float64]

    def place(self) -> Float64:
        """Where the point is (3,) [m]."""
        mujoco.mj_forward(self.model, self.data)
        found = self.data.site(self.point) if self.point == "handle" else self.data.geom(self.point)
        return found.xpos.copy()

    def push(self, force_n: Float64, duration_s: float) -> Float64:
        before = self.place()
        for _ in range(round(duration_s / self.model.opt.timestep)):
            self.data.qfrc_applied[:] = 0.0
            mujoco.mj_applyFT(
                self.model, self.data, force_n, np.zeros(3), self.place(), self.body, self.data.qfrc_applied
            )
            mujoco.mj_step(self.model, self.data)
        self.data.qfrc_applied[:] = 0.0
        self.data.qvel[:] = 0.0
        self.way.append(self.place() - before)
        return self.way[-1]


def _door() -> Pushed:
    model = mujoco.MjModel.from_xml_string(DOOR)
    return Pushed(model, mujoco.MjData(model), model.body("door").id, "handle", [])


def test_a_hinged_door_is_opened_though_its_direction_turns_and_the_first_guess_is_wrong() -> None:
    """Pushed in the first direction alone, which is 60 degrees off, it stops long before."""
    guess = np.array([np.sin(np.pi / 3), np.cos(np.pi / 3), 0.0])
    stubborn = _door()
    for _ in range(60):
        stubborn.push(PARAMS.force_n * guess, PARAMS.probe_s + PARAMS.stretch_s)
    door = _door()
    outcome = ActiveImpedance(PARAMS, guess, np.random.default_rng(1)).move(door, 0.45, 40)
    assert outcome.moved and outcome.distance_m >= 0.45
    assert door.data.qpos[0] > 1.15 > 1.2 * stubborn.data.qpos[0]
    angle = float(door.data.qpos[0])
    tangent = np.array([-np.sin(angle), np.cos(angle), 0.0])
    assert outcome.direction @ tangent > np.cos(0.9)  # it has turned with the door


@pytest.mark.parametrize("seed", [0, 3])
def test_the_drawer_of_the_tabletop_is_opened_from_a_direction_that_is_far_off(seed: int) -> None:
    world = World("tabletop")
    world.reset(seed, family="open_drawer")
    world.model.opt.gravity[:] = 0.0  # nobody holds the arm
    drawer = Pushed(world.model, world.data, world.model.body("drawer").id, "drawer_handle", [])
    before = world.drawer_m()
    guess = np.array([-0.5, 0.8, 0.3])
    outcome = ActiveImpedance(PARAMS, guess, np.random.default_rng(seed)).move(drawer, 0.08, 40)
    assert outcome.moved and world.drawer_m() - before > 0.075
    assert outcome.direction[0] < -0.5


@pytest.mark.parametrize("seed", [0, 5])
def test_an_arm_that_holds_the_drawer_opens_it_from_a_direction_that_is_60_degrees_off(seed: int) -> None:
    """Executor, inverse kinematics, impedance and clamps between the skill and the fingers on the handle."""
    contract = load_contract("tabletop_panda")
    rig = Rig(contract, render=False)
    rig.reset(seed, family="open_drawer")
    world = rig.table
    for _ in range(40):
        rig.execute(clean_chunk(world, contract.horizon, contract.dt_s), world.time_ns)
        rig.advance(0.1)
        if observe(world).held == "handle":
            break
    (_, quaternion), before = rig.robot.tool_pose(world.robot_state().q_rad), world.drawer_m()

    def tool() -> Float64:
        return rig.robot.tool_pose(world.robot_state().q_rad)[0]

    def follow(place: Float64) -> None:
        row = np.concatenate([place, quaternion, [0.0]])
        assert rig.execute(np.tile(row, (contract.horizon, 1)), world.time_ns - 1_000_000), rig.rejections

    handle = ToolHandle(tool, follow, rig.advance, ServoParameters.from_config().stiffness_n_m, 0.1, 0.3)
    params = replace(PARAMS, force_n=8.0, probe_s=0.2, stretch_s=0.4, still_m=2e-3)
    guess = np.array([-0.5, 0.8, 0.3])
    outcome = ActiveImpedance(params, guess, np.random.default_rng(seed)).move(handle, 0.06, 20)
    assert outcome.moved and world.drawer_m() - before > 0.055
    assert outcome.direction[0] < guess[0] / np.linalg.norm(guess) - 0.05


def test_what_does_not_move_is_given_up_after_ever_wider_trials() -> None:
    class Wall:
        def __init__(self) -> None:
            self.forces: list[Float64] = []

        def push(self, force_n: Float64, duration_s: float) -> Float64:
            self.forces.append(force_n)
            return np.zeros(3)

    wall, ahead = Wall(), np.array([0.0, 0.0, 2.0])
    outcome = ActiveImpedance(PARAMS, ahead, np.random.default_rng(0)).move(wall, 0.1, 40)
    assert not outcome.moved and outcome.trials == PARAMS.patience and outcome.distance_m == 0.0
    np.testing.assert_allclose(np.linalg.norm(wall.forces, axis=1), PARAMS.force_n)
    cosine = np.array(wall.forces)[:, 2] / PARAMS.force_n
    first, last = cosine[: PARAMS.directions + 1], cosine[-PARAMS.directions - 1 :]
    assert np.all(first >= np.cos(PARAMS.cone_rad) - 1e-12) and last.min() < 0.0


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    direction=st.tuples(*[st.floats(-1.0, 1.0)] * 3).map(np.array).filter(lambda d: np.linalg.norm(d) > 0.1),
)
def test_the_direction_kept_is_the_one_that_moved_most(seed: int, direction: Float64) -> None:
    rng = np.random.default_rng(seed)
    skill = ActiveImpedance(PARAMS, direction, rng)
    candidates = skill.candidates()
    np.testing.assert_allclose(np.linalg.norm(candidates, axis=1), 1.0)
    np.testing.assert_allclose(candidates[0], direction / np.linalg.norm(direction))
    assert np.all(candidates @ candidates[0] >= np.cos(PARAMS.cone_rad) - 1e-9)
    moved = rng.normal(size=candidates.shape) * 0.01
    assert skill.keep(candidates, moved)
    np.testing.assert_array_equal(skill.direction, candidates[np.argmax(np.linalg.norm(moved, axis=1))])
    back = -np.outer(np.linspace(0.5, 1.0, len(moved)), skill._heading)
    assert not skill.keep(candidates, back)
    before = skill.direction
    assert not skill.keep(candidates, 0.0 * moved)
    np.testing.assert_array_equal(skill.direction, before)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="force_n"):
        replace(PARAMS, force_n=0.0)
    with pytest.raises(ConfigError, match="length"):
        ActiveImpedance(PARAMS, np.zeros(3), np.random.default_rng(0))


def test_a_push_is_a_target_ahead_of_the_tool() -> None:
    np.testing.assert_allclose(target_ahead(np.ones(3), np.array([8.0, 0.0, -4.0]), 800.0), [1.01, 1.0, 0.995])
