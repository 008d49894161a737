"""`vla convert` as a user types it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from vla_bringup.commands import convert
from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError
from vla_policy.training.lerobot_reader import LeRobotDataset
from vla_policy.training.shards import FRAME_ARRAYS, STRING_ARRAYS, open_shards

SIZES = {"V": 2, "H": 128, "W": 128, "S": 15, "T": 20, "A": 8, "R": 4, "K": 3, "2": 2, "3": 3}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two episodes of three frames for tabletop_panda."""
    contract, rng = load_contract("tabletop_panda"), np.random.default_rng(0)
    assert _fits(contract)
    arrays = {name: np.ones((6, *(SIZES[a] for a in axes)), dtype) for name, (dtype, axes) in FRAME_ARRAYS.items()}
    arrays |= {name: np.zeros(6, np.int32) for name in ("instruction", "family")} | {"obj_name": arrays["obj_name"] * 0}
    arrays["rgb"] = rng.integers(0, 256, arrays["rgb"].shape, dtype=np.uint8)
    arrays |= {"episode": np.repeat([7, 8], 3).astype(np.int32), "step": np.tile([0, 1, 2], 2).astype(np.int32)}
    folder = tmp_path / "shards"
    folder.mkdir()
    np.savez(folder / "shard_0.npz", **arrays, **{name: np.array(["pick up the cube"]) for name in STRING_ARRAYS})
    return folder


def _fits(contract: Contract) -> bool:
    return contract.rgb_shape == (2, 128, 128, 3) and len(contract.state_names) == 15 and contract.horizon == 20


def run(*words: object) -> int:
    """The command with these words."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    convert.add_arguments(parser)
    return convert.run(parser.parse_args([str(word) for word in words]))


def test_there_and_back(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("--to", "lerobot", shards, tmp_path / "data", "--images", "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["success"] and result["frames"] == 6 and result["episodes"] == 2 and result["size_mb"] > 0.1
    assert "2 episodes, 6 frames, 1 tasks" in capsys.readouterr().out
    assert LeRobotDataset(tmp_path / "data").fps == 10.0
    assert run("--to", "shards", tmp_path / "data", tmp_path / "back", "--out", out) == 0
    (before,), (after,) = open_shards(shards), open_shards(tmp_path / "back")
    np.testing.assert_array_equal(after.rgb, before.rgb)


def test_a_rate_that_doesnt_divide_the_actions_is_refused(shards: Path, tmp_path: Path) -> None:
    for fps in ("7", "0", "40"):
        with pytest.raises(ConfigError, match="give --fps as the shards were made with"):
            run("--to", "lerobot", shards, tmp_path / "data", "--fps", fps, "--out", tmp_path)
