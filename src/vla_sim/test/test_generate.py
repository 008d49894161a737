"""Demonstrations: which scene teaches a contract, and what their frames hold."""

from __future__ import annotations

import numpy as np
import pytest

from vla_core.contract import load_contract
from vla_core.errors import UnknownNameError
from vla_sim.core.rig import Rig
from vla_sim.generate import TEACHINGS, Disturbance, take_stills, taught_in


def test_a_contract_is_demonstrated_in_its_own_scene() -> None:
    assert (taught_in("tabletop_panda"), taught_in("fetch_so101")) == ("tabletop", "flat")
    with pytest.raises(UnknownNameError, match="tabletop_panda"):
        taught_in("metaworld_sawyer")


def test_stills_of_one_scene_differ_in_the_robot_alone() -> None:
    rig = Rig(load_contract("fetch_so101"), "flat")
    frames = take_stills(rig, 1, "train", "take", 4)
    assert frames is not None and len(frames["rgb"]) == 4 and np.isnan(frames["progress"]).all()
    assert frames["chunk"].shape == (4, 20, 6) and frames["rgb"].shape == (4, *rig.contract.rgb_shape)
    assert len(np.unique(frames["state"].round(3), axis=0)) == 4, "the arm is somewhere else in each"
    used, names = frames["role_used"][0], TEACHINGS["flat"].object_names
    assert used.tolist() == [1, 0, 0, 0] and names[frames["obj_name"][0][0]].count(" ") == 1
    again = take_stills(rig, 1, "train", "take", 4)
    assert again is not None
    np.testing.assert_array_equal(again["state"], frames["state"])


@pytest.mark.parametrize("moved", [3, 5])
def test_a_disturbance_changes_what_moves_and_leaves_the_rest(moved: int) -> None:
    rng, changed = np.random.default_rng(3), False
    for _ in range(20):
        disturb = Disturbance(rng, moved=moved, unit=5.0, least=-np.inf)
        chunk = np.full((4, moved + 2), 0.5, np.float32)
        out = disturb(chunk)
        np.testing.assert_array_equal(out[:, moved:-1], chunk[:, moved:-1])
        assert (np.ptp(out[:, :moved], axis=0) < 1e-6).all(), "a whole chunk is moved at once"
        changed |= bool(np.abs(out[:, :moved] - 0.5).max() > 0.01)
    assert changed
