"""Weight files: what comes back is what was saved, and a wrong file says why it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from vla_core.errors import WeightsError
from vla_policy.core.weights import Metadata, fill, fill_parts, load_weights, save_weights

META = Metadata("keypoint_flow", "toy", "0123456789abcdef", {"a": 1}, {"objects": [], "taught": []}, {"steps": 3})


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    made[1].running_mean.fill_(1.00003)
    return made


def test_round_trip(tmp_path: Path) -> None:
    source, target = network(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    save_weights(tmp_path / "w.safetensors", source, META)
    tensors, metadata = load_weights(tmp_path / "w.safetensors", META.contract_hash)
    assert metadata == META
    fill(target, tensors, "w")
    torch.testing.assert_close(target[0].weight, source[0].weight.half().float(), rtol=0, atol=0)
    assert torch.equal(target[1].running_mean, source[1].running_mean)  # normalisation keeps full precision


def test_foreign_contract_names_both(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", network(), META)
    with pytest.raises(WeightsError, match=r"0123456789abcdef.*expected contract fedcba"):
        load_weights(tmp_path / "w.safetensors", "fedcba9876543210")


@pytest.mark.parametrize("size", [0, 4, 60, 300])
def test_truncated_files_are_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, network(), META)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(WeightsError, match="intact policy weight file"):
        load_weights(path, META.contract_hash)


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="vla train"):
        load_weights(tmp_path / "none.safetensors", META.contract_hash)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, network(), Metadata("p", "x", META.contract_hash, {}, {}, {}, format=99))
    with pytest.raises(WeightsError, match="format 99"):
        load_weights(path, META.contract_hash)


def test_keys_that_do_not_fit_are_listed_by_group() -> None:
    tensors = dict(network().state_dict())
    tensors["head.blocks.0.weight"] = tensors.pop("0.bias")
    tensors["0.weight"] = torch.zeros(9, 9)
    with pytest.raises(WeightsError) as caught:
        fill(network(), tensors, "w.safetensors")
    assert "1 missing (0.bias x1)" in caught.value.got
    assert "1 unexpected (head.blocks x1)" in caught.value.got
    assert "1 of another shape (0.weight x1)" in caught.value.got


def test_parts_of_another_model_are_taken_whole_and_the_rest_stays() -> None:
    other = {f"0.{name}": value + 1.0 for name, value in network()[0].state_dict().items()}
    target = network()
    fill_parts(target, {**other, "9.weight": torch.zeros(1)}, ("0",), "w.safetensors")
    assert torch.equal(target[0].weight, network()[0].weight + 1.0)
    assert torch.equal(target[1].running_mean, network()[1].running_mean)


@pytest.mark.parametrize(("tensors", "part"), [({"0.weight": torch.zeros(4, 3)}, "0"), ({}, "9")])
def test_a_part_that_is_built_otherwise_is_refused(tensors: dict[str, torch.Tensor], part: str) -> None:
    with pytest.raises(WeightsError, match=f"part '{part}' of w.safetensors"):
        fill_parts(network(), tensors, (part,), "w.safetensors")
