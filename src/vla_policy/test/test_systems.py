"""Systems from demonstrations to chunks: eyes that look once, weights that know their eyes, packages from outside."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from test_system_pi0 import BACKBONE
from toy_demonstrations import observation

from vla_core.contract import Contract
from vla_core.errors import ConfigError, PolicyError, UnknownNameError, UnknownObjectError, WeightsError
from vla_core.strategies import RTC_GUIDED
from vla_core.types import Running
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.policy import Policy, load_policy
from vla_policy.core.replanner import warm_up
from vla_policy.core.system_policy import SystemPolicy
from vla_policy.core.weights import read_weights, save_weights
from vla_policy.training.session import Options
from vla_policy.training.system_session import SystemSession

STAGE = {"batch": 16, "learning_rate": 3.0e-3, "warmup_steps": 5}


@pytest.fixture(scope="module")
def eyes_file(preset_file: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy policy as eyes: its preset, with its weights."""
    content = yaml.safe_load(preset_file.read_text()) | {"weights": str(trained / "toy_flow.safetensors")}
    path = tmp_path_factory.mktemp("eyes") / "toy_eyes.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def preset(eyes_file: Path, contract_file: Path) -> dict[str, Any]:
    model = {"system": "pi0", "eyes": str(eyes_file), "backbone": BACKBONE, "expert": {"width": 24, "hidden": 48}}
    training = {
        "seed": 0, "ema": 0.9, "weight_decay": 0.0, "clip_norm": 1.0, "losses": {"flow": 1.0}, "frame_s": 0.1,
        "augmentation": {"shift_px": 1, "colour": 0.1, "blur_probability": 0.1}, "stages": {"system": STAGE},
        "recipe": [{"train": "system", "steps": 2}],
    }  # fmt: skip
    return {
        "name": "toy_pi0", "policy": "system", "contract": str(contract_file), "weights": "",
        "model": model | {"samples": 1, "prefix_steps": 4}, "decoding": {"steps": 4}, "training": training,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(preset: dict[str, Any], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """A short training of the toy system."""
    folder = tmp_path_factory.mktemp("system")
    (folder / "toy_pi0.yaml").write_text(yaml.safe_dump(preset))
    options = Options(data, folder, str(folder / "toy_pi0.yaml"), {}, {"system": 60}, None, "cpu")
    SystemSession(options).run("system")
    return options


@pytest.fixture(scope="module")
def policy(run: Options, contract: Contract) -> Policy:
    return load_policy(run.preset, contract, weights=str(run.out / "toy_pi0.safetensors"))


def test_training_brings_the_losses_down(run: Options) -> None:
    rows = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    losses = [row["losses"]["flow"] for row in rows if "losses" in row]
    assert losses[-1] < 1.0
    figures = next(row["metrics"] for row in reversed(rows) if "metrics" in row)
    assert np.isfinite(figures["held/cm"]) and figures["held/passes"] == 4


def test_the_answer_depends_on_observation_and_seed_alone(policy: Policy, contract: Contract) -> None:
    first = policy.predict(observation(contract), 1)
    policy.predict(observation(contract, 5, "lift the blue cube"), 3)
    again = policy.predict(observation(contract), 1)
    np.testing.assert_array_equal(again.actions, first.actions)
    assert not np.array_equal(policy.predict(observation(contract), 2).actions, first.actions)
    assert first.actions.shape == (contract.horizon, 8)
    np.testing.assert_allclose(np.linalg.norm(first.actions[:, 3:7], axis=1), 1.0, atol=1e-5)
    assert first.roles is not None and 0.0 <= first.success_estimate <= 1.0


def test_a_static_system_runs_by_its_graph_unless_torch_is_asked_for(policy: Policy, contract: Contract) -> None:
    """What the warm-up recorded answers alike with every instruction; what isn't static can't be asked for a graph."""
    assert isinstance(policy, SystemPolicy) and policy.recorded is not None
    parts = policy.name, policy.contract, policy.eyes, policy.system
    plain = SystemPolicy(*parts, "torch")
    assert plain.recorded is None
    warm_up(policy, contract)
    graph = policy.recorded._graph
    for seed, instruction in enumerate(("lift the blue cube", "pick up the red cube")):
        seen = observation(contract, seed, instruction)
        found, expected = policy.predict(seen, seed), plain.predict(seen, seed)
        np.testing.assert_allclose(found.actions, expected.actions, atol=1e-4)
    assert graph is not None and policy.recorded._graph is graph
    with pytest.raises(UnknownNameError, match="'tensorrt'; expected one of: auto, openvino, torch"):
        SystemPolicy(*parts, "tensorrt")
    policy.system.static = False
    try:
        assert SystemPolicy(*parts).recorded is None
        with pytest.raises(PolicyError, match="expected a static system"):
            SystemPolicy(*parts, "openvino")
    finally:
        policy.system.static = True


def test_training_and_the_robot_see_the_same(policy: Policy, run: Options, contract: Contract) -> None:
    """The sight of a frame, without disturbance, is what the policy's graph makes of the same observation."""
    session = SystemSession(replace(run, out=run.out / "again"))
    eyes = session.eyes
    seen = observation(contract)
    sight, _ = eyes.observe(seen)
    rgb, state = torch.from_numpy(seen.rgb)[None], torch.from_numpy(eyes.features.forward(seen.state))[None]
    with torch.no_grad():
        looked = eyes.look.see(eyes.look.model.see(rgb), state)
    expected = eyes.sight(looked, eyes.tell([seen.instruction]), state)
    for name, got, wanted in zip(sight._fields, sight, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=2e-3, rtol=2e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_the_eyes_look_once_at_a_data_set(run: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vla_policy.training.sights.augment", lambda *_, **__: pytest.fail("looked again"))
    SystemSession(replace(run, out=run.out / "third"))


def test_weights_know_the_eyes_that_they_were_trained_with(
    run: Options, preset: dict[str, Any], eyes_file: Path, contract: Contract, tmp_path: Path
) -> None:
    content = yaml.safe_load(eyes_file.read_text())
    blind = tmp_path / "other.safetensors"
    tensors, metadata = read_weights(Path(content["weights"]))
    other = KeypointFlow(configure(content["model"], contract))
    other.load_state_dict({name: value * 0.5 for name, value in tensors.items()})
    save_weights(blind, other, metadata)
    (tmp_path / "eyes.yaml").write_text(yaml.safe_dump(content | {"weights": str(blind)}))
    (tmp_path / "p.yaml").write_text(
        yaml.safe_dump(preset | {"model": preset["model"] | {"eyes": str(tmp_path / "eyes.yaml")}})
    )
    with pytest.raises(WeightsError, match="trained with eyes"):
        load_policy(str(tmp_path / "p.yaml"), contract, weights=str(run.out / "toy_pi0.safetensors"))


def test_what_was_never_taught_is_refused(policy: Policy, contract: Contract) -> None:
    with pytest.raises(UnknownObjectError, match="zebra"):
        policy.predict(observation(contract, 0, "pick up the zebra"), 0)


def test_a_system_with_a_field_serves_real_time_chunking(policy: Policy, contract: Contract) -> None:
    assert RTC_GUIDED in policy.strategies
    seen = observation(contract)
    free = policy.predict(seen, 0).actions
    running = Running("rtc_prefix", seen.stamp_ns, contract.dt_s, free, delay_steps=2, fresh=len(free))
    followed = policy.predict(seen, 9, running).actions
    np.testing.assert_allclose(followed[:2, :3], free[:2, :3], atol=1e-3)


def test_the_past_of_a_system_with_history(policy: Policy, contract: Contract) -> None:
    """Sights stand `history_s` apart, oldest first; a new instruction has no past."""
    assert isinstance(policy, SystemPolicy)
    past = SystemPolicy(policy.name, policy.contract, policy.eyes, policy.system)
    past.system.history, past.system.history_s = 3, 0.4
    try:
        sight, _ = policy.eyes.observe(observation(contract))
        rows = []
        for k in range(12):
            marked = sight._replace(tool=torch.full((1, 3), float(k)))
            seen = observation(contract, stamp_ns=1_000_000_000 + k * 100_000_000)
            rows.append(past._with_past(marked, seen).tool[:, 0].tolist())
        assert rows[0] == [0, 0, 0] and rows[5] == [0, 1, 5] and rows[11] == [3, 7, 11]
        other = observation(contract, 0, "lift the blue cube", stamp_ns=2_300_000_000)
        assert past._with_past(sight._replace(tool=torch.full((1, 3), 50.0)), other).tool[:, 0].tolist() == [50, 50, 50]
    finally:
        past.system.history = 1


def test_a_package_from_outside_adds_a_system(
    preset: dict[str, Any], data: Path, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One module and one entry point: trained, saved, loaded and run like ours."""
    package = tmp_path / "site" / "acme_policies"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_ACME)
    info = tmp_path / "site" / "acme_policies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-policies\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vla_policy.systems]\nacme_mean = acme_policies:make\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    model = {"system": "acme_mean", "eyes": preset["model"]["eyes"]}
    training = preset["training"] | {"losses": {"l1": 1.0}}
    content = preset | {"name": "acme", "model": model, "decoding": {}, "training": training}
    (tmp_path / "acme.yaml").write_text(yaml.safe_dump(content))
    options = Options(data, tmp_path / "out", str(tmp_path / "acme.yaml"), {}, {"system": 2}, None, "cpu")
    SystemSession(options).run("system")
    loaded = load_policy(options.preset, contract, weights=str(options.out / "acme.safetensors"))
    assert loaded.predict(observation(contract), 0).actions.shape == (contract.horizon, 8)
    sys.modules.pop("acme_policies", None)


def test_unknown_systems_stages_and_keys_are_named(preset: dict[str, Any], data: Path, tmp_path: Path) -> None:
    def session(**changes: Any) -> SystemSession:
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(preset | {"model": preset["model"] | changes}))
        return SystemSession(Options(data, tmp_path, str(tmp_path / "p.yaml"), {}, {}, None, "cpu"))

    with pytest.raises(UnknownNameError, match=r"'pi1'; expected one of: .*pi0"):
        session(system="pi1")
    with pytest.raises(ConfigError, match="unknown keys \\['sample'\\]"):
        session(sample=1)
    with pytest.raises(UnknownNameError, match="stage 'joint'; expected one of: system"):
        session().run("joint")


_ACME = """
import torch
from torch import nn

from vla_policy.core import objectives
from vla_policy.core.systems.system import Drawn, System


class Mean(System):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.chunk = nn.Parameter(torch.zeros(sizes.horizon, sizes.action_width))

    def losses(self, sight, labels):
        return {"l1": objectives.l1(self.chunk.expand_as(labels.chunk), labels.chunk, labels.known)}

    def draw(self, sight, noise):
        return Drawn(self.chunk.expand_as(noise), passes=1)


def make(model, decoding, sizes):
    return Mean(sizes)
"""
