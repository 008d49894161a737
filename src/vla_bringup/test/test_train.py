"""`vla train` from nothing to a weight file that loads, without ROS; and what is wrong with a recipe is said."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from vla_bringup.cli import main
from vla_core.contract import load_contract
from vla_core.errors import ConfigError
from vla_core.files import config_path, load_yaml
from vla_policy.core.policy import load_policy
from vla_policy.core.preset import load_preset
from vla_policy.core.weights import load_weights
from vla_policy.training.recipe import Make, Train, read_recipe

#: A Python where nothing of ROS can be imported runs `vla train`.
WITHOUT_ROS = """
import sys
for name in ("rclpy", "vla_msgs", "sensor_msgs", "std_msgs", "builtin_interfaces"):
    sys.modules[name] = None
from vla_bringup.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """The shipped preset with a tiny model and a recipe that goes through every kind of step."""
    content = load_yaml(config_path("policies", "tabletop_flow"))
    model, training = content["model"], content["training"]
    model["vision"] |= {"stem": 4, "widths": [8, 8, 8], "depths": [1, 1, 1], "features": 8}
    for block in ("language", "fusion", "head"):
        model[block] |= {"width": 16, "layers": 1, "heads": 2}
    for stage in ("joint", "expert"):
        training[stage] |= {"batch": 4, "warmup_steps": 1}
    training["recipe"] = [
        {"make": "episodes", "count": 1, "seed": 6},
        {"make": "stills", "count": 2, "seed": 1024},
        {"train": "joint", "steps": 2},
        {"make": "own_episodes", "count": 1, "seed": 38},
        {"train": "expert", "steps": 2, "learning_rate": 1e-3},
    ]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content | {"name": "tiny", "weights": ""}), encoding="utf-8")
    return path


def train(preset: Path, out: Path) -> str:
    command = [sys.executable, "-c", WITHOUT_ROS, "train", "--policy", str(preset), "--out", str(out), "--workers", "1"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_nothing_to_weights_without_ros_and_again_for_free(preset: Path, tmp_path: Path) -> None:
    told = train(preset, tmp_path)
    assert all(f"step {k}/5" in told for k in range(1, 6))
    load_weights(tmp_path / "tiny.safetensors", load_contract("tabletop_panda").hash)
    shards = sorted(path.name for path in (tmp_path / "data").iterdir() if path.suffix == ".npz")
    assert shards == ["shard_00000006_episodes.npz", "shard_00000038_own.npz", "shard_00001024_stills.npz"]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("shard_*.npz")}
    train(preset, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("shard_*.npz")} == made


def test_the_shipped_recipe_never_plays_a_seed_twice_nor_one_of_evaluation() -> None:
    spans = sorted((s.seed, s.seed + s.count) for s in read_recipe(load_preset("tabletop_flow")) if isinstance(s, Make))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert spans[-1][1] < 10_000_000


def test_scale_shrinks_every_step_but_to_nothing() -> None:
    whole, small = (read_recipe(load_preset("tabletop_flow"), scale) for scale in (1.0, 1e-9))
    assert all((s.count if isinstance(s, Make) else s.steps) == 1 for s in small)
    assert [type(s) for s in whole] == [type(s) for s in small]
    assert any(isinstance(s, Train) and s.steps > 100 for s in whole)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"make": "coffee", "count": 1, "seed": 0}, "make: episodes | stills | own_episodes | metaworld"),
        ({"make": "stills", "count": 0, "seed": 0}, "count > 0"),
        ({"train": "joint", "steps": 0}, "steps > 0"),
        ({"train": "joint"}, "missing keys"),
        ("rest", "a mapping"),
    ],
)
def test_a_wrong_step_is_named(step: Any, says: str) -> None:
    preset = load_preset("tabletop_flow")
    with pytest.raises(ConfigError, match="step 1") as error:
        read_recipe(replace(preset, training=preset.training | {"recipe": [step]}))
    assert says in str(error.value)


def test_no_recipe_and_no_scale_are_refused() -> None:
    with pytest.raises(ConfigError, match="without training: recipe"):
        read_recipe(load_preset("scripted_expert"))
    with pytest.raises(ConfigError, match="scale 0"):
        read_recipe(load_preset("tabletop_flow"), 0.0)


def test_a_policy_whose_expert_is_free_is_trained_without_demonstrations(tmp_path: Path) -> None:
    """Interrupted or finished, it goes on from its checkpoints; its weights load where they are to run."""
    assert main(["train", "--policy", "turntable_flow", "--scale", "0.001", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["success"] and set(result["figures"]) == {"flow", "corrector"}
    contract = load_contract("turntable_panda")
    policy = load_policy("turntable_flow", contract, weights=str(tmp_path / result["weights"]))
    assert policy.contract_hash == contract.hash
