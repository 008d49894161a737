"""RT-1 on a mobile manipulator: by the bin of the mode the executor moves the arm or the base, or ends the task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.action_parts import MODES
from vla_core.contract import Contract, load_contract
from vla_core.types import ActionChunk
from vla_policy.core.sight import Sight
from vla_policy.core.systems.rt1 import Rt1, Rt1Config
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import Labels

MS = 1_000_000
SIZES = Sizes(horizon=1, action_width=11, state=1, views=1, names=1, features=4, generic=1, text=4, sentence=3)
ENCODER: dict[str, Any] = {"widths": [8], "depths": [1], "strides": [1], "expand": 2}
DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 4, "head_width": 8, "hidden": 64}
ARM, BASE, END = range(len(MODES))
LIFT_M, DRIVE_M_S, TURN_RAD_S = 0.02, 0.2, 0.1


def sights(modes: torch.Tensor) -> Sight:
    """One image, and one of three sentences: 'lift it', 'drive there', 'you are done'."""
    rows = len(modes)
    empty = [torch.zeros(rows, *shape) for shape in ((1, 1, 4), (1, 1, 2), (1, 1), (1, 3), (1, 1, 6), (1, 4))]
    told = [torch.zeros(rows, 1, dtype=torch.bool), torch.eye(3)[modes], torch.zeros(rows, 1), torch.zeros(rows, 3)]
    fine = torch.randn(1, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return Sight(*empty, *told, fine=fine.expand(rows, -1, -1, -1, -1))


def actions(modes: torch.Tensor) -> torch.Tensor:
    """Demonstrated: every step would lift the tool, half close the gripper and drive; the mode says what counts."""
    lift = torch.tensor([0, 0, LIFT_M, 0, 0, 0, 0.5, DRIVE_M_S, 0, TURN_RAD_S, 0])
    rows = lift.repeat(len(modes), 1, 1)
    rows[..., :3] += torch.rand(len(modes), 1, 3, generator=torch.Generator().manual_seed(1)) * 1e-4
    rows[..., 10] = modes[:, None].float()
    return rows


@pytest.fixture(scope="module")
def rt1() -> Rt1:
    torch.manual_seed(0)
    modes = torch.arange(6) % 3
    system = Rt1(Rt1Config(ENCODER, DECODER, frames=1, tokens=8, bins=256, knot=0, whole=(10,)), SIZES)
    system.fit(Fitting(actions(modes), torch.zeros(1, 4), ()))
    optimiser = torch.optim.Adam(system.parameters(), lr=1e-2)
    known = torch.ones(6, 1, dtype=torch.bool)
    for _ in range(80):
        loss = system.losses(sights(modes), Labels(system.normalised(actions(modes)), known))["bins"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return system.eval().requires_grad_(False)


def answer(system: Rt1, contract: Contract, mode: int, stamp_ns: int, sequence: int) -> ActionChunk:
    """What RT-1 says to the sentence of a mode, as its chunk."""
    drawn = system.draw(sights(torch.tensor([mode])), torch.zeros(1, 1, 11))
    columns = contract.action_space, contract.action_names, contract.dt_s
    chunk = system.physical(drawn.chunk)[0].numpy()
    return ActionChunk(stamp_ns, sequence, "rt1", contract.hash, *columns, chunk)


def test_the_mode_token_moves_the_arm_or_the_base_or_ends_the_task(rt1: Rt1) -> None:
    contract, robot = load_contract("rt1_mobile_panda"), RobotModel.load("panda_mobile")
    assert (contract.horizon, len(contract.action_names)) == (SIZES.horizon, SIZES.action_width)
    executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
    executor.reset(robot.config.home_rad, np.array([0.08]), 0)
    home_m = robot.tool_pose(robot.config.home_rad)[0][2]

    def height_m(t_ms: int) -> float:
        return float(robot.tool_pose(executor.sample(t_ms * MS).q_rad)[0][2] - home_m)

    executor.accept(answer(rt1, contract, ARM, 0, 1), 10 * MS)
    np.testing.assert_array_equal(executor.base_twist(200 * MS), 0.0)
    assert height_m(900) == pytest.approx(LIFT_M, abs=2e-3)

    executor.accept(answer(rt1, contract, BASE, 1000 * MS, 2), 1010 * MS)
    np.testing.assert_allclose(executor.base_twist(1200 * MS), [DRIVE_M_S, 0.0, TURN_RAD_S], atol=2e-3)
    assert height_m(1900) == pytest.approx(LIFT_M, abs=2e-3), "the arm waits"
    assert executor.state(1900 * MS).mode == "holding"

    executor.accept(answer(rt1, contract, END, 2000 * MS, 3), 2010 * MS)
    assert executor.state(2900 * MS).mode == "terminated"
    np.testing.assert_array_equal(executor.base_twist(2900 * MS), 0.0)
    assert height_m(2900) == pytest.approx(LIFT_M, abs=2e-3)


def test_an_unsure_policy_still_says_a_mode_that_there_is(rt1: Rt1) -> None:
    """Before it has learnt anything, any of 256 bins may be the likeliest one; only three of them are modes."""
    untaught = Rt1(rt1.config, SIZES)
    untaught.restore(rt1.notes())
    untaught.load_state_dict(rt1.state_dict())
    torch.nn.init.normal_(untaught.speak.weight)
    modes = {
        round(
            float(untaught.physical(untaught.draw(sights(torch.tensor([m])), torch.zeros(1, 1, 11)).chunk)[0, 0, 10]), 2
        )
        for m in range(3)
    }
    assert modes <= {0.0, 1.0, 2.0}
