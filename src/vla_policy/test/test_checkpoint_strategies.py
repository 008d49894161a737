"""Published flow models continue the motion in execution, by the drawing methods of our own ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_lerobot_checkpoints import contract, load, observation, shrink
from toy_checkpoints import write

from vla_core.contract import Contract, load_contract
from vla_core.errors import PolicyError
from vla_core.types import NS, Float32, Running
from vla_policy.checkpoints.actions import CheckpointActions
from vla_policy.checkpoints.lerobot_policy import LerobotPolicy
from vla_policy.checkpoints.model import FlowModel
from vla_policy.checkpoints.scaling import MODES, Scaling
from vla_policy.checkpoints.units import units
from vla_policy.core.policy import check_strategy

FLOWS = ["pi0", "smolvla"]
SCALE, OFFSET = (0.5, 2.0, -1.0, 0.1), (0.0, 1.0, 0.0, -3.0)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Language models of the golden files' sizes."""
    shrink(monkeypatch, tmp_path)


def policy_of(name: str, tmp_path: Path, **model: object) -> tuple[LerobotPolicy, Contract]:
    write(f"lerobot_{name}", tmp_path / name)
    of = contract(tmp_path)
    return load(tmp_path / name, of, **model), of


def motion(strategy: str, of: Contract, actions: Float32, delay: int, late_steps: int = 0) -> Running:
    """These steps in execution, begun `late_steps` before the observation at 1 s."""
    return Running(strategy, NS - round(late_steps * of.dt_s * NS), of.dt_s, actions, delay, len(actions))


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("model", [{}, {"scale": SCALE, "offset": OFFSET}], ids=["plain", "in other units"])
def test_guidance_keeps_the_steps_that_run(name: str, model: dict, tmp_path: Path) -> None:
    """RTC: what will have been executed is answered nearly as it is; a free chunk lies elsewhere."""
    policy, of = policy_of(name, tmp_path, **model)
    seen, delay = observation(of, 2), 3
    running = policy.predict(seen, 11).actions
    told = motion("rtc_guided", of, running, delay)
    off = {True: [], False: []}
    for seed in range(6):
        for guided in off:
            drawn = policy.predict(seen, seed, told if guided else None).actions
            off[guided].append(float((np.abs(drawn - running)[:delay] / np.ptp(running, axis=0)).mean()))
    assert np.mean(off[True]) < 0.15 * np.mean(off[False]), off


@pytest.mark.parametrize("name", FLOWS)
def test_what_runs_is_taken_at_the_new_observations_times(name: str, tmp_path: Path) -> None:
    policy, of = policy_of(name, tmp_path)
    seen, running = observation(of, 2), policy.predict(observation(of, 2), 11).actions
    told = motion("rtc_guided", of, running, 3, late_steps=2)
    drawn = np.stack([policy.predict(seen, seed, told).actions for seed in range(4)])
    off, unmoved = (float(np.abs(drawn[:, :3] - steps).mean()) for steps in (running[2:5], running[:3]))
    assert off < 0.4 * unmoved, "not the steps at the old observation's times"


@pytest.mark.parametrize("name", FLOWS)
def test_bid_takes_the_draw_that_goes_on_as_before(name: str, tmp_path: Path) -> None:
    """Of its nine draws the first is the one that is drawn freely: where that is what runs, it is taken."""
    policy, of = policy_of(name, tmp_path)
    seen, taken = observation(of, 2), 0
    for seed in range(6):
        running = policy.predict(seen, seed).actions
        again = policy.predict(seen, seed, motion("bid", of, running, 2)).actions
        other = policy.predict(seen, seed, motion("bid", of, policy.predict(seen, 50 + seed).actions, 2)).actions
        taken += np.allclose(again, running, atol=1e-5) and not np.array_equal(again, other)
    assert taken >= 3, "by lot it would be one"


@pytest.mark.parametrize("name", FLOWS)
def test_without_steps_in_execution_it_draws_as_ever(name: str, tmp_path: Path) -> None:
    policy, of = policy_of(name, tmp_path)
    seen, free = observation(of, 2), policy.predict(observation(of, 2), 5).actions
    none = np.zeros((0, 4), np.float32)
    for strategy, actions in (("rtc_guided", none), ("naive_async", free), ("rtc_prefix", free)):
        again = policy.predict(seen, 5, motion(strategy, of, actions, len(actions))).actions
        np.testing.assert_array_equal(again, free)


@pytest.mark.parametrize("name", FLOWS)
def test_the_field_is_differentiable(name: str, tmp_path: Path) -> None:
    """Guidance needs w^T dv/dx; against finite differences."""
    policy, of = policy_of(name, tmp_path)
    model = policy.model
    assert isinstance(model, FlowModel)
    with torch.no_grad():
        inputs = policy._inputs([observation(of, 2)], "put it")
        model.double()
        field = model.field(type(inputs)(inputs.images.double(), inputs.state.double(), inputs.tokens))
        drawn = np.random.default_rng(0).standard_normal((3, 1, *model.noise_shape))
        x, weights, direction = torch.from_numpy(drawn)
        time, step = torch.full(x.shape[:2], 0.4, dtype=torch.float64), 1e-3  # norms know seven digits
        _, pulled = field.pull_back(x, time, lambda velocity: weights)
        there, here = (field.fast(x + s * direction, time) for s in (step, -step))
    expected = (weights * (there - here)).sum() / (2 * step)
    torch.testing.assert_close((pulled * direction).sum(), expected, rtol=2e-3, atol=0.0)


def test_guidance_in_bfloat16(tmp_path: Path) -> None:
    policy, of = policy_of("smolvla", tmp_path, dtype="bfloat16")
    seen = observation(of, 2)
    running = policy.predict(seen, 11).actions
    told, free = (policy.predict(seen, 3, r).actions for r in (motion("rtc_guided", of, running, 3), None))
    assert np.abs(told - running)[:3].mean() < 0.5 * np.abs(free - running)[:3].mean()


def test_a_policy_says_which_strategies_it_serves(tmp_path: Path) -> None:
    served = {name: policy_of(name, tmp_path)[0].strategies for name in (*FLOWS, "act", "diffusion")}
    assert served["pi0"] == served["smolvla"] == {"rtc_guided", "bid"}
    assert served["act"] == served["diffusion"] == frozenset()
    for strategy in ("rtc_prefix", "a2c2", "vlash"):
        with pytest.raises(PolicyError, match="which serves bid, rtc_guided; expected one that it serves"):
            check_strategy(strategy, served["pi0"], "pi0")


def test_nothing_is_continued_that_cannot_be_told_in_the_checkpoints_numbers(tmp_path: Path) -> None:
    """Deltas from a chunk's start, and quaternions, of which nobody knows the sign of training."""
    write("lerobot_pi0", tmp_path / "pi0")
    of, size = contract(tmp_path), 4
    delta = load_contract("pi0_panda").action_parts[0]
    pose = load_contract("tabletop_panda").action_parts[0]
    for part in (delta, pose):
        part = replace(part, columns=tuple(range(size)), names=of.action_names)
        assert load(tmp_path / "pi0", replace(of, listed_parts=(part,))).strategies == frozenset()


@given(
    place=st.permutations(range(4)),
    relative=st.lists(st.booleans(), min_size=4, max_size=4),
    mode=st.sampled_from([*MODES]),
    seed=st.integers(0, 2**32 - 1),
)
def test_there_and_back(place: list[int], relative: list[bool], mode: str, seed: int) -> None:
    rng, of = np.random.default_rng(seed), replace(load_contract("pi0_panda"), action_names=("a", "b", "c", "d"))
    low, width = torch.from_numpy(rng.normal(size=4)).float(), torch.from_numpy(rng.uniform(0.1, 2.0, 4)).float()
    first, second = MODES[mode]
    scaling = Scaling.of(mode, {first: low, second: width if mode == "MEAN_STD" else low + width}, 1e-8, "toy")
    transform = CheckpointActions(
        tuple(place), torch.tensor(relative), (4, 0, 2, 1, 3), units(of, SCALE, OFFSET), scaling, width=7
    )
    actions, state = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 4), (6,)))
    inside = transform.forward(actions, state)
    assert inside.shape == (5, 7) and not inside[:, 4:].any(), "padding is zero, as in training"
    np.testing.assert_allclose(transform.inverse(inside, state), actions, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["MEAN_STD", "MIN_MAX"])
def test_a_column_that_never_moved_in_training_is_told_as_it_was(mode: str) -> None:
    """Divided by a range of zero, the smallest deviation would be a target of millions."""
    first, second = MODES[mode]
    low = torch.tensor([0.3, 0.3])
    other = torch.tensor([0.0, 1.0]) if mode == "MEAN_STD" else torch.tensor([0.3, 1.3])
    scaling = Scaling.of(mode, {first: low, second: other}, 1e-8, "toy")
    of = replace(load_contract("pi0_panda"), action_names=("a", "b"))
    transform = CheckpointActions((0, 1), torch.zeros(2, dtype=torch.bool), (0,), units(of, (), ()), scaling, width=2)
    inside = transform.forward(np.full((3, 2), 0.31, np.float32), np.zeros(1, np.float32))
    assert np.all(inside[:, 0] == scaling.bias) and np.abs(inside).max() < 1.5
