"""Coordinate frames with a history."""

from __future__ import annotations

import numpy as np
import pytest

from vla_core.errors import TransformError
from vla_core.frames import FrameTree, Stamped, planar
from vla_core.types import NS


def at(time_s: float, x: float, y: float = 0.0, yaw: float = 0.0) -> Stamped:
    quaternion = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return Stamped(round(time_s * NS), np.array([x, y, 0.0]), quaternion)


@pytest.fixture
def tree() -> FrameTree:
    made = FrameTree()
    made.set("map", "odom", at(1.0, 10.0, 0.0, np.pi / 2))
    made.set("map", "odom", at(3.0, 10.0, 0.0, np.pi / 2))
    made.set("odom", "base_link", at(1.0, 0.0))
    made.set("odom", "base_link", at(2.0, 1.0, 0.0, np.pi / 2))
    made.set("base_link", "laser", at(0.0, 0.2), fixed=True)
    made.set("base_link", "camera", at(0.0, -0.1, 0.3), fixed=True)
    return made


def test_between_two_stamps_the_pose_lies_between(tree: FrameTree) -> None:
    pose = planar(tree.lookup("odom", "base_link", round(1.5 * NS)))
    assert np.allclose(pose, [0.5, 0.0, np.pi / 4])


def test_chains_compose_and_there_and_back_is_nothing(tree: FrameTree) -> None:
    assert np.allclose(planar(tree.lookup("map", "laser", NS)), [10.0, 0.2, np.pi / 2])
    assert np.allclose(planar(tree.lookup("camera", "laser", NS)), [0.3, -0.3, 0.0])
    there, back = tree.lookup("map", "camera", 2 * NS), tree.lookup("camera", "map", 2 * NS)
    assert np.allclose(there @ back, np.eye(4))


def test_the_newest_time_is_the_oldest_of_the_chain(tree: FrameTree) -> None:
    assert tree.newest_ns("map", "laser") == 2 * NS and tree.newest_ns("base_link", "laser") is None


@pytest.mark.parametrize(
    ("target", "source", "time_s", "words"),
    [
        ("map", "base_link", 2.5, "'odom' -> 'base_link' 0.500 s too old"),
        ("map", "base_link", 0.5, "too young"),
        ("map", "gripper", 1.5, "no frame 'gripper' on /tf"),
        ("map", "wall", 1.5, "without a connection"),
    ],
)
def test_what_nobody_has_told_is_an_error(tree: FrameTree, target: str, source: str, time_s: float, words: str) -> None:
    tree.set("house", "wall", at(1.0, 0.0), fixed=True)
    with pytest.raises(TransformError, match=words):
        tree.lookup(target, source, round(time_s * NS))


@pytest.mark.parametrize("bad", [Stamped(NS, np.array([np.nan, 0, 0]), np.array([0, 0, 0, 1.0])),
                                 Stamped(NS, np.zeros(3), np.zeros(4))])  # fmt: skip
def test_broken_numbers_are_refused(tree: FrameTree, bad: Stamped) -> None:
    with pytest.raises(TransformError, match="unit quaternion"):
        tree.set("odom", "base_link", bad)
    assert planar(tree.lookup("odom", "base_link", NS))[0] == 0.0


def test_a_loop_is_said_to_be_one() -> None:
    tree = FrameTree()
    tree.set("a", "b", at(1.0, 0.0))
    tree.set("b", "a", at(1.0, 0.0))
    with pytest.raises(TransformError, match="loop"):
        tree.lookup("a", "b", NS)


def test_a_clock_that_was_set_back_begins_anew(tree: FrameTree) -> None:
    tree.set("odom", "base_link", at(2.5, 5.0))
    tree.set("odom", "base_link", at(1.0, 7.0))
    assert tree.newest_ns("odom", "base_link") == NS
    assert planar(tree.lookup("odom", "base_link", NS))[0] == 7.0
