"""What the tests of this package share: a small contract, a tiny preset, toy demonstrations, tiny trained weights."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vla_core.contract import Contract, load_contract
from vla_core.files import config_path, load_yaml

sys.path.append(str(Path(__file__).parent))

from toy_demonstrations import write_shards


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny networks gain nothing from a second thread, and lose much where it must wait for a busy processor."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def contract_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tabletop_panda with 32-pixel cameras and chunks of 6 steps."""
    data = load_yaml(config_path("contracts", "tabletop_panda"))
    for camera in data["observation"]["cameras"]:
        camera |= {"width": 32, "height": 32}
    data["name"] = "toy"
    data["action"]["horizon"] = 9
    path = tmp_path_factory.mktemp("contract") / "toy.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="session")
def contract(contract_file: Path) -> Contract:
    return load_contract(str(contract_file))


def tiny_preset(contract_file: Path) -> dict[str, Any]:
    """A preset that trains in seconds."""
    preset = load_yaml(config_path("policies", "tabletop_flow"))
    model = preset["model"]
    model["vision"] |= {"stem": 8, "widths": [12, 16, 16], "depths": [1, 1, 1], "features": 16}
    model["language"] |= {"width": 32, "layers": 1, "heads": 2}
    model["fusion"] |= {"width": 32, "layers": 1, "heads": 2, "generic_tokens": 2}
    model["head"] |= {"width": 32, "layers": 1, "heads": 2}
    model |= {
        "future": {"block": "future_offset", "width": 16},
        "corrector": {"block": "residual_head", "width": 32, "layers": 1, "heads": 2},
    }
    training = preset["training"]
    bounds = {"batch": 16, "learning_rate": 3.0e-3, "warmup_steps": 10}
    stage = {**bounds, "flow_samples": 1, "prefix_steps": 2, "longest_offset_steps": 4}
    corrector = {**bounds, "bases": 64, "frame_steps": 1}
    training |= {"joint": stage, "expert": stage, "corrector": corrector}
    training |= {"shift_px": 1, "ema": 0.9, "objects_per_frame": 2}
    return {
        **preset,
        "name": "toy_flow",
        "contract": str(contract_file),
        "weights": "",
        "decoding": {"head": "flow", "steps": 3},
    }


@pytest.fixture(scope="session")
def preset_file(contract_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "toy_flow.yaml"
    path.write_text(yaml.safe_dump(tiny_preset(contract_file)))
    return path


@pytest.fixture(scope="session")
def data(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, one stored and one compressed."""
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, contract, episodes=(8, 2), frames=8)
    return folder


@pytest.fixture(scope="session")
def trained(data: Path, preset_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a short run through both stages."""
    from vla_policy.training.__main__ import main

    out = tmp_path_factory.mktemp("trained")
    arguments = {
        "--data": data,
        "--out": out,
        "--policy": preset_file,
        "--stage": "all",
        "--steps": 60,
        "--device": "cpu",
    }
    assert main([str(part) for pair in arguments.items() for part in pair]) == 0
    return out


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """rclpy on a random domain, seen by this machine only."""
    import rclpy

    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    yield
    rclpy.try_shutdown()
