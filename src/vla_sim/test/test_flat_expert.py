"""The scripted expert of the flat under executor and servo: it takes things up, or says why it can't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flat_driving import open_place

from vla_core.contract import load_contract
from vla_core.errors import PolicyError
from vla_sim.core.flat import truth
from vla_sim.core.flat.expert import clean_chunk, hand_chunk, hand_done
from vla_sim.core.flat.plan import FlatPlan, draw_plan
from vla_sim.core.flat.world import FlatWorld
from vla_sim.core.rig import Rig

#: Category → yaw of the thing [rad], and where it stands: to the left of and ahead of the base [m].
CASES = {"mug": (0.0, 0.0, 0.30), "block": (0.4, 0.1, 0.30), "can": (0.0, 0.0, 0.30), "carton": (0.3, 0.0, 0.33),
         "car": (0.2, 0.0, 0.29), "ball": (0.0, 0.06, 0.30), "duck": (-0.2, 0.0, 0.29),
         "bowl": (0.0, 0.0, 0.30)}  # fmt: skip
FAST = ("block",)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(load_contract("fetch_so101"), "flat", render=False)


def stand_before(rig: Rig, category: str, yaw: float, aside: float, ahead: float) -> FlatWorld:
    """Put the robot before a thing of a category, which lies on the floor alone."""
    world = rig.world
    assert isinstance(world, FlatWorld)
    world.reset(4)
    x, y, _ = open_place(world)
    thing = replace(draw_plan(4).things[0], category=category, x=x + ahead, y=y + aside, z=0.0, yaw=yaw)
    plan: FlatPlan = replace(world.plan, things=(thing,), start=(x, y, 0.0))

    def reset(*_: object) -> str:
        world.place(plan)
        return plan.errand.instruction

    world.reset, before = reset, world.reset  # type: ignore[method-assign]
    try:
        rig.reset(0)
    finally:
        world.reset = before  # type: ignore[method-assign]
    return world


@pytest.mark.parametrize("category", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_it_takes_a_thing_up_and_puts_it_down_through_executor_and_servo(rig: Rig, category: str) -> None:
    world = stand_before(rig, category, *CASES[category])
    for instruction in (f"pick up the {category}", "put it down"):
        assert not hand_done(world, instruction)
        for _ in range(40):
            rig.execute(hand_chunk(world, instruction, 20, 0.05), world.time_ns)
            assert rig.rejections == []
            rig.advance(0.4)
            if hand_done(world, instruction):
                break
        rig.advance(0.5)
        assert hand_done(world, instruction), instruction
        lies = truth.thing_position(world)[2]
        assert (lies < 0.03) if "put" in instruction else (truth.held(world) and lies > 0.05)
    assert world.collisions.events == []


def test_what_is_out_of_reach_is_refused_in_a_sentence(rig: Rig) -> None:
    assert isinstance(rig.world, FlatWorld)
    rig.world.place(draw_plan(4))
    with pytest.raises(
        PolicyError, match=r"m from the base; expected something that the arm reaches; fix: drive nearer"
    ):
        clean_chunk(rig.world, 20, 0.05)


@pytest.mark.parametrize("category", ["bottle"])
def test_what_it_has_no_grasp_for_is_refused(rig: Rig, category: str) -> None:
    world = stand_before(rig, category, 0.0, 0.0, 0.30)
    with pytest.raises(PolicyError, match="nothing tall"):
        clean_chunk(world, 20, 0.05)


def test_a_chunk_begins_where_the_arm_is_and_stays_within_its_limits(rig: Rig) -> None:
    world = stand_before(rig, "block", 0.0, 0.0, 0.30)
    chunk, config = clean_chunk(world, 20, 0.05), world.robot
    assert chunk.shape == (20, 6) and chunk.dtype == np.float32
    path = np.vstack([world.robot_state().q_rad, chunk[:, :5]])
    assert (np.abs(np.diff(path, axis=0)) <= 0.05 * config.velocity_rad_s).all()
    assert (path >= config.position_min_rad).all() and (path <= config.position_max_rad).all()
