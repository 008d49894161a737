"""`vla eval` on benchmarks of others: who may play, and what the benchmark is asked to do."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import libero_point
import numpy as np
import pytest
import yaml

from vla_bringup import third_party_suites
from vla_bringup.commands import eval as command
from vla_bringup.third_party_suites import THIRD_PARTY, SuitePolicy, check_contract, load
from vla_core.contract import load_contract
from vla_core.errors import ConfigError
from vla_core.files import config_path, load_yaml, workspace_root
from vla_core.types import Observation
from vla_policy.checkpoints import openvla
from vla_policy.core.blocks.vit import VitConfig
from vla_policy.core.policy import POLICIES, PolicyOutput
from vla_policy.core.preset import load_preset

sys.path.append(str(Path(__file__).parents[2] / "vla_policy" / "test"))
from toy_checkpoints import write_openvla

LIBERO = THIRD_PARTY["libero-spatial"]
PUBLISHED = sorted((workspace_root() / "config" / "policies" / "published").glob("*.yaml"))


class Pusher:
    """Pushes forward by 5 mm a step with a closing gripper; remembers what it was asked."""

    def __init__(self, contract_hash: str) -> None:
        self.contract_hash, self.name, self.strategies = contract_hash, "pusher", frozenset[str]()
        self.asked: list[Observation] = []

    def predict(self, observation: Observation, seed: int, running: object = None) -> PolicyOutput:
        self.asked.append(observation)
        return PolicyOutput(np.tile(np.array([0.005, 0, 0, 0, 0.05, 0, 1], np.float32), (8, 1)), 0.0, 0.0)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite plays a point in this interpreter."""
    benchmark = replace(LIBERO.benchmark, scene=Path(libero_point.__file__))
    monkeypatch.setitem(THIRD_PARTY, "libero-spatial", replace(LIBERO, benchmark=benchmark))
    monkeypatch.setattr(third_party_suites, "ensure", lambda root, name: Path(sys.executable))


def options(out: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["--suite", "libero-spatial", *words])
    args.out = out
    return args


def preset(folder: Path, **changes: Any) -> str:
    content = {"name": "toy", "policy": "toy", "contract": "libero_panda", "weights": "none"}
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({**content, "model": {}, "decoding": {}, "training": {}, **changes}))
    return str(path)


def test_one_command_plays_and_makes_rows(tmp_path: Path, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pusher = Pusher(load_contract("libero_panda").hash)
    monkeypatch.setitem(POLICIES._own, "toy", lambda *_: pusher)
    args = options(tmp_path, "--policy", preset(tmp_path), "--episodes", "2", "--task", "1,3", "--workers", "2")
    assert command.run(args) == 0
    rows = yaml.safe_load((tmp_path / "result.json").read_text())["rows"]
    assert [(row["episodes"], row["success"], row["step_limit"]) for row in rows] == [(2, 1.0, 220)] * 2 + [
        (4, 1.0, 220)
    ]
    asked = pusher.asked[0]
    assert asked.rgb.shape == (2, 224, 224, 3) and asked.rgb[:, 0, 0, 0].tolist() == [10, 200]
    assert {o.instruction for o in pusher.asked} == {LIBERO.select([n])[0].instruction for n in ("1", "3")}
    one = [o for o in pusher.asked if o.instruction == asked.instruction and o.state[6] == 0.0]
    np.testing.assert_allclose([o.state[0] for o in one], 0.04 * np.arange(len(one)), atol=1e-6)  # 8 steps of 5 mm
    np.testing.assert_allclose([o.state[4] for o in one], 0.4 * np.arange(len(one)), atol=1e-5)


def test_a_checkpoint_in_openvlas_layout_plays(tmp_path: Path, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """OFT's folder with tiny random weights: pictures of both cameras to rows of the table."""
    dino = VitConfig(16, 3, 2, 64, 14, 28, "gelu", class_token=True, registers=4, layer_scale=True, norm=False)
    monkeypatch.setitem(openvla.VISION, "vit_large_patch14_reg4_dinov2.lvd142m", dino)
    siglip = VitConfig(24, 3, 2, 89, 14, 28, "gelu", norm=False)
    monkeypatch.setitem(openvla.VISION, "vit_so400m_patch14_siglip_224", siglip)
    write_openvla(tmp_path / "oft", oft=True)
    contract = load_yaml(config_path("contracts", "libero_panda"))
    contract["action"]["horizon"] = 3
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(contract))
    model = load_yaml(config_path("policies", "published/libero_oft"))["model"] | {
        "data": "bridge_orig", "chunk": 3, "state": ["tool_x", "tool_y", "tool_z", "left_finger", "right_finger"],
        "dtype": "float32",
    }  # fmt: skip
    name = preset(tmp_path, policy="openvla", contract=str(tmp_path / "short.yaml"), weights="", model=model)
    args = options(tmp_path, "--policy", name, "--weights", str(tmp_path / "oft"), "--episodes", "1", "--task", "0")
    assert command.run(args) == 0
    content = yaml.safe_load((tmp_path / "result.json").read_text())
    assert [row["episodes"] for row in content["rows"]] == [1, 1] and content["rows"][0]["ms_per_chunk_p50"] > 0
    assert f"--weights {tmp_path / 'oft'}" in content["command"]


def test_without_a_policy_or_weights_one_sentence_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"contract 'libero_panda' and its weights .* give --policy NAME --weights"):
        command.run(options(tmp_path))
    with pytest.raises(ConfigError, match="policy 'published/libero_pi0' without weights"):
        command.run(options(tmp_path, "--policy", "published/libero_pi0"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_presets_of_published_weights_fit_the_suite(path: Path) -> None:
    found = load_preset(f"published/{path.stem}")
    contract = load_contract(found.contract)
    check_contract(contract, LIBERO)
    assert found.name == path.stem and set(found.model["views"]) <= set(contract.view_names)
    raw = np.array([[1, -1, 0.5, 1, 0, -1, 0.0]])  # in the data: closed for OpenVLA, still for the others
    drawn = raw * found.model["scale"] + found.model.get("offset", 0.0)
    gripper = 1.0 if found.policy == "openvla" else 0.0
    np.testing.assert_allclose(LIBERO.to_benchmark(drawn)[0], [1, -1, 0.5, 1, 0, -1, gripper], atol=1e-6)


def test_policies_of_other_robots_are_refused() -> None:
    for name in ("metaworld_sawyer", "tabletop_panda"):
        with pytest.raises(ConfigError, match="robot, state"):
            check_contract(load_contract(name), LIBERO)
    with pytest.raises(ConfigError, match="tabletop_panda"):
        load("libero-spatial", "tabletop_flow", "")
    check_contract(load_contract("metaworld_sawyer"), THIRD_PARTY["metaworld-mt50"])


def test_other_views_sizes_and_horizons_are_fine_and_other_conventions_are_not() -> None:
    contract = load_contract("libero_panda")
    wide, square = replace(contract.cameras[1], width=320), replace(contract.cameras[1], width=256, height=256)
    check_contract(replace(contract, cameras=(square,), horizon=50), LIBERO)
    part = contract.action_parts[0]
    turned = (replace(part, frame="tool"), *contract.listed_parts[1:])
    for wrong in ({"cameras": (wide,)}, {"cameras": ()}, {"action_rate_hz": 10.0}, {"listed_parts": turned}):
        with pytest.raises(ConfigError, match="a policy for contract libero_panda, with another"):
            check_contract(replace(contract, **wrong), LIBERO)  # type: ignore[arg-type]


def test_a_policy_gets_the_views_of_its_contract_and_answers_in_the_benchmarks_units() -> None:
    contract = load_contract("libero_panda")
    contract = replace(contract, cameras=contract.cameras[::-1])
    policy = Pusher(contract.hash)
    rgb = np.stack([np.full((4, 4, 3), colour, np.uint8) for colour in (1, 2)])
    actions = SuitePolicy(policy, contract, LIBERO).act(rgb, np.zeros(8, np.float32), "go")
    assert policy.asked[0].view_names == ("eye_in_hand", "agentview")
    assert policy.asked[0].rgb[:, 0, 0, 0].tolist() == [2, 1]
    np.testing.assert_allclose(actions[0], [0.1, 0, 0, 0, 0.1, 0, 1], atol=1e-6)


def test_meta_worlds_unit_is_a_centimetre() -> None:
    actions = THIRD_PARTY["metaworld-mt50"].to_benchmark(np.array([[0.01, -0.005, 0, 0, 0, 0, 1]], np.float32))
    np.testing.assert_allclose(actions, [[1.0, -0.5, 0.0, 1.0]], rtol=1e-6)


def test_options_of_these_suites_are_refused_elsewhere(tmp_path: Path) -> None:
    for option, value in (("--weights", "x"), ("--execute", "3"), ("--task", "0")):
        args = options(tmp_path, option, value)
        args.suite = "tabletop"
        with pytest.raises(ConfigError, match=f"{option} with suite 'tabletop'"):
            command.run(args)
