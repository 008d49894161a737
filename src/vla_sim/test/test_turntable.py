"""The turntable: things that ride round, an expert that catches them, and what its labels promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.contract import load_contract
from vla_core.errors import UnknownObjectError
from vla_core.types import NS, Float32, Observation, Running
from vla_policy.core.drawing.correction import ChunkCorrection
from vla_policy.core.preset import load_preset
from vla_policy.core.target_policy import TargetTraining
from vla_sim.catch_training import CatchData
from vla_sim.core import catch_expert as expert
from vla_sim.core.delays import DelayModel
from vla_sim.core.expert import CLOSE_M_S, OPEN_WIDTH, OPENING_M_S
from vla_sim.core.rig import Player, Rig, run_episode
from vla_sim.core.turntable import TurntableWorld

CONTRACT = load_contract("turntable_panda")
GRIPPER = TargetTraining.of(load_preset("turntable_flow")).gripper
DT_S, HORIZON = CONTRACT.dt_s, CONTRACT.horizon


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(CONTRACT, "turntable", render=False)


@pytest.fixture
def world(rig: Rig) -> TurntableWorld:
    rig.reset(5)
    assert isinstance(rig.world, TurntableWorld)
    return rig.world


def clean(rig: Rig) -> Player:
    assert isinstance(rig.world, TurntableWorld)
    world = rig.world
    return Player(lambda *_: (expert.clean_chunk(world, HORIZON, DT_S), 0.0))


def test_cylinders_ride_with_the_disc(rig: Rig, world: TurntableWorld) -> None:
    centre, orbit_m = np.array(world.scene["turntable"]["centre_m"]), world.scene["turntable"]["orbit_m"]
    before = world.position(world.task.objects[0])[:2] - centre
    rig.advance(1.0)
    after = world.position(world.task.objects[0])[:2] - centre
    turned = np.arctan2(before[0] * after[1] - before[1] * after[0], before @ after)
    assert turned == pytest.approx(world.speed_rad_s, rel=0.02)
    assert np.linalg.norm(after) == pytest.approx(orbit_m, abs=2e-3)


def test_the_tracker_is_near_the_truth_and_never_exact(world: TurntableWorld) -> None:
    truth = np.concatenate([world.position(item) for item in world.task.objects])
    seen = np.array([world.sensors()["target_position"] for _ in range(200)])
    assert np.allclose(seen.mean(0), truth, atol=1e-3) and np.allclose(seen.std(0), 0.002, rtol=0.4)


def test_same_seed_same_world(rig: Rig, world: TurntableWorld) -> None:
    snapshot, seen = world.snapshot(), world.sensors()
    rig.reset(6)
    assert not np.allclose(world.snapshot(), snapshot)
    rig.reset(5)
    assert np.array_equal(world.snapshot(), snapshot)
    again = world.sensors()
    assert all(np.array_equal(again[key], value) for key, value in seen.items())


def test_another_task_is_refused(world: TurntableWorld) -> None:
    with pytest.raises(UnknownObjectError, match="'catch one of the cylinders'"):
        world.reset(0, "open the drawer")


def test_the_expert_catches_one(rig: Rig) -> None:
    episode = run_episode(rig, clean(rig), 77, "heldout_pose")
    assert episode.success and not episode.rejections and episode.duration_s < 6.0


def test_an_episode_under_delay_repeats_itself_whatever_was_played_before(rig: Rig) -> None:
    """Regression: counted delays outlived the episode, so the next one depended on it."""
    delay = DelayModel(0.2, 0.3, 0.05)

    def play(seed: int) -> tuple[float, tuple[float, ...]]:
        told: list[int] = []
        player = clean(rig)

        def act(observation: Observation, running: Running) -> tuple[Float32, float]:
            told.append(running.delay_steps)
            return player.act(observation, running)

        episode = run_episode(rig, Player(act), seed, "heldout_pose", delay=delay)
        return episode.duration_s, (*told, *episode.motion.seam_jumps_mrad)

    first = play(3)
    play(4)
    assert play(3) == first and 0 in first[1]


def test_corrections_run_at_the_picture_rate_while_the_answer_is_under_way(rig: Rig) -> None:
    stamps: list[int] = []

    class Echo:
        strategies = frozenset({"a2c2"})

        def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
            stamps.append(observation.stamp_ns)
            return actions

    rig.executor.use("a2c2")
    try:
        player = Player(clean(rig).act, "echo", Echo.strategies, ChunkCorrection(Echo(), CONTRACT))
        episode = run_episode(rig, player, 77, "heldout_pose", delay=DelayModel(0.2))
    finally:
        rig.executor.use("naive_async")
    period_ns = round(NS / CONTRACT.rate_hz)
    assert episode.success and set(np.diff(stamps)) == {period_ns} and not episode.rejections


def some(seed: int, count: int = 64) -> expert.Catching:
    rng = np.random.default_rng(seed)
    return expert.choose(expert.visited(rng, 8, 40, TABLE, DT_S)[rng.integers(320, size=count)], rng)


TABLE = {"centre_m": [0.47, 0.0], "radius_m": 0.16, "orbit_m": 0.11, "speed_rad_s": [0.8, 1.4]}
NO_NOISE = {"position_noise_m": 0.0, "velocity_noise_m_s": 0.0}
CENTRE = np.array(TABLE["centre_m"])
FASTEST_M = (expert.SPEED_M_S + 1.4 * 0.13) * DT_S


@given(seed=st.integers(0, 1000), longest=st.integers(0, 12))
@settings(max_examples=20, deadline=None)
def test_chunks_go_on_from_their_given_steps_without_a_jump(seed: int, longest: int) -> None:
    """However wrong the given steps were planned: what follows begins where they end."""
    states, rng = some(seed), np.random.default_rng(seed)
    chunks = expert.continued(states, rng.integers(0, longest + 1, len(states)), HORIZON, DT_S, CENTRE, rng)
    assert chunks.shape == (len(states), HORIZON, 8) and np.isfinite(chunks).all()
    assert np.linalg.norm(np.diff(chunks[..., :3], axis=1), axis=-1).max() < FASTEST_M + 0.01  # 1 cm: drift


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_without_given_steps_it_is_the_experts_own_chunk(seed: int) -> None:
    states = some(seed)
    near = states.things[:, 0] + np.random.default_rng(seed).normal(0.0, 0.004, (len(states), 3)) + [0.0, 0.0, 0.02]
    states = replace(states, tool=near, width=np.full(len(states), 0.08))  # nothing is left to chance
    states = expert.choose(states, np.random.default_rng(seed))
    none = np.zeros(len(states), np.int64)
    chunks = expert.continued(states, none, HORIZON, DT_S, CENTRE, np.random.default_rng(seed))
    assert np.array_equal(chunks, expert.chunks(states, HORIZON, DT_S, CENTRE))


def test_rows_of_a_future_state_begin_where_the_tool_will_be() -> None:
    """VLASH: the tool is ahead of the cylinders that are told; the gripper as if nothing were between its fingers."""
    preset, scene = load_preset("turntable_flow"), {"turntable": TABLE, "tracker": NO_NOISE}
    data = CatchData(CONTRACT, scene, GRIPPER, 200, 40, 0)
    drawn = data.flow_rows(np.random.default_rng(0), 4000, preset.training["longest_offset_steps"], 0)
    tool = drawn["state"][:, CONTRACT.state_slice("tool_pose")][:, :3]
    assert np.abs(drawn["actions"][:, 0, :3] - tool).max() < 0.02  # corners of a chunk are rounded
    width, later = drawn["state"][:, CONTRACT.state_slice("gripper_width")][:, 0], drawn["age_s"] > 0
    assert 0.3 < later.mean() < 0.6 and (width[later] < 0.9 * expert.WIDTH_M).sum() > 20
    places = drawn["state"][:, CONTRACT.state_slice("target_position")].reshape(-1, 2, 3)
    velocity = drawn["state"][:, CONTRACT.state_slice("target_velocity")].reshape(-1, 2, 3)
    riding = np.abs(places[:, 0, 2] - expert.REST_Z_M) < 1e-6
    across = ((places[riding, 0, :2] - CENTRE) * velocity[riding, 0, :2]).sum(1)
    assert later[riding].any() and np.abs(across).max() < 1e-3, "what is told of the cylinders is of one moment"


def test_the_presets_gripper_is_the_experts() -> None:
    assert (GRIPPER.open_m, GRIPPER.opening_m_s, GRIPPER.closing_m_s) == (OPEN_WIDTH, OPENING_M_S, CLOSE_M_S)


def test_from_the_middle_either_cylinder_is_chosen_and_near_one_that_one() -> None:
    rng = np.random.default_rng(0)
    states = expert.starts(rng, 2000, TABLE)
    middle = replace(states, tool=np.tile([*CENTRE, 0.3], (2000, 1)))
    assert expert.choose(middle, rng).choice.mean() == pytest.approx(0.5, abs=0.05)
    beside = replace(states, tool=states.things[:, 1] + [0.0, 0.0, 0.08])
    assert expert.choose(beside, rng).choice.mean() > 0.99


def test_who_follows_the_experts_chunk_ends_where_the_expert_does() -> None:
    rng = np.random.default_rng(1)
    states = expert.starts(rng, 256, TABLE)
    for _ in range(6):
        chunk = expert.chunks(states, HORIZON, DT_S, CENTRE)
        states = expert.follow(states, chunk, np.full(256, 10), DT_S, CENTRE)
        states = replace(expert.heading(states, chunk), held=states.held)
    assert np.mean(states.held & (states.tool[:, 2] > 0.1)) > 0.97
