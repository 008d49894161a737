"""The policy as the node meets it: it answers what fits, the same on every backend, and refuses the rest in words."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file
from toy_demonstrations import observation

from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError, ObservationError, PolicyError, UnknownNameError, UnknownObjectError
from vla_core.types import Running
from vla_policy.core.backends import Decoding
from vla_policy.core.keypoint_policy import KeypointPolicy
from vla_policy.core.policy import Policy, check_strategy, load_policy
from vla_policy.core.weights import load_weights
from vla_policy.training.session import Options, Session


@pytest.fixture(scope="module")
def weights(trained: Path) -> str:
    return str(trained / "toy_flow.safetensors")


@pytest.fixture(scope="module")
def policy(preset_file: Path, contract: Contract, weights: str) -> Policy:
    return load_policy(str(preset_file), contract, "torch", weights)


def test_a_chunk_is_whole_and_in_the_contracts_units(policy: Policy, contract: Contract) -> None:
    out = policy.predict(observation(contract), 0)
    assert out.actions.shape == (contract.horizon, len(contract.action_names)) and out.actions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(out.actions[:, 3:7], axis=1), 1.0, atol=1e-5)
    assert np.all((out.actions[:, 7] >= 0) & (out.actions[:, 7] <= 1)) and 0 <= out.success_estimate <= 1
    assert out.roles is not None and out.roles.uv.shape[0] == len(contract.cameras)


def test_the_seed_decides_the_noise_and_nothing_else_does(policy: Policy, contract: Contract) -> None:
    first = policy.predict(observation(contract), 1).actions
    other = policy.predict(observation(contract), 2).actions
    policy.predict(observation(contract, 5, "lift the blue cube"), 3)  # leaves nothing behind
    np.testing.assert_array_equal(policy.predict(observation(contract), 1).actions, first)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("head", ["flow", "l1"])
def test_openvino_answers_like_torch(
    preset_file: Path, contract: Contract, weights: str, head: str, tmp_path: Path
) -> None:
    path = tmp_path / "variant.yaml"
    path.write_text(preset_file.read_text(encoding="utf-8").replace("head: flow\n", f"head: {head}\n"), "utf-8")
    one, other = (load_policy(str(path), contract, backend, weights) for backend in ("torch", "openvino"))
    for seed in range(3):
        seen = observation(contract, seed)
        expected, found = one.predict(seen, seed), other.predict(seen, seed)
        np.testing.assert_allclose(found.actions, expected.actions, atol=2e-3)
        assert found.success_estimate == pytest.approx(expected.success_estimate, abs=1e-2)
    assert isinstance(one, KeypointPolicy)
    assert np.array_equal(one.predict(seen, 0).actions, one.predict(seen, 1).actions) == (head == "l1")
    assert ("bid" in one.strategies) == (head == "flow")


@pytest.fixture(scope="module")
def corrected(data: Path, preset_file: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights that know future states and correct chunks, after a few steps of each."""
    out = tmp_path_factory.mktemp("corrected")
    options = Options(data, out, str(preset_file), {}, {"expert": 5, "corrector": 5}, trained / "toy_flow.safetensors")
    session = Session(replace(options, device="cpu", future=True))
    session.run("expert")
    session.run("corrector")
    return str(out / "toy_flow.safetensors")


def running(contract: Contract, strategy: str, stamp_ns: int) -> Running:
    actions = np.zeros((20, 8), np.float32)
    actions[:, 0], actions[:, 3] = 0.4 + 0.005 * np.arange(20), 1.0
    return Running(strategy, stamp_ns, contract.dt_s, actions, 4, 20)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_chunk_for_a_future_state_begins_with_what_runs_until_then(
    preset_file: Path, contract: Contract, corrected: str, backend: str
) -> None:
    """VLASH; the rest is drawn for the state in which it will take effect, and both backends draw the same."""
    policy = load_policy(str(preset_file), contract, backend, corrected)
    seen = observation(contract)
    motion = running(contract, "vlash", seen.stamp_ns)
    told, free = policy.predict(seen, 1, motion).actions, policy.predict(seen, 1).actions
    np.testing.assert_allclose(told[:4, :3], motion.actions[:4, :3], atol=1e-6)
    assert not np.allclose(told[4:, :3], free[: len(told) - 4, :3], atol=1e-4)
    torch_policy = load_policy(str(preset_file), contract, "torch", corrected)
    np.testing.assert_allclose(told, torch_policy.predict(seen, 1, motion).actions, atol=2e-3)


def test_a_policy_says_which_strategies_it_serves(
    preset_file: Path, contract: Contract, weights: str, tmp_path: Path
) -> None:
    preset = yaml.safe_load(preset_file.read_text(encoding="utf-8"))
    del preset["model"]["future"], preset["model"]["corrector"]
    plain, kept = tmp_path / "plain.yaml", tmp_path / "plain.safetensors"
    plain.write_text(yaml.safe_dump(preset), encoding="utf-8")
    tensors, metadata = load_weights(Path(weights), contract.hash)
    left = {name: t for name, t in tensors.items() if name.partition(".")[0] not in ("future", "corrector")}
    save_file(left, kept, {key: json.dumps(value) for key, value in asdict(metadata).items()})
    policy = load_policy(str(plain), contract, "torch", str(kept))
    assert policy.strategies == {"rtc_guided", "rtc_prefix", "bid"}
    check_strategy("rtc_prefix", policy.strategies, policy.name)
    check_strategy("naive_async", frozenset(), "any")
    for strategy in ("vlash", "a2c2"):
        with pytest.raises(
            PolicyError, match=f"strategy '{strategy}' with policy 'toy_flow', which serves bid, rtc_gui"
        ):
            check_strategy(strategy, policy.strategies, policy.name)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_what_is_left_of_a_chunk_is_corrected(
    preset_file: Path, contract: Contract, corrected: str, backend: str
) -> None:
    policy = load_policy(str(preset_file), contract, backend, corrected)
    assert isinstance(policy, KeypointPolicy) and "a2c2" in policy.strategies
    left = policy.predict(observation(contract), 1).actions[2:]
    one, other = (policy.correct(left, 2, observation(contract, seed)) for seed in (0, 5))
    assert one.shape == left.shape and not np.array_equal(one, left) and not np.array_equal(one, other)


def _broken(contract: Contract) -> dict[str, tuple[dict[str, Any], str]]:
    state = np.zeros(len(contract.state_names), np.float32)
    views = len(contract.cameras)
    return {
        "another contract": ({"contract_hash": "0" * 16}, "start all nodes with one contract"),
        "another order of views": ({"view_names": contract.view_names[::-1]}, "views"),
        "another size": ({"rgb": np.zeros((views, 16, 16, 3), np.uint8)}, "uint8"),
        "another type": ({"rgb": np.zeros((views, 32, 32, 3), np.float32)}, "uint8"),
        "a blind camera": ({"view_valid": np.arange(views) > 0}, f"no fresh image of {contract.view_names[0]}"),
        "other joint names": ({"state_names": ("knee", *contract.state_names[1:])}, "knee"),
        "too few numbers": ({"state": state[:-1]}, "shape"),
        "NaN": ({"state": np.full_like(state, np.nan)}, "NaN or infinity"),
        "no instruction": ({"instruction": "  "}, "no instruction"),
    }


@pytest.mark.parametrize("name", sorted(_broken(load_contract("tabletop_panda"))))
def test_observations_that_do_not_fit_are_refused(policy: Policy, contract: Contract, name: str) -> None:
    changes, says = _broken(contract)[name]
    with pytest.raises(ObservationError, match=r"got .*; expected .*; fix: ") as error:
        policy.predict(observation(contract, **changes), 0)
    assert says in str(error.value)


def test_what_was_never_taught_is_named(policy: Policy, contract: Contract) -> None:
    with pytest.raises(UnknownObjectError, match=r"banana.*red cube"):
        policy.predict(observation(contract, instruction="pick up the banana"), 0)


def test_a_model_that_breaks_is_refused(policy: Policy, contract: Contract) -> None:
    class Broken:
        def __init__(self, backend: Any) -> None:
            self.read = backend.read
            self._backend = backend

        def infer(self, *arguments: Any) -> Any:
            return self._backend.infer(*arguments)._replace(chunk=np.full((9, 7), np.nan, np.float32))

    assert isinstance(policy, KeypointPolicy)
    broken = KeypointPolicy("broken", contract, Broken(policy.backend), policy.vocabulary, 32, policy._trained)
    with pytest.raises(PolicyError, match="chunk with NaN"):
        broken.predict(observation(contract), 0)


def test_nothing_is_reported_over_the_network(preset_file: Path, contract: Contract, weights: str) -> None:
    load_policy(str(preset_file), contract, "openvino", weights)
    import openvino.tools.ovc.telemetry_utils as told

    assert told.tm.__name__.endswith("telemetry_stub")


def test_names_that_do_not_exist_list_those_that_do(preset_file: Path, contract: Contract, weights: str) -> None:
    with pytest.raises(UnknownNameError, match="tabletop_flow"):
        load_policy("gpt", contract)
    with pytest.raises(UnknownNameError, match="auto, openvino, torch"):
        load_policy(str(preset_file), contract, "tpu", weights)
    with pytest.raises(ConfigError, match="at least 1 step"):
        Decoding("flow", 0).check()


def test_weights_of_another_contract_are_refused(preset_file: Path, contract: Contract, weights: str) -> None:
    other = load_contract("tabletop_panda")
    with pytest.raises(PolicyError, match=f"{contract.hash}.*{other.hash}"):
        load_policy(str(preset_file), replace(other), "torch", weights)
