"""Shards to LeRobot and back, and a contract held against data sets of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_demonstrations import INSTRUCTIONS, make_shard, write_shards

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_policy.training.dataset import Dataset
from vla_policy.training.lerobot_contract import match_contract
from vla_policy.training.lerobot_demonstrations import LeRobotDemonstrations
from vla_policy.training.lerobot_format import ACTION, IMAGES, OBSERVATION_STATE, DatasetError, Feature
from vla_policy.training.lerobot_reader import LeRobotDataset
from vla_policy.training.lerobot_writer import LeRobotWriter
from vla_policy.training.shards import FRAME_ARRAYS, Shard, open_shards
from vla_policy.training.shards_to_lerobot import lerobot_to_shards, shards_to_lerobot

FRAME_STEPS = 2
AXES = ("height", "width", "channels")


def quiet(_text: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Episodes, and a shard of stills whose names stand in another order."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, contract, episodes=(3, 1), frames=5)
    stills = make_shard(contract, 2, 2, np.random.default_rng(9), first_episode=900)
    stills["progress"][:] = np.nan
    stills["object_names"] = stills["object_names"][::-1].copy()
    used = stills["obj_name"] >= 0
    stills["obj_name"][used] = len(stills["object_names"]) - 1 - stills["obj_name"][used]
    np.savez(folder / "shard_00900_stills.npz", **stills)
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, shards: Path, contract: Contract) -> Path:
    """The shards as LeRobot data set with PNG."""
    folder = tmp_path_factory.mktemp("lerobot") / "toy"
    counts = shards_to_lerobot(shards, folder, contract, FRAME_STEPS, "image", say=quiet)
    assert counts["episodes"] == 4 + 4 and counts["frames"] == 24  # a still is an episode of its own
    return folder


def _content(folder: Path, name: str) -> np.ndarray:
    """An array of all shards, names instead of indices."""
    kinds = {"instruction": "instructions", "obj_name": "object_names", "family": "families"}

    def one(shard: Shard) -> np.ndarray:
        if name == "rgb":
            return np.array(shard.rgb)
        values = shard.frames[name]
        return np.array([*shard.strings[kinds[name]], ""])[values] if name in kinds else values

    return np.concatenate([one(shard) for shard in open_shards(folder)])


def test_shards_survive_the_round_trip_word_for_word(
    shards: Path, converted: Path, contract: Contract, tmp_path: Path
) -> None:
    counts = lerobot_to_shards(converted, tmp_path, contract, frames_per_shard=12, say=quiet)
    assert counts == {"episodes": 8, "frames": 24, "shards": 2}
    for name, (dtype, _) in FRAME_ARRAYS.items():
        before, after = _content(shards, name), _content(tmp_path, name)
        np.testing.assert_array_equal(after, before, err_msg=name)
        assert name in ("instruction", "obj_name", "family") or after.dtype == dtype
    Dataset(tmp_path, contract)  # can be trained on


def test_what_lerobot_sees_of_shards(shards: Path, converted: Path, contract: Contract) -> None:
    with LeRobotDataset(converted) as dataset:
        assert dataset.fps == contract.action_rate_hz / FRAME_STEPS and dataset.info.robot_type == "panda"
        assert dataset.features[OBSERVATION_STATE].names == contract.state_names
        assert dataset.features[ACTION].names == contract.action_names
        np.testing.assert_array_equal(dataset.column(ACTION), _content(shards, "chunk")[:, FRAME_STEPS])
        assert dataset.instructions(range(24)) == _content(shards, "instruction").tolist()
        seen = [key for key in dataset.features if key.startswith(("observation", "action"))]
        cameras = [IMAGES + name for name in contract.view_names]
        assert sorted(seen) == sorted([ACTION, OBSERVATION_STATE, *cameras])  # labels are hidden from policies


def test_batches_are_those_of_the_shards(shards: Path, converted: Path, contract: Contract) -> None:
    ours, theirs = Dataset(shards, contract), LeRobotDemonstrations(converted, contract)
    rows = np.array([23, 0, 14, 7])
    a, b = ours.batch(rows), theirs.batch(rows)
    for name in ("rgb", "state", "raw_state", "chunk", "progress", "success", "role_uv", "episode", "step"):
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert b["known"].all()
    words = [ours.instructions[i] for i in a["instruction"]]
    assert words == [theirs.instructions[i] for i in b["instruction"]] and set(words) <= set(INSTRUCTIONS)
    assert len(theirs.train) + len(theirs.held_out) == 24 and len(theirs.held_out) == 1
    assert theirs.train.max() < theirs.held_out.min()


def test_videos_instead_of_png_cost_a_little_and_change_no_number(
    shards: Path, contract: Contract, tmp_path: Path
) -> None:
    """Mean error measured on these squares on noise [0..255]: 4:2:0 alone 7.6, the video 8.7, the worst frame 10."""
    shards_to_lerobot(shards, tmp_path / "a", contract, FRAME_STEPS, say=quiet)
    lerobot_to_shards(tmp_path / "a", tmp_path / "back", contract, say=quiet)
    error = np.abs(_content(tmp_path / "back", "rgb").astype(int) - _content(shards, "rgb"))
    assert 0 < error.mean() < 9.5 and error.mean((1, 2, 3, 4)).max() < 12
    np.testing.assert_array_equal(_content(tmp_path / "back", "chunk"), _content(shards, "chunk"))


@pytest.mark.parametrize("steps", [0, 3, 9, -1])
def test_frame_rates_that_arent_whole_are_refused(shards: Path, contract: Contract, tmp_path: Path, steps: int) -> None:
    with pytest.raises(ConfigError, match=f"{steps} steps of a chunk per frame; expected 1 to 8"):
        shards_to_lerobot(shards, tmp_path / "a", contract, steps, say=quiet)


def test_shards_of_another_contract_are_refused(shards: Path, contract: Contract, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="give the contract that the shards were made for"):
        shards_to_lerobot(shards, tmp_path / "a", replace(contract, horizon=7), FRAME_STEPS, say=quiet)


# --- data sets by others -------------------------------------------------------------------------------------------


def recorded(
    folder: Path, contract: Contract, change: Callable[[dict[str, Feature], dict[str, Any]], Any] | None = None,
    fps: int = 20,
) -> Path:  # fmt: skip
    """A data set without our labels and units, of two episodes; `change` alters features and frames."""
    rng = np.random.default_rng(0)
    states, actions = contract.state_names, contract.action_names
    features = {IMAGES + c.name: Feature("image", (c.height, c.width, 3), AXES) for c in contract.cameras}
    features |= {OBSERVATION_STATE: Feature("float32", (len(states),), states)}
    features |= {ACTION: Feature("float32", (len(actions),), actions)}
    frames: dict[str, Any] = {
        key: rng.integers(0, 256, (6, *f.shape), dtype=np.uint8) if f.is_picture
        else rng.uniform(0, 1, (6, *f.shape)).astype(np.float32)
        for key, f in features.items()
    }  # fmt: skip
    if change is not None:
        change(features, frames)
    with LeRobotWriter(folder, fps, features) as writer:
        writer.add_episode(frames, "pick up the red cube")
        writer.add_episode(frames, "lift the red cube")
    return folder


def test_columns_are_found_by_their_names(contract: Contract, tmp_path: Path) -> None:
    turned = np.random.default_rng(1).permutation(len(contract.state_names))

    def turn(features: dict[str, Feature], frames: dict[str, Any]) -> None:
        names = (*(contract.state_names[i] for i in turned), "room_temperature")
        features[OBSERVATION_STATE] = Feature("float32", (len(names),), names)
        frames[OBSERVATION_STATE] = np.hstack([frames[OBSERVATION_STATE][:, turned], np.full((6, 1), 293, np.float32)])

    plain = LeRobotDemonstrations(recorded(tmp_path / "plain", contract), contract)
    other = LeRobotDemonstrations(recorded(tmp_path / "turned", contract, turn), contract)
    np.testing.assert_array_equal(other.labels["raw_state"], plain.labels["raw_state"])
    assert not np.array_equal(match_contract(other.source, contract).state, np.arange(len(turned)))


def test_actions_that_follow_make_the_chunks_where_no_other_are_recorded(contract: Contract, tmp_path: Path) -> None:
    data = LeRobotDemonstrations(recorded(tmp_path / "a", contract), contract)
    known = data.labels["known"]
    assert known.shape == (12, contract.horizon)
    np.testing.assert_array_equal(known.sum(1), [6, 5, 4, 3, 2, 1] * 2)
    actions = data.source.column(ACTION)
    gripper = 2 * actions[2 + np.arange(4), 7] - 1  # as ToolPoseRelative maps it
    np.testing.assert_allclose(data.labels["chunk"][2, :4, 6], gripper, atol=1e-6)
    np.testing.assert_allclose(data.labels["chunk"][5, :, 6], data.labels["chunk"][5, 0, 6])  # the last one, repeated
    assert data.batch(np.array([3, 11]))["rgb"].shape == (2, *contract.rgb_shape)
    assert data.instructions == ["pick up the red cube", "lift the red cube"]


def _named(key: str, names: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Callable[..., None]:
    def change(features: dict[str, Feature], _frames: dict[str, Any]) -> None:
        features[key] = replace(features[key], names=names(features[key].names))

    return change


def _units(key: str, column: int, unit: str) -> Callable[..., None]:
    def change(features: dict[str, Feature], _frames: dict[str, Any]) -> None:
        units = ["rad"] * 7 + ["m"] + ["m and quaternion xyzw"] * 7 if key == OBSERVATION_STATE else []
        units[column] = unit
        features[key] = replace(features[key], info={"units": units})

    return change


def _scaled(key: str, column: int, factor: float) -> Callable[..., None]:
    def change(_features: dict[str, Feature], frames: dict[str, Any]) -> None:
        frames[key][:, column] = frames[key][:, column] * factor + 0.5 * factor

    return change


def _without(key: str) -> Callable[..., None]:
    def change(features: dict[str, Feature], frames: dict[str, Any]) -> None:
        del features[key], frames[key]

    return change


def _small(features: dict[str, Feature], frames: dict[str, Any]) -> None:
    features[IMAGES + "wrist"] = Feature("image", (16, 32, 3), AXES)
    frames[IMAGES + "wrist"] = frames[IMAGES + "wrist"][:, :16]


MISMATCHES: dict[str, tuple[Callable[..., None] | None, int, str]] = {
    "no camera": (_without(IMAGES + "wrist"), 20, "expected 'observation.images.wrist' among them; fix: name it"),
    "other size": (_small, 20, "wrist of 32 x 16 in a; expected 32 x 32 pixels"),
    "no action": (_without(ACTION), 20, "expected 'action' among them"),
    "no names": (_named(ACTION, lambda _: ()), 20, r"with names \[\]; expected each of \['x', 'y', "),
    "other names": (_named(OBSERVATION_STATE, lambda n: ("shoulder", *n[1:])), 20, "expected each of .*panda_joint1"),
    "a name twice": (_named(OBSERVATION_STATE, lambda n: (*n[:-2], n[0], n[-1])), 20, "expected each of .*once"),
    "other unit": (_units(OBSERVATION_STATE, 3, "deg"), 20, "'panda_joint4' in 'deg'; expected 'rad'; fix: convert"),
    "degrees": (_scaled(OBSERVATION_STATE, 2, 90.0), 20, r"'panda_joint3' from .* to .*; expected 'rad'"),
    "millimetres": (_scaled(OBSERVATION_STATE, 7, 800.0), 20, "'gripper_width' from .*; expected 'm'"),
    "percent": (_scaled(ACTION, 7, 100.0), 20, "'gripper' from .*; expected '0 closed .. 1 open'"),
    "other rate": (None, 30, "30 frames per second; expected 20, the rate of the actions"),
}


@pytest.mark.parametrize("fault", MISMATCHES)
def test_what_doesnt_fit_the_contract_is_told_in_a_sentence(contract: Contract, tmp_path: Path, fault: str) -> None:
    change, fps, match = MISMATCHES[fault]
    with LeRobotDataset(recorded(tmp_path / "a", contract, change, fps)) as dataset:
        with pytest.raises(DatasetError, match=match) as caught:
            match_contract(dataset, contract)
        assert "; fix: " in str(caught.value)


def test_units_that_are_told_are_believed(contract: Contract, tmp_path: Path) -> None:
    def far(features: dict[str, Feature], frames: dict[str, Any]) -> None:
        _units(OBSERVATION_STATE, 0, "rad")(features, frames)
        frames[OBSERVATION_STATE][:, 0] += 100.0  # many turns

    with LeRobotDataset(recorded(tmp_path / "a", contract, far)) as dataset:
        match_contract(dataset, contract)


def test_data_without_our_labels_dont_become_shards(contract: Contract, tmp_path: Path) -> None:
    recorded(tmp_path / "a", contract)
    with pytest.raises(DatasetError, match=r"a without \['label.chunk', .*; fix: train on it as it is"):
        lerobot_to_shards(tmp_path / "a", tmp_path / "b", contract, say=quiet)
    assert not (tmp_path / "b").exists()
