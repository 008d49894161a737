"""LeRobot's checkpoint folder: config.json, model.safetensors, and the processors before and behind the model.

`policy_preprocessor.json` and `policy_postprocessor.json` list steps in their order; a step with numbers of its own
names a .safetensors file beside it. Folders from before LeRobot 0.4 keep the statistics among the weights instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vla_core.errors import PolicyError, WeightsError
from vla_policy.checkpoints.files import read_json, read_model, read_tensors

STATE, ACTION, IMAGES = "observation.state", "action", "observation.image"
_OLD = re.compile(r"^(?:normalize_inputs|unnormalize_outputs|normalize_targets)\.buffer_(\w+)\.(\w+)$")
_PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
#: Steps that we do ourselves or that have nothing to do here; what isn't listed can't be left out without harm.
STEPS = (
    "rename_observations_processor", "to_batch_processor", "device_processor", "normalizer_processor",
    "unnormalizer_processor", "tokenizer_processor", "pi0_new_line_processor", "smolvla_new_line_processor",
    "relative_actions_processor", "absolute_actions_processor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feature:
    """An input or output: kind VISUAL, STATE, ENV or ACTION; shape (3,H,W) or (N,)."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LerobotCheckpoint:
    """What a folder holds.

    Attributes:
        name: Of the folder, for messages.
        kind: LeRobot's `type`: act, diffusion, pi0, smolvla ...
        inputs, outputs: Features by key.
        normalization: Mode by kind of feature: MEAN_STD, MIN_MAX, QUANTILES, QUANTILE10 or IDENTITY.
        statistics: By feature, then mean, std, min, max, q01 ...
        eps: Added to a standard deviation, or in place of a range of zero.
        renamed: Feature key of the data to that of the model.
        options: All of config.json.
        steps: Options of the processor steps by name.
        tensors: Weights by the names of LeRobot.
    """

    name: str
    kind: str
    inputs: dict[str, Feature]
    outputs: dict[str, Feature]
    normalization: dict[str, str]
    statistics: dict[str, dict[str, Tensor]]
    eps: float
    renamed: dict[str, str]
    options: dict[str, Any]
    steps: dict[str, dict[str, Any]] = field(repr=False)
    tensors: dict[str, Tensor] = field(repr=False)

    @property
    def views(self) -> tuple[str, ...]:
        """Keys of the images, in the order in which the model takes them."""
        return tuple(key for key, feature in self.inputs.items() if feature.kind == "VISUAL")

    def size(self, key: str) -> int:
        """Numbers in the state or action.

        Raises:
            WeightsError: no such feature.
        """
        features = {**self.inputs, **self.outputs}
        if key not in features:
            got = f"{self.name} without feature '{key}'"
            raise WeightsError(got, f"one of {sorted(features)}", "this policy can't be fed; choose another checkpoint")
        return features[key].shape[0]


def read_checkpoint(folder: Path) -> LerobotCheckpoint:
    """Read a folder as `save_pretrained` writes it.

    Raises:
        WeightsError: a file is missing or corrupt, or config.json isn't LeRobot's.
        PolicyError: a processor step that is unknown here.
    """
    options = read_json(folder / "config.json")
    lost = [key for key in ("type", "input_features", "output_features", "normalization_mapping") if key not in options]
    if lost:
        got = f"{folder.name}/config.json without {', '.join(lost)}"
        raise WeightsError(got, "the configuration of a LeRobot policy", "choose a folder that LeRobot wrote")
    tensors = read_model(folder)
    features = {**_features(options["input_features"]), **_features(options["output_features"])}
    if any((folder / name).is_file() for name in _PROCESSORS):
        steps, statistics = _processors(folder)
    else:
        steps, statistics = {}, _old_statistics(tensors, features)
        tensors = {key: tensor for key, tensor in tensors.items() if not _OLD.match(key)}
    normalizer = steps.get("normalizer_processor", {})
    return LerobotCheckpoint(
        name=folder.name,
        kind=str(options["type"]),
        inputs=_features(options["input_features"]),
        outputs=_features(options["output_features"]),
        normalization=dict(normalizer.get("norm_map", options["normalization_mapping"])),
        statistics=statistics,
        eps=float(normalizer.get("eps", 1e-8)),
        renamed=dict(steps.get("rename_observations_processor", {}).get("rename_map", {})),
        options=options,
        steps=steps,
        tensors=tensors,
    )


def _features(entries: Mapping[str, Any]) -> dict[str, Feature]:
    return {key: Feature(str(e["type"]), tuple(int(n) for n in e["shape"])) for key, e in entries.items()}


def _processors(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Tensor]]]:
    """Options of all steps, and the statistics of those that have some."""
    steps: dict[str, dict[str, Any]] = {}
    statistics: dict[str, dict[str, Tensor]] = {}
    for name in _PROCESSORS:
        for entry in read_json(folder / name).get("steps", ()):
            step = str(entry.get("registry_name", entry.get("class")))
            if step not in STEPS:
                raise PolicyError(f"{folder.name}/{name} with step '{step}'", f"one of {', '.join(STEPS)}",
                                  "choose a checkpoint without it")  # fmt: skip
            steps.setdefault(step, dict(entry.get("config", {})))
            if "state_file" in entry:
                for key, tensor in read_tensors(folder / entry["state_file"]).items():
                    feature, _, statistic = key.rpartition(".")
                    statistics.setdefault(feature, {})[statistic] = tensor.float()
    return steps, statistics


def _old_statistics(tensors: Mapping[str, Tensor], features: Mapping[str, Feature]) -> dict[str, dict[str, Tensor]]:
    """Those that stand among the weights as buffers, whose names have underscores for dots."""
    keys = {key.replace(".", "_"): key for key in features}
    statistics: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _OLD.match(name)
        if match and match[1] in keys:
            statistics.setdefault(keys[match[1]], {})[match[2]] = tensor.float()
    return statistics
