"""Experts under the real control laws: each family is solved, chunks are clean, stills are labelled like episodes."""

from __future__ import annotations

import numpy as np
import pytest

from vla_core.contract import load_contract
from vla_sim.core.expert import clean_chunk, observe
from vla_sim.core.rig import Player, Rig, run_episode
from vla_sim.core.stills import pose_still
from vla_sim.core.tasks import FAMILIES


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(load_contract("tabletop_panda"), render=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_solves_every_family_and_no_chunk_is_refused(rig: Rig, family: str) -> None:
    episode = run_episode(rig, Player(lambda *_: (clean_chunk(rig.world, 20, 0.05), 0.0)), 77, "train", family)
    assert episode.success
    assert not episode.rejections


def test_a_chunk_does_not_touch_the_world_and_starts_at_the_tool(rig: Rig) -> None:
    rig.reset(4, family="place_in")
    before = rig.world.snapshot()
    chunk = clean_chunk(rig.world, 20, 0.05)
    assert np.array_equal(before, rig.world.snapshot())
    assert np.linalg.norm(chunk[0, :3] - rig.world.tool_pose()[0]) < 0.015
    assert np.abs(np.diff(chunk[:, :3], axis=0)).max() < 0.02


def test_stills_reach_the_grasp_and_count_as_held(rig: Rig) -> None:
    held = 0
    for seed in range(40):
        rig.reset(seed, family="pick")
        if pose_still(rig, np.random.default_rng(seed)):
            held += observe(rig.world).held is not None
    assert held >= 5
