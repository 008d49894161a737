"""Instructions are checked against the words in the policy's weight file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from vla_core.errors import UnknownNameError, UnknownObjectError, WeightsError
from vla_navigation.core.vocabulary import check_instruction, load_vocabulary
from vla_policy.core.vocabulary import Vocabulary

TAUGHT = Vocabulary.from_corpus(["put the red cube in the blue bowl", "open the drawer"], ["red cube", "blue bowl"])


def preset(folder: Path, weights: str) -> str:
    path = folder / "probe.yaml"
    sections = {"model": {}, "decoding": {}, "training": {}}
    path.write_text(yaml.safe_dump({"name": "probe", "policy": "p", "contract": "c", "weights": weights, **sections}))
    return str(path)


def test_reads_the_metadata_of_the_weight_file(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(1)}, weights, metadata={"vocabulary": json.dumps(TAUGHT.metadata())})
    assert load_vocabulary(preset(tmp_path, str(weights))) == TAUGHT


def test_policy_without_weights_has_no_vocabulary(tmp_path: Path) -> None:
    assert load_vocabulary(preset(tmp_path, "")) is None
    check_instruction("fetch the unicorn", None)


@pytest.mark.parametrize("metadata", [None, {"vocabulary": "[1, 2"}, {"other": "{}"}])
def test_broken_weight_files_are_named(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    weights = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(1)}, weights, metadata=metadata)
    with pytest.raises(WeightsError, match=r"w\.safetensors.*expected an intact"):
        load_vocabulary(preset(tmp_path, str(weights)))
    weights.write_bytes(b"not a weight file")
    with pytest.raises(WeightsError, match=r"w\.safetensors.*expected an intact"):
        load_vocabulary(preset(tmp_path, str(weights)))


def test_unknown_preset() -> None:
    with pytest.raises(UnknownNameError, match="nonsense"):
        load_vocabulary("nonsense")


def test_instructions() -> None:
    check_instruction("put the red cube in the blue bowl", TAUGHT)
    for text, word in (("pick up the unicorn", "unicorn"), ("open the green drawer", "green"), ("  ", "empty")):
        with pytest.raises(UnknownObjectError, match=f"got .*{word}.*; expected .*; fix: "):
            check_instruction(text, TAUGHT)
