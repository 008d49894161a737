"""The first chunk after a reset is executed, however soon it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.types import ActionChunk

MS = 1_000_000
EPOCH_NS = 1_000 * MS


@pytest.mark.parametrize("late_ms", [0, 3, 9, 10, 250])
@pytest.mark.parametrize("commit_s", [0.02, 0.05])
def test_no_plan_begins_before_the_world_that_it_is_for(
    robot: RobotModel, contract: Contract, make_chunk: Callable[..., ActionChunk], late_ms: int, commit_s: float
) -> None:
    """Regression: the knot before an answer at the epoch lay before it, so the servo took the plan for one of a world
    that is gone (`ServoLoop._valid_plan`), and held until the next chunk came."""
    executor = ChunkExecutor(robot, contract, replace(ExecutorParameters.from_config(), commit_s=commit_s))
    executor.reset(robot.config.home_rad, np.array([0.08]), EPOCH_NS)
    position, _ = robot.tool_pose(robot.config.home_rad)
    executor.accept(make_chunk(position + 0.002 * np.arange(20)[:, None], EPOCH_NS), EPOCH_NS + late_ms * MS)
    assert int(executor.plan["start_ns"][0]) >= EPOCH_NS
    np.testing.assert_allclose(executor.sample(EPOCH_NS + late_ms * MS).q_rad, robot.config.home_rad, atol=1e-6)
    executor.stop(EPOCH_NS + late_ms * MS)
    assert int(executor.plan["start_ns"][0]) >= EPOCH_NS
