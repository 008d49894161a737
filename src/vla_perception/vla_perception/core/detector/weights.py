"""Weight files of the detector: one .safetensors with weights, vocabulary, sizes, calibration and how it was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vla_core.errors import ConfigError, WeightsError
from vla_perception.core.detector.decode import Calibration
from vla_perception.core.detector.detection import Vocabulary
from vla_perception.core.detector.network import Network, NetworkConfig
from vla_perception.core.detector.second_look import SecondLook, SecondLookConfig
from vla_policy.core.weights import fill

FORMAT = 1
_SECOND = "second_look."  # prefix of its tensors
SHIPPED = "vla_perception/weights/flat_detector.safetensors"


@dataclass(frozen=True, slots=True)
class DetectorMetadata:
    """What a weight file says about itself.

    Attributes:
        vocabulary: What it tells apart.
        network: Sizes.
        calibration: See there.
        threshold: Score at which it is meant to be used.
        training: Free notes: data, steps, figures.
        second_look: Sizes of the second look; None: the file has none.
    """

    vocabulary: Vocabulary
    network: NetworkConfig
    calibration: Calibration
    threshold: float
    training: dict[str, Any] = field(default_factory=dict)
    second_look: SecondLookConfig | None = None


def save_detector(path: Path, model: Network, metadata: DetectorMetadata, second: SecondLook | None = None) -> None:
    """Write a file, parameters in float16; its folder is created."""
    assert (second is None) == (metadata.second_look is None)
    tensors = _tensors(model) | ({} if second is None else {_SECOND + k: v for k, v in _tensors(second).items()})
    notes = {"format": FORMAT, **asdict(metadata)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(tensors, {key: json.dumps(value) for key, value in notes.items()}))
    partial.replace(path)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    parameters = {name for name, _ in model.named_parameters()}
    return {
        name: value.detach().cpu().to(torch.float16 if name in parameters else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }


def load_detector(path: Path) -> tuple[Network, SecondLook | None, DetectorMetadata]:
    """Read a file; the networks are ready to infer.

    Raises:
        WeightsError: missing, corrupt, or of another format.
    """
    fix = "train one: ./vla python -m vla_sim.detector_training"
    if not path.is_file():
        raise WeightsError(f"no file {path}", "weights of a detector", fix)
    try:
        with safe_open(path, framework="pt") as file:
            notes = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if notes["format"] != FORMAT:
            raise WeightsError(f"{path.name} of format {notes['format']}", f"format {FORMAT}", fix)
        words, sizes, second = notes["vocabulary"], notes["network"], notes.get("second_look")
        metadata = DetectorMetadata(
            Vocabulary(tuple(words["classes"]), tuple(words["colours"]), int(words["things"])),
            NetworkConfig(**{**sizes, "widths": tuple(sizes["widths"]), "depths": tuple(sizes["depths"])}),
            Calibration(**notes["calibration"]), float(notes["threshold"]), notes["training"],
            SecondLookConfig(**{**second, "widths": tuple(second["widths"])}) if second else None,
        )  # fmt: skip
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ConfigError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path.name}: {reason}", "an intact detector weight file", fix) from error
    values = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    model = Network(metadata.network)
    fill(model, {name: value for name, value in values.items() if not name.startswith(_SECOND)}, path.name)
    again = None if metadata.second_look is None else SecondLook(metadata.second_look)
    if again is not None:
        own = {name.removeprefix(_SECOND): value for name, value in values.items() if name.startswith(_SECOND)}
        fill(again, own, path.name)
        again.eval().requires_grad_(False)
    return model.eval().requires_grad_(False), again, metadata
