"""Shards on disk, batches in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from toy_demonstrations import INSTRUCTIONS, NAMES, make_shard, write_shards

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_policy.core.processors import action_transform
from vla_policy.training.dataset import Batch, Dataset, prefetched, shuffled
from vla_policy.training.shards import open_shards


def test_stored_images_are_mapped_in_place_and_compressed_ones_unpacked(data: Path) -> None:
    stored, compressed = open_shards(data)
    assert isinstance(stored.rgb, np.memmap) and isinstance(compressed.rgb, np.memmap)
    assert Path(str(stored.rgb.filename)) == stored.path
    assert Path(str(compressed.rgb.filename)).parent == data / "unpacked"
    for shard in (stored, compressed):
        with np.load(shard.path) as file:
            np.testing.assert_array_equal(shard.rgb, file["rgb"])


def test_batches_hold_what_the_shards_hold(data: Path, contract: Contract) -> None:
    dataset = Dataset(data, contract)
    rows = np.array([70, 3, 64, 12])
    batch = dataset.batch(rows)
    for position, row in enumerate(rows):
        shard, local = (dataset.shards[0], row) if row < 64 else (dataset.shards[1], row - 64)
        with np.load(shard.path) as file:
            np.testing.assert_array_equal(batch["rgb"][position], file["rgb"][local])
            named = str(file["instructions"][file["instruction"][local]])
            assert dataset.instructions[batch["instruction"][position]] == named
            absolute = action_transform(contract).inverse(batch["chunk"][position], file["state"][local])
            np.testing.assert_allclose(absolute, file["chunk"][local], atol=1e-5)
            for slot, name in enumerate(file["obj_name"][local]):
                ours = batch["obj_name"][position, slot]
                assert ours == -1 if name < 0 else dataset.object_names[ours] == NAMES[name]


def test_the_last_shard_is_held_out(data: Path, contract: Contract) -> None:
    dataset = Dataset(data, contract)
    np.testing.assert_array_equal(dataset.held_out, np.arange(64, 80))
    np.testing.assert_array_equal(dataset.train, np.arange(64))


def test_one_shard_gives_up_its_last_episodes(tmp_path: Path, contract: Contract) -> None:
    write_shards(tmp_path, contract, episodes=(10,), frames=3)
    dataset = Dataset(tmp_path, contract)
    assert set(dataset.labels["episode"][dataset.held_out]) == {9}
    assert len(dataset.train) == 27


def test_an_epoch_holds_every_frame_once() -> None:
    frames = np.arange(100, 112)
    epoch = np.concatenate(list(islice(shuffled(frames, 4, np.random.default_rng(0)), 3)))
    np.testing.assert_array_equal(np.sort(epoch), frames)


def test_a_fault_in_the_background_reaches_the_consumer() -> None:
    def source() -> Iterator[Batch]:
        yield {"x": np.zeros(1)}
        raise ConfigError("a broken disk", "a sound one", "buy one")

    with prefetched(source()) as batches:
        assert "x" in next(batches)
        with pytest.raises(ConfigError, match="broken disk"):
            next(batches)


def test_leaving_early_ends_the_background_thread() -> None:
    drawn: list[int] = []

    def source() -> Iterator[Batch]:
        for i in range(1000):
            drawn.append(i)
            yield {"x": np.array([i])}

    with prefetched(source(), depth=2) as batches:
        assert next(batches)["x"][0] == 0
    assert len(drawn) < 10


@pytest.mark.parametrize("fault", ["missing", "dtype", "length", "index", "garbage", "empty"])
def test_broken_shards_are_named(tmp_path: Path, contract: Contract, fault: str) -> None:
    arrays = make_shard(contract, 2, 2, np.random.default_rng(0))
    if fault == "missing":
        del arrays["role_uv"]
    elif fault == "dtype":
        arrays["state"] = arrays["state"].astype(np.float64)
    elif fault == "length":
        arrays["chunk"] = arrays["chunk"][:-1]
    elif fault == "index":
        arrays["instruction"][:] = len(INSTRUCTIONS)
    path = tmp_path / "shard_00000.npz"
    if fault == "garbage":
        path.write_bytes(b"no zip file")
    elif fault != "empty":
        np.savez(path, **arrays)
    with pytest.raises(ConfigError, match="no shard" if fault == "empty" else "shard_00000.npz"):
        Dataset(tmp_path, contract)


def test_data_of_another_contract_is_refused(tmp_path: Path, contract: Contract) -> None:
    arrays = make_shard(contract, 2, 2, np.random.default_rng(0))
    arrays["chunk"] = arrays["chunk"][:, :-1]
    np.savez(tmp_path / "shard_00000.npz", **arrays)
    with pytest.raises(ConfigError, match="state, chunk"):
        Dataset(tmp_path, contract)
