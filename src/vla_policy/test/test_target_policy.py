"""TargetFlow: a set of targets, a flow head that continues, a corrector; and the stages that train them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_core.contract import load_contract
from vla_core.errors import ContractError, ObservationError
from vla_core.types import NS, Float32, Observation, Running
from vla_policy.core.backends import Decoding
from vla_policy.core.drawing.correction import Corrector
from vla_policy.core.models.target_flow import TargetFlow, configure
from vla_policy.core.preset import load_preset
from vla_policy.core.target_policy import SituationReader, TargetPolicy, TargetTraining
from vla_policy.training.dataset import Batch
from vla_policy.training.target_stages import CorrectorStage, FlowStage, sample_chunks

PRESET = load_preset("turntable_flow")
CONTRACT = load_contract(PRESET.contract)


@pytest.fixture(scope="module")
def model() -> TargetFlow:
    torch.manual_seed(0)
    return TargetFlow(configure(PRESET.model, CONTRACT)).eval()


@pytest.fixture
def policy(model: TargetFlow) -> TargetPolicy:
    return TargetPolicy("toy", CONTRACT, model, Decoding("flow", 4), TargetTraining.of(PRESET))


def states(count: int = 1, seed: int = 0) -> Float32:
    rng = np.random.default_rng(seed)
    out = rng.normal(0.0, 0.1, (count, len(CONTRACT.state_names))).astype(np.float32)
    out[:, CONTRACT.state_slice("tool_pose")] = [0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0]
    return out


def observation(stamp_ns: int = NS) -> Observation:
    rgb = np.zeros(CONTRACT.rgb_shape, np.uint8)
    names, valid = CONTRACT.view_names, np.zeros(0, np.bool_)
    return Observation(stamp_ns, "go", CONTRACT.hash, names, valid, rgb, CONTRACT.state_names, states()[0])


def running(strategy: str, delay_steps: int = 5) -> Running:
    actions = np.zeros((40, 8), np.float32)
    actions[:, 0], actions[:, 3] = 0.4 + 0.005 * np.arange(40), 1.0
    return Running(strategy, NS, CONTRACT.dt_s, actions, delay_steps, 20)


def test_exchanging_targets_changes_nothing(model: TargetFlow) -> None:
    reader, seen = SituationReader.of(CONTRACT), states(8)
    swapped = seen.copy()
    for key in ("target_position", "target_velocity"):
        place = CONTRACT.state_slice(key)
        swapped[:, place] = np.roll(seen[:, place], 3, axis=1)
    situations = [reader.read(s, np.zeros(8, np.float32)) for s in (seen, swapped)]
    actions = torch.randn(8, CONTRACT.horizon, 7)
    ours, theirs = (model.head.velocity(actions, torch.full((8,), 0.3), model.keys_values(s)) for s in situations)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_contract_without_targets_is_refused() -> None:
    with pytest.raises(ContractError, match="target_position"):
        SituationReader.of(load_contract("tabletop_panda"))


def test_same_observation_and_seed_same_chunk(policy: TargetPolicy) -> None:
    first, again, other = (policy.predict(observation(), seed).actions for seed in (1, 1, 2))
    assert first.shape == (CONTRACT.horizon, 8) and np.array_equal(first, again) and not np.allclose(first, other)
    assert np.allclose(np.linalg.norm(first[:, 3:7], axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("strategy", ["rtc_prefix", "vlash"])
def test_what_will_have_been_executed_stands_at_the_beginning(policy: TargetPolicy, strategy: str) -> None:
    chunk = policy.predict(observation(NS + 100_000_000), 1, running(strategy)).actions
    assert chunk.shape == (CONTRACT.horizon, 8)
    assert np.allclose(chunk[:5, 0], 0.4 + 0.005 * (2 + np.arange(5)), atol=1e-4)
    assert not np.allclose(chunk[5:10, 0], 0.4 + 0.005 * (7 + np.arange(5)), atol=1e-3)


def test_it_corrects_as_many_steps_as_are_left(policy: TargetPolicy) -> None:
    assert isinstance(policy, Corrector)
    left = running("a2c2").actions[:7]
    corrected = policy.correct(left, 13, observation())
    assert corrected.shape == (7, 8) and not np.allclose(corrected, left, atol=1e-4)
    assert not np.allclose(corrected, policy.correct(left, 4, observation())), "the step's number counts"


def test_another_contracts_observation_is_refused(policy: TargetPolicy) -> None:
    with pytest.raises(ObservationError, match="contract 0000"):
        policy.predict(replace(observation(), contract_hash="0000"), 0)


def batch(rng: np.random.Generator, count: int) -> Batch:
    actions = np.tile(running("").actions[: CONTRACT.horizon], (count, 1, 1))
    given = rng.integers(0, 5, count)
    return {"state": states(count), "age_s": np.zeros(count, np.float32), "given": given, "actions": actions}


def test_given_steps_bear_no_loss(model: TargetFlow) -> None:
    def all_given(rng: np.random.Generator, count: int) -> Batch:
        return {**batch(rng, count), "given": np.full(count, CONTRACT.horizon - 1)}

    stage = FlowStage(model, CONTRACT, all_given, 4)
    made = next(stage.batches(np.random.default_rng(0)))
    made["chunk"][:, :-1] += 100.0 * np.random.default_rng(1).standard_normal(made["chunk"][:, :-1].shape)
    loss = float(stage.losses(made)["flow"].detach())
    assert np.isfinite(loss) and loss < 1e3


def test_each_stage_trains_its_own_part() -> None:
    torch.manual_seed(0)
    model = TargetFlow(configure(PRESET.model, CONTRACT))

    def correction(rng: np.random.Generator, count: int) -> Batch:
        made = batch(rng, count)
        return {"state": made["state"], "base": made["actions"][:, 3:], "first": np.array([3]),
                "actions": made["actions"][:, 3:] + np.float32(0.01)}  # fmt: skip

    for stage in (FlowStage(model, CONTRACT, batch, 4), CorrectorStage(model, CONTRACT, correction, 4)):
        model.zero_grad(set_to_none=True)
        losses = stage.losses(next(stage.batches(np.random.default_rng(0))))
        sum(loss for name, loss in losses.items() if loss.requires_grad).backward()  # type: ignore[union-attr]
        touched = {id(p) for p in model.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        assert touched and touched <= {id(p) for p in stage.parameters()}


def test_sampled_chunks_are_those_of_the_contract(model: TargetFlow) -> None:
    chunks = sample_chunks(model, CONTRACT, states(5), 2, 0)
    assert chunks.shape == (5, CONTRACT.horizon, 8) and np.isfinite(chunks).all()
