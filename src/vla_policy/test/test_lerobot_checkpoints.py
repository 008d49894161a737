"""LeRobot's checkpoints: our networks give the actions that LeRobot's give, and a wrong folder says what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from toy_checkpoints import golden, pictures_and_state, write

from vla_core.contract import Contract, load_contract
from vla_core.errors import PolicyError, UnknownNameError, WeightsError
from vla_core.types import Observation
from vla_policy.checkpoints import lerobot_policy, pi0, smolvla
from vla_policy.checkpoints.lerobot_files import read_checkpoint
from vla_policy.checkpoints.lerobot_policy import LerobotPolicy
from vla_policy.checkpoints.scaling import MODES, Scaling
from vla_policy.core.blocks.decoder import DecoderConfig
from vla_policy.core.blocks.vit import VitConfig
from vla_policy.core.policy import load_policy
from vla_policy.core.preset import Preset

STATE = ["j1", "j2", "j3", "j4", "gripper_width"]
ACTION = ["j1", "j2", "j3", "j4"]


class GoldenNoise:
    """Draws what LeRobot was given."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.RandomState(4)

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> Any:
        return self.draw.standard_normal(shape).astype(dtype)


def shrink(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Language models of the golden files' sizes."""
    monkeypatch.setitem(pi0.GEMMA, "gemma_2b", DecoderConfig(32, 2, 4, 1, 8, 48))
    monkeypatch.setitem(pi0.GEMMA, "gemma_300m", DecoderConfig(24, 2, 4, 1, 8, 40))
    monkeypatch.setattr(pi0, "VISION", VitConfig(width=16, layers=2, heads=2, hidden=20, patch=14, image=28))
    monkeypatch.setattr(pi0, "VOCABULARY", 64)
    (tmp_path / "config.json").write_text(json.dumps(golden("lerobot_smolvla")["vlm"]))
    sizes = smolvla.smolvlm_sizes(str(tmp_path))
    monkeypatch.setitem(smolvla.SMOLVLM, "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", sizes)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LeRobot's noise, and language models of the golden files' sizes."""
    monkeypatch.setattr(lerobot_policy.np.random, "default_rng", GoldenNoise)
    shrink(monkeypatch, tmp_path)


def contract(tmp_path: Path, horizon: int = 6, size: tuple[int, int] = (56, 40), **names: list[str]) -> Contract:
    cameras = names.get("cameras", ["front", "wrist"])
    action = names.get("action", ACTION)
    data = {
        "name": "toy_joints",
        "robot": "toy",
        "observation": {
            "rate_hz": 20,
            "max_skew_s": 0.03,
            "max_age_s": 0.25,
            "cameras": [{"name": n, "width": size[0], "height": size[1], "encoding": "rgb8"} for n in cameras],
            "state": [{"key": "joint_position", "names": names.get("state", STATE), "unit": "rad"}],
        },
        "action": {
            "space": "joint_position",
            "rate_hz": 20,
            "horizon": horizon,
            "names": action,
            "units": ["rad"] * len(action),
        },
    }
    path = tmp_path / "toy_joints.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_contract(str(path))


def observation(of: Contract, seed: int, stamp_s: float = 1.0, task: str = "put it", **given: Any) -> Observation:
    rgb, state = pictures_and_state(seed)
    valid = np.ones(len(of.view_names), bool)
    rgb, state = given.get("rgb", rgb), given.get("state", state)
    return Observation(round(stamp_s * 1e9), task, of.hash, of.view_names, valid, rgb, of.state_names, state)


def load(folder: Path, of: Contract, **model: Any) -> LerobotPolicy:
    preset = Preset("toy", "lerobot", of.name, str(folder), model, {}, {})
    return LerobotPolicy.load(preset, of, None)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("act", 1e-5),
        ("act_pre_norm", 1e-5),
        ("diffusion", 1e-5),
        ("diffusion_shared", 1e-5),
        ("pi0", 1e-4),
        ("smolvla", 1e-4),
        ("smolvla_half", 1e-4),
    ],
)
def test_the_actions_are_those_of_lerobot(name: str, tolerance: float, tmp_path: Path) -> None:
    data = write(f"lerobot_{name}", tmp_path / name)
    of = contract(tmp_path, horizon=len(data["actions"]))
    policy = load(tmp_path / name, of)
    if policy.model.history > 1:
        policy.predict(observation(of, 3, 1.0, data.get("task", "put it")), 0)
    actions = policy.predict(observation(of, 2, 1.05, data.get("task", "put it")), 0).actions
    np.testing.assert_allclose(actions, np.array(data["actions"]), atol=tolerance)
    assert np.ptp(np.array(data["actions"]), axis=0).min() > 10 * tolerance  # else the test would be blind


def test_a_preset_names_the_folder(tmp_path: Path) -> None:
    write("lerobot_pi0", tmp_path / "pi0")
    of = contract(tmp_path)
    preset = {"name": "toy", "policy": "lerobot", "contract": of.name, "weights": str(tmp_path / "pi0")}
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({**preset, "model": {}, "decoding": {}, "training": {}}))
    assert load_policy(str(path), of).predict(observation(of, 2), 0).actions.shape == (6, 4)


def test_the_oldest_observation_is_the_one_of_a_step_ago(tmp_path: Path) -> None:
    data = write("lerobot_diffusion", tmp_path / "d")
    of = contract(tmp_path, horizon=7)
    policy = load(tmp_path / "d", of)
    for stamp, seed in ((0.9, 5), (0.95, 6), (1.0, 3), (1.02, 7)):
        policy.predict(observation(of, seed, stamp), 0)
    actions = policy.predict(observation(of, 2, 1.05), 0).actions
    np.testing.assert_allclose(actions, np.array(data["actions"]), atol=1e-5)
    other = policy.predict(observation(of, 2, 1.1, "take it"), 0).actions  # a new instruction has no past
    assert np.abs(other - actions).max() > 1e-3


def test_older_names_of_pi0_are_known(tmp_path: Path) -> None:
    """As openpi wrote them: no prefix, SigLIP one level deeper, words under the name of the output layer only."""
    data = write("lerobot_pi0", tmp_path / "pi0")
    file = tmp_path / "pi0" / "model.safetensors"
    old = {}
    for key, tensor in load_file(file).items():
        name = key.removeprefix("model.").replace("vision_tower.", "vision_tower.vision_model.")
        old[name.replace("action_time_mlp_", "time_mlp_")] = tensor
    words = old.pop("paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight")
    old["paligemma_with_expert.paligemma.lm_head.weight"] = words
    save_file(old, file)
    of = contract(tmp_path)
    actions = load(tmp_path / "pi0", of).predict(observation(of, 2), 0).actions
    np.testing.assert_allclose(actions, np.array(data["actions"]), atol=3e-4)
    del old["paligemma_with_expert.paligemma.lm_head.weight"]
    save_file(old, file)
    with pytest.raises(WeightsError, match="embed_tokens"):
        load(tmp_path / "pi0", of)


def test_bfloat16_stays_near(tmp_path: Path) -> None:
    data = write("lerobot_smolvla", tmp_path / "s")
    of = contract(tmp_path)
    policy = load(tmp_path / "s", of, dtype="bfloat16")
    assert policy.model.get_parameter("decoder.layers.0.query.weight").dtype == torch.bfloat16
    actions = policy.predict(observation(of, 2), 0).actions
    np.testing.assert_allclose(actions, np.array(data["actions"]), atol=0.05)


def test_a_view_that_the_robot_lacks_is_left_out(tmp_path: Path) -> None:
    """As in LeRobot, where an absent image is masked: whatever it would show has no influence."""
    write("lerobot_pi0", tmp_path / "pi0")
    of = contract(tmp_path, cameras=["front"])
    rgb, _ = pictures_and_state(2)
    alone = load(tmp_path / "pi0", of, views=["front", ""]).predict(observation(of, 2, rgb=rgb[:1]), 0).actions
    both = contract(tmp_path)
    assert np.abs(alone - load(tmp_path / "pi0", both).predict(observation(both, 2), 0).actions).max() > 1e-3
    with pytest.raises(PolicyError, match="views"):
        load(tmp_path / "pi0", of)


def test_columns_go_by_name(tmp_path: Path) -> None:
    data = write("lerobot_act", tmp_path / "act")
    shuffled = contract(tmp_path, state=["gripper_width", *STATE[:4], "unused"], action=ACTION[::-1])
    _, state = pictures_and_state(2)
    seen = np.concatenate([state[4:], state[:4], [9.0]]).astype(np.float32)
    policy = load(tmp_path / "act", shuffled, state=STATE, action=ACTION)
    actions = policy.predict(observation(shuffled, 2, state=seen), 0).actions
    np.testing.assert_allclose(actions[:, ::-1], np.array(data["actions"]), atol=1e-5)


def test_it_answers_in_the_contracts_units(tmp_path: Path) -> None:
    write("lerobot_act", tmp_path / "act")
    of = contract(tmp_path)
    scale, offset = (0.5, 2.0, -1.0, 0.1), (0.0, 1.0, 0.0, -3.0)
    plain, scaled = (
        load(tmp_path / "act", of, **model).predict(observation(of, 2), 0).actions
        for model in ({}, {"scale": scale, "offset": offset})
    )
    np.testing.assert_allclose(scaled, np.array(scale) * plain + np.array(offset), atol=1e-5)


def test_relative_actions_become_absolute(tmp_path: Path) -> None:
    data = write("lerobot_pi0", tmp_path / "pi0")
    path = tmp_path / "pi0" / "policy_preprocessor.json"
    steps = json.loads(path.read_text())
    for step in steps["steps"]:
        if step["registry_name"] == "relative_actions_processor":
            step["config"] = {
                "enabled": True,
                "exclude_joints": ["J3"],
                "action_names": ["j1.pos", "j2", "j3.pos", "j4"],
            }
    path.write_text(json.dumps(steps))
    of = contract(tmp_path)
    actions = load(tmp_path / "pi0", of).predict(observation(of, 2), 0).actions
    _, state = pictures_and_state(2)
    added = state[:4] * np.array([1, 1, 0, 1], np.float32)
    np.testing.assert_allclose(actions - added, np.array(data["actions"]), atol=3e-4)


@pytest.mark.parametrize("mode", [*MODES])
@settings(max_examples=40, deadline=None)
@given(low=st.floats(-5, 5), width=st.floats(0.01, 5), x=st.floats(-10, 10))
def test_scaling_is_inverted(mode: str, low: float, width: float, x: float) -> None:
    first, second = MODES[mode]
    other = width if mode == "MEAN_STD" else low + width
    scaling = Scaling.of(mode, {first: torch.tensor([low]), second: torch.tensor([other])}, 1e-8, "toy")
    value = torch.tensor([x])
    torch.testing.assert_close(scaling.inverse(scaling.forward(value)), value, atol=1e-4, rtol=1e-4)
    ends = scaling.forward(torch.tensor([low, low + width]))
    expected = [0.0, 1.0] if mode == "MEAN_STD" else [-1.0, 1.0]
    torch.testing.assert_close(ends, torch.tensor(expected), atol=1e-2, rtol=1e-2)


def test_a_range_of_zero_maps_to_its_end() -> None:
    same = {"min": torch.tensor([2.0]), "max": torch.tensor([2.0])}
    scaling = Scaling.of("MIN_MAX", same, 1e-8, "toy")
    assert scaling.forward(torch.tensor([2.0])).item() == -1.0
    assert scaling.inverse(torch.tensor([0.3])).item() == pytest.approx(2.0)


def test_statistics_among_the_weights_are_found(tmp_path: Path) -> None:
    """As LeRobot wrote them before 0.4."""
    data = write("lerobot_act", tmp_path / "act")
    tensors = load_file(tmp_path / "act" / "model.safetensors")
    for name in list((tmp_path / "act").glob("policy_*")):
        name.unlink()
    statistics = data["statistics"]["policy_preprocessor_step_3_normalizer_processor.safetensors"]
    for key, value in statistics.items():
        feature, _, statistic = key.rpartition(".")
        group = "unnormalize_outputs" if feature == "action" else "normalize_inputs"
        tensors[f"{group}.buffer_{feature.replace('.', '_')}.{statistic}"] = torch.tensor(value)
    save_file(tensors, tmp_path / "act" / "model.safetensors")
    of = contract(tmp_path)
    actions = load(tmp_path / "act", of).predict(observation(of, 2), 0).actions
    np.testing.assert_allclose(actions, np.array(data["actions"]), atol=1e-5)


def test_weights_of_another_network_are_named_by_group(tmp_path: Path) -> None:
    write("lerobot_smolvla", tmp_path / "s")
    file = tmp_path / "s" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.vlm_with_expert.lm_expert.layers.1.self_attn.k_proj.weight"]
    tensors["model.vlm_with_expert.vlm.model.text_model.layers.9.mlp.up_proj.weight"] = torch.zeros(1)
    tensors["model.state_proj.weight"] = torch.zeros(32, 9)
    save_file(tensors, file)
    with pytest.raises(
        WeightsError, match=r"1 missing \(expert\.layers x1\); 1 unexpected \(decoder\.layers x1\)"
    ) as e:
        load(tmp_path / "s", contract(tmp_path))
    assert "of another shape (state.weight x1)" in str(e.value)


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    write("lerobot_pi0", tmp_path / "p")
    file = tmp_path / "p" / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    names = sorted(tensors)
    places = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == shard}, tmp_path / "p" / shard)
    index = tmp_path / "p" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    again = read_checkpoint(tmp_path / "p").tensors
    assert all(torch.equal(again[name], tensors[name]) for name in names)
    index.write_text(json.dumps({"weight_map": {**places, "lost.weight": places[names[0]]}}))
    with pytest.raises(WeightsError, match=r"lost\.weight"):
        read_checkpoint(tmp_path / "p")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"type": "tdmpc3"}, UnknownNameError, "act, diffusion, pi0, smolvla"),
        ({"paligemma_variant": "gemma_7b"}, UnknownNameError, "gemma_2b"),
        ({"input_features": None}, WeightsError, "input_features"),
    ],
)
def test_a_foreign_configuration(change: dict[str, Any], error: type[Exception], says: str, tmp_path: Path) -> None:
    write("lerobot_pi0", tmp_path / "p")
    path = tmp_path / "p" / "config.json"
    data = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    with pytest.raises(error, match=says):
        load(tmp_path / "p", contract(tmp_path))


def test_a_processor_step_that_is_unknown_is_refused(tmp_path: Path) -> None:
    write("lerobot_act", tmp_path / "act")
    path = tmp_path / "act" / "policy_postprocessor.json"
    data = json.loads(path.read_text())
    data["steps"].append({"registry_name": "flip_everything", "config": {}})
    path.write_text(json.dumps(data))
    with pytest.raises(PolicyError, match="flip_everything"):
        load(tmp_path / "act", contract(tmp_path))


def test_contracts_that_do_not_fit(tmp_path: Path) -> None:
    write("lerobot_act", tmp_path / "act")
    shutil.copytree(tmp_path / "act", tmp_path / "bare")
    for wrong, says in (
        (contract(tmp_path, size=(64, 48)), "56 x 40"),
        (contract(tmp_path, horizon=7), "at most the 6"),
        (contract(tmp_path, state=STATE[:3]), "state of 3 numbers"),
        (contract(tmp_path, action=ACTION[:3]), "the 4 of"),
        (contract(tmp_path, cameras=["front", "left"]), "views"),
    ):
        with pytest.raises(PolicyError, match=says):
            load(tmp_path / "act", wrong)


def test_a_base_model_without_statistics_says_so(tmp_path: Path) -> None:
    write("lerobot_smolvla", tmp_path / "s")
    path = tmp_path / "s" / "policy_preprocessor.json"
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        path = tmp_path / "s" / name
        data = json.loads(path.read_text())
        for step in data["steps"]:
            step.pop("state_file", None)
        path.write_text(json.dumps(data))
    with pytest.raises(WeightsError, match=r"observation\.state without mean and std"):
        load(tmp_path / "s", contract(tmp_path))


def test_a_missing_tokenizer_says_where_it_belongs(tmp_path: Path) -> None:
    write("lerobot_pi0", tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / "tokenizer")
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        load(tmp_path / "p", contract(tmp_path))
