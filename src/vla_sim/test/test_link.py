"""The simulator's ends of the shared-memory link."""

from __future__ import annotations

import numpy as np
import pytest
from sim_peers import new_link

from vla_core.errors import ConfigError
from vla_core.records import COMMAND, STATE
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import RobotState
from vla_sim.core.link import CameraLink, HardwareLink, WatchfulPeer
from vla_sim.core.records import SNAPSHOT, Start


def test_peer_appears_late_and_restarts() -> None:
    """Regression: a reader that keeps the mapping of a dead owner never sees the new one's records."""
    link = new_link()
    peer = WatchfulPeer(link, "command", COMMAND)
    assert not peer.wait(0.0) and peer.missing
    record = np.zeros(1, COMMAND)
    for tick in (1, 2):
        owner = Mailbox(link_path(link, "command"), COMMAND, create=True)
        record["tick"] = tick
        owner.write(record)
        assert any(peer.wait(0.05) for _ in range(20)), f"owner {tick} not seen"
        assert int(peer.record["tick"][0]) == tick and not peer.poll()
        owner.close(unlink=True)
    peer.close()


def test_state_carries_tick_epoch_and_joints() -> None:
    link = new_link()
    hardware = HardwareLink(link, True, np.arange(1.0, 8.0), np.array([40.0, 30.0]))
    try:
        q = np.arange(7.0)
        hardware.publish(5, 1_005_000_000, 1_000_000_000, RobotState(0, q, q + 1, q + 2, np.array([0.04, 0.02])))
        box, state = Mailbox(link_path(link, "state"), STATE), np.zeros(1, STATE)
        assert box.read(state) == 1
        assert state["tick"] == 5 and state["stamp_ns"] == 1_005_000_000 and state["epoch_ns"] == 1_000_000_000
        assert state["lockstep"] == 1
        np.testing.assert_array_equal(state["gripper_width"][0], [0.04, 0.02, 0.0, 0.0])
        np.testing.assert_array_equal(state["q"][0, :7], q)
        np.testing.assert_array_equal(state["tau"][0, :7], q + 2)
        assert not state["q"][0, 7:].any()
        np.testing.assert_array_equal(state["torque_limit"][0, :8], [1, 2, 3, 4, 5, 6, 7, 0])
        np.testing.assert_array_equal(state["gripper_force_limit"][0], [40.0, 30.0, 0.0, 0.0])
        assert not hardware.commanded and hardware.newest_command_tick() == -1 and hardware.answers_ns() == -1
        assert not hardware.await_command(5, 0.01)
        box.close()
    finally:
        hardware.close()
    assert not link_path(link, "state").exists()


def test_snapshot_says_which_world() -> None:
    link = new_link()
    cameras = CameraLink(link)
    start = Start(7, "put the red cube in the blue bowl", "heldout_pose", "")
    cameras.describe(3, start)
    cameras.hand(1_050_000_000, np.arange(5.0))
    box, record = Mailbox(link_path(link, "snapshot"), SNAPSHOT), np.zeros(1, SNAPSHOT)
    box.read(record)
    assert Start.from_record(record) == start and record["generation"] == 3
    np.testing.assert_array_equal(record["state"][0, : int(record["n"][0])], np.arange(5.0))
    assert cameras.rendered_ns() == -1
    box.close()
    cameras.close()
    assert not link_path(link, "snapshot").exists()


def test_start_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="instruction of more than 512 bytes"):
        Start(0, "ü" * 300, "train", "")
