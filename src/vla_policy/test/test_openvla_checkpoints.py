"""OpenVLA's and OFT's folders: our network says what theirs says, and nothing but actions reaches the robot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from toy_checkpoints import pictures_and_state, write_openvla

from vla_core import rotations
from vla_core.contract import Contract, load_contract
from vla_core.errors import PolicyError, UnknownNameError, WeightsError
from vla_core.types import Observation
from vla_policy.checkpoints import openvla
from vla_policy.checkpoints.openvla_policy import OpenVlaPolicy, cropped, squared
from vla_policy.core.blocks.vit import VitConfig
from vla_policy.core.policy import load_policy
from vla_policy.core.preset import Preset

OFT: dict[str, Any] = {"data": "bridge_orig", "chunk": 3, "views": ["front", "wrist"], "rotation": "rotvec"}
PLAIN: dict[str, Any] = {"data": "bridge_orig", "views": ["front"], "rotation": "rotvec"}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    dino = VitConfig(16, 3, 2, 64, 14, 28, "gelu", class_token=True, registers=4, layer_scale=True, norm=False)
    monkeypatch.setitem(openvla.VISION, "vit_large_patch14_reg4_dinov2.lvd142m", dino)
    monkeypatch.setitem(
        openvla.VISION, "vit_so400m_patch14_siglip_224", VitConfig(24, 3, 2, 89, 14, 28, "gelu", norm=False)
    )


def contract(tmp_path: Path, horizon: int = 1) -> Contract:
    columns = ["dx", "dy", "dz", "rx", "ry", "rz"]
    data = {
        "name": "toy_deltas",
        "robot": "toy",
        "observation": {
            "rate_hz": 5,
            "max_skew_s": 0.05,
            "max_age_s": 0.3,
            "cameras": [{"name": n, "width": 56, "height": 40, "encoding": "rgb8"} for n in ("front", "wrist")],
            "state": [{"key": "joint_position", "names": ["a", "b", "c", "d", "e"], "unit": "rad"}],
        },
        "action": {
            "rate_hz": 5,
            "horizon": horizon,
            "parts": [
                {
                    "space": "tool_delta",
                    "frame": "base",
                    "relative_to": "previous_step",
                    "reference": "commanded",
                    "names": columns,
                    "units": ["m"] * 3 + ["rad"] * 3,
                },
                {"space": "gripper", "kind": "binary", "names": ["gripper"], "units": ["0 closed, 1 open"]},
            ],
        },
    }
    path = tmp_path / "toy_deltas.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_contract(str(path))


def observation(of: Contract, task: str = "Put It") -> Observation:
    rgb, state = pictures_and_state(2)
    return Observation(1, task, of.hash, of.view_names, np.ones(2, bool), rgb, of.state_names, state)


def load(folder: Path, of: Contract, **model: Any) -> OpenVlaPolicy:
    return OpenVlaPolicy.load(Preset("toy", "openvla", of.name, str(folder), model, {}, {}), of, None)


def test_the_action_is_that_of_openvla(tmp_path: Path) -> None:
    data = write_openvla(tmp_path / "vla", oft=False)
    of = contract(tmp_path)
    policy = load(tmp_path / "vla", of, **PLAIN)
    assert policy.tokens("Put It") == data["tokens"]
    actions = policy.predict(observation(of), 0).actions
    np.testing.assert_allclose(actions, [data["action"]], atol=1e-5)


def test_the_chunk_is_that_of_oft(tmp_path: Path) -> None:
    """Two views, the state, the L1 head; one pass for all T*D values."""
    data = write_openvla(tmp_path / "oft", oft=True)
    of = contract(tmp_path, horizon=3)
    policy = load(tmp_path / "oft", of, **OFT)
    passes: list[int] = []
    policy.model.decoder.register_forward_hook(lambda *_: passes.append(1))
    actions = policy.predict(observation(of), 0).actions
    np.testing.assert_allclose(actions, data["chunk"], atol=2e-3)  # torch and PIL round pixels differently
    assert len(passes) == 1


def test_the_tokens_of_one_pass_are_those_of_oft_without_a_head(tmp_path: Path) -> None:
    data = write_openvla(tmp_path / "oft", oft=True)
    (tmp_path / "oft" / "action_head--150_checkpoint.pt").unlink()
    of = contract(tmp_path, horizon=3)
    actions = load(tmp_path / "oft", of, **OFT).predict(observation(of), 0).actions
    np.testing.assert_allclose(actions, data["discrete"], atol=1e-5)


def test_one_pass_per_dimension_and_only_action_tokens(tmp_path: Path) -> None:
    """A model that would rather talk is held to its action tokens."""
    write_openvla(tmp_path / "vla", oft=False)
    of = contract(tmp_path)
    policy = load(tmp_path / "vla", of, **PLAIN)
    passes: list[int] = []
    policy.model.decoder.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        policy.model.speak.weight[100] *= 1e4
        policy.model.speak.weight[101] = -policy.model.speak.weight[100]
    low, high = policy.low.numpy(), policy.high.numpy()
    actions = policy.predict(observation(of), 0).actions[0]
    assert len(passes) == 7
    assert (actions[:6] >= low[:6]).all() and (actions[:6] <= high[:6]).all()


def test_roll_pitch_yaw_become_a_rotation_vector(tmp_path: Path) -> None:
    data = write_openvla(tmp_path / "vla", oft=False)
    of = contract(tmp_path)
    actions = load(tmp_path / "vla", of, **{**PLAIN, "rotation": "rpy"}).predict(observation(of), 0).actions
    roll, pitch, yaw = data["action"][3:6]
    c, s = np.cos, np.sin
    matrix = (
        np.array([[c(yaw), -s(yaw), 0], [s(yaw), c(yaw), 0], [0, 0, 1]])
        @ np.array([[c(pitch), 0, s(pitch)], [0, 1, 0], [-s(pitch), 0, c(pitch)]])
        @ np.array([[1, 0, 0], [0, c(roll), -s(roll)], [0, s(roll), c(roll)]])
    )
    np.testing.assert_allclose(rotations.to_matrix(rotations.from_rotvec(actions[0, 3:6])), matrix, atol=1e-5)


def test_statistics_of_the_fine_tuned_data_win(tmp_path: Path) -> None:
    data = write_openvla(tmp_path / "vla", oft=False)
    numbers = data["files"]["config.json"]["norm_stats"]["bridge_orig"]
    numbers["action"] |= {"min": numbers["action"]["q01"], "max": [h + 1.0 for h in numbers["action"]["q99"]]}
    (tmp_path / "vla" / "dataset_statistics.json").write_text(json.dumps({"mine": numbers}))
    of = contract(tmp_path)
    model = {key: value for key, value in PLAIN.items() if key != "data"}
    narrow = load(tmp_path / "vla", of, **model).predict(observation(of), 0).actions[0, :6]
    wide = load(tmp_path / "vla", of, bounds="minmax", **model).predict(observation(of), 0).actions[0, :6]
    low, high = (np.array(numbers["action"][key][:6]) for key in ("q01", "q99"))
    np.testing.assert_allclose((wide - low) / (high - low + 1), (narrow - low) / (high - low), atol=1e-4)


def test_bfloat16_stays_near(tmp_path: Path) -> None:
    data = write_openvla(tmp_path / "oft", oft=True)
    of = contract(tmp_path, horizon=3)
    actions = load(tmp_path / "oft", of, dtype="bfloat16", **OFT).predict(observation(of), 0).actions
    np.testing.assert_allclose(actions, data["chunk"], atol=0.1)


def test_a_preset_names_the_folder(tmp_path: Path) -> None:
    write_openvla(tmp_path / "vla", oft=False)
    of = contract(tmp_path)
    preset = {"name": "toy", "policy": "openvla", "contract": of.name, "weights": str(tmp_path / "vla")}
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({**preset, "model": PLAIN, "decoding": {}, "training": {}}))
    assert load_policy(str(path), of).predict(observation(of), 0).actions.shape == (1, 7)


def test_the_crop_keeps_ninety_percent_of_the_area() -> None:
    """A ramp stays a ramp, with ends that lie sqrt(0.9) as far apart."""
    ramp = torch.linspace(0, 255, 101).round().to(torch.uint8).expand(1, 3, 50, 101)
    out = cropped(ramp)[0, 0].float()
    spread = (out[0, -1] - out[0, 0]) / 255
    assert spread.item() == pytest.approx(0.9**0.5, abs=0.01)
    assert out[0, 50].item() == pytest.approx(127.5, abs=1.5)


def test_letterboxes_are_square_and_of_the_mean_colour() -> None:
    out = squared(torch.full((1, 3, 40, 56), 200, dtype=torch.uint8), (0.5, 0.25, 0.0))
    assert out.shape == (1, 3, 56, 56)
    assert out[0, :, 0, 0].tolist() == [127, 63, 0]
    assert (out[0, :, 8:48] == 200).all()


@pytest.mark.parametrize(
    ("change", "model", "error", "says"),
    [
        ({}, {**PLAIN, "data": "no_such"}, UnknownNameError, "bridge_orig, other"),
        ({}, {**PLAIN, "data": ""}, UnknownNameError, "bridge_orig, other"),
        ({"timm_model_ids": ["vit_tiny"], "image_sizes": [28]}, PLAIN, UnknownNameError, "siglip_224"),
        ({"model_type": "llava"}, PLAIN, WeightsError, "llava"),
        ({"text_config": {"model_type": "mistral"}}, PLAIN, UnknownNameError, "llama"),
        ({"image_resize_strategy": "stretch"}, {**PLAIN, "views": []}, PolicyError, "the one that"),
        ({}, {**PLAIN, "bounds": "sigma"}, UnknownNameError, "minmax"),
    ],
)
def test_what_does_not_fit(
    change: dict[str, Any], model: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    write_openvla(tmp_path / "vla", oft=False)
    path = tmp_path / "vla" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=says):
        load(tmp_path / "vla", contract(tmp_path), **model)


def test_parts_that_are_not_served_are_refused(tmp_path: Path) -> None:
    write_openvla(tmp_path / "oft", oft=True)
    of = contract(tmp_path, horizon=3)
    with pytest.raises(PolicyError, match="chunk"):
        load(tmp_path / "oft", contract(tmp_path), **PLAIN)
    torch.save({}, tmp_path / "oft" / "vision_backbone--150_checkpoint.pt")
    with pytest.raises(PolicyError, match="vision_backbone--150"):
        load(tmp_path / "oft", of, **OFT)


def test_weights_of_another_network_are_named_by_group(tmp_path: Path) -> None:
    write_openvla(tmp_path / "vla", oft=False)
    path = tmp_path / "vla" / "config.json"
    data = json.loads(path.read_text())
    data["text_config"]["num_hidden_layers"] = 3
    path.write_text(json.dumps(data))
    with pytest.raises(WeightsError, match=r"9 missing \(decoder\.layers x9\)"):
        load(tmp_path / "vla", contract(tmp_path), **PLAIN)


def test_it_answers_in_the_contracts_units(tmp_path: Path) -> None:
    write_openvla(tmp_path / "oft", oft=True)
    of = contract(tmp_path, horizon=3)
    scale, offset = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5, -2.0), (0.0,) * 6 + (1.0,)
    plain, scaled = (
        load(tmp_path / "oft", of, **OFT, **model).predict(observation(of), 0).actions
        for model in ({}, {"scale": scale, "offset": offset})
    )
    np.testing.assert_allclose(scaled, np.array(scale) * plain + np.array(offset), atol=1e-6)


def test_angles_are_scaled_before_they_become_a_rotation_vector(tmp_path: Path) -> None:
    """Small angles don't care for their order."""
    write_openvla(tmp_path / "oft", oft=True)
    of = contract(tmp_path, horizon=3)
    plain = load(tmp_path / "oft", of, **OFT).predict(observation(of), 0).actions
    model = {**OFT, "rotation": "rpy", "scale": (1.0,) * 3 + (1e-3,) * 3 + (1.0,)}
    small = load(tmp_path / "oft", of, **model).predict(observation(of), 0).actions
    np.testing.assert_allclose(small[:, 3:6], 1e-3 * plain[:, 3:6], atol=1e-5)
