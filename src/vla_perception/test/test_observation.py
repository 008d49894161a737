"""Stage 1 as a whole, without ROS."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perception_samples import MS, flat, sample

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.errors import ObservationError, UnknownNameError
from vla_core.types import Observation
from vla_perception.core.health import Rejections, judge
from vla_perception.core.observation import JOINTS, Observer


def push(observer: Observer, robot: RobotModel, source: str, ms: int, now_ms: int = 0) -> list[Observation]:
    """One sample whose content tells its source and stamp."""
    if source == JOINTS:
        q = robot.config.home_rad + ms * 1e-5
        return observer.add_joints(ms * MS, sample(robot, q), now_ms * MS)
    colour = (ms % 251, 1, 2) if source == "front" else (3, ms % 251, 4)
    return observer.add_image(source, ms * MS, flat(colour), now_ms * MS)


def test_observation_holds_what_the_contract_says(contract: Contract, robot: RobotModel) -> None:
    observer = Observer(contract, robot)
    observer.instruction = "pick up the red cube"
    made = [
        o
        for s, ms in ((JOINTS, 95), ("wrist", 103), ("front", 100), (JOINTS, 105))
        for o in push(observer, robot, s, ms)
    ]
    (observation,) = made
    assert observation.stamp_ns == 95 * MS  # the oldest source
    assert observation.instruction == "pick up the red cube"
    assert observation.contract_hash == contract.hash
    assert observation.view_names == ("front", "wrist")
    assert observation.view_valid.tolist() == [True, True]
    assert (observation.rgb.shape, observation.rgb.dtype) == ((2, 128, 128, 3), np.uint8)
    assert np.all(observation.rgb[0] == (100, 1, 2))
    assert np.all(observation.rgb[1] == (3, 103, 4))
    assert observation.state_names == contract.state_names
    assert (observation.state.shape, observation.state.dtype) == ((15,), np.float32)
    assert observation.state[:7] == pytest.approx(robot.config.home_rad + 95e-5, abs=1e-6)


@given(st.lists(st.permutations(["front", "wrist", JOINTS]), min_size=2, max_size=12), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_lockstep_gives_exactly_one_observation_per_frame(
    contract: Contract, robot: RobotModel, orders: list[list[str]], start: int
) -> None:
    """20 Hz frames with equal stamps, joint states at 100 Hz that hit them: in any order, nothing is skipped."""
    observer, stamps = Observer(contract, robot), []
    for step, order in enumerate(orders):
        frame_ms = start + step * 50
        made = [o for source in order for o in push(observer, robot, source, frame_ms)]
        for ms in range(frame_ms + 10, frame_ms + 50, 10):
            made += push(observer, robot, JOINTS, ms)
        assert [o.stamp_ns for o in made] == [frame_ms * MS]
        assert made[0].state[:7] == pytest.approx(robot.config.home_rad + frame_ms * 1e-5, abs=1e-5)
        stamps += [o.stamp_ns for o in made]
    assert observer.observed == len(orders)
    assert observer.unmatched == 0


def test_faster_cameras_are_thinned_to_the_contract_rate(contract: Contract, robot: RobotModel) -> None:
    observer, made = Observer(contract, robot), []
    for i in range(60):
        for source in (JOINTS, "wrist", "front"):
            made += push(observer, robot, source, i * 1000 // 30)
    assert len(made) == pytest.approx(40, abs=1)


def test_silent_camera_stops_the_observations(contract: Contract, robot: RobotModel) -> None:
    observer = Observer(contract, robot)
    made = [o for ms in range(0, 1000, 50) for source in (JOINTS, "front") for o in push(observer, robot, source, ms)]
    assert made == []


def test_stale_sets_are_thrown_away_and_counted(contract: Contract, robot: RobotModel) -> None:
    observer = Observer(contract, robot)
    for now_ms, count in ((10_000, 0), (10_050 + 249, 1)):
        ms = now_ms - 249 if count else now_ms - 251
        made = [o for source in (JOINTS, "wrist", "front") for o in push(observer, robot, source, ms, now_ms)]
        assert len(made) == count
    assert observer.stale == 1


def test_refused_samples_change_nothing(contract: Contract, robot: RobotModel) -> None:
    observer = Observer(contract, robot)
    with pytest.raises(ObservationError):
        observer.add_image("front", 0, flat((0, 0, 0), width=64), 0)
    with pytest.raises(ObservationError):
        observer.add_joints(0, sample(robot, np.full(7, np.nan)), 0)
    with pytest.raises(UnknownNameError, match="front, wrist"):
        observer.add_image("left", 0, flat((0, 0, 0)), 0)
    assert [observer.statistics(source).count for source in observer.sources] == [0, 0, 0]


def test_health_says_what_is_wrong(contract: Contract, robot: RobotModel) -> None:
    observer, rejections = Observer(contract, robot), Rejections()
    assert judge(observer.statistics("front"), rejections, 0, 0.25).level == "error"
    push(observer, robot, "front", 1000)
    levels = [judge(observer.statistics("front"), rejections, ms * MS, 0.25).level for ms in (1100, 1300, 0)]
    assert levels == ["ok", "stale", "warn"]
    rejections.add(ObservationError("mono8", "rgb8", "change it"))
    rejected = judge(observer.statistics("front"), rejections, 1100 * MS, 0.25)
    assert (rejected.level, rejected.values["rejected"]) == ("error", 1)
    assert "got mono8" in rejected.message
    assert judge(observer.statistics("front"), rejections, 1100 * MS, 0.25).level == "ok"


def test_core_needs_no_ros() -> None:
    code = (
        "import sys, vla_perception.core.observation, vla_perception.core.health, vla_perception.core.camera\n"
        "print([m for m in sys.modules if m.partition('.')[0] == 'rclpy' or m.partition('.')[0].endswith('_msgs')])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout.strip() == "[]"
