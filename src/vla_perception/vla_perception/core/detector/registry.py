"""Detectors by name; other packages add theirs by the entry-point group `vla_perception.detectors`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import ConfigError, WeightsError
from vla_core.files import asset_path
from vla_core.registry import Registry
from vla_perception.core.detector.detection import Detector
from vla_perception.core.detector.flat import FlatDetector
from vla_perception.core.detector.weights import SHIPPED
from vla_perception.core.detector.zero_shot import ZeroShotDetector


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """How a detector is made.

    Attributes:
        weights: File or folder; None: what ships, for a detector that has that.
        classes, colours: What to look for, for detectors of free text; the others bring their own.
        least_score: Detections below aren't returned; None: the detector's own threshold.
        backend: Of `flat`, see there.
    """

    weights: Path | None = None
    classes: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    least_score: float | None = None
    backend: str = "openvino"


DETECTORS: Registry[Callable[[DetectorOptions], Detector]] = Registry("detector", "vla_perception.detectors")
_ZERO_SHOT_SCORE = 0.2


def make_detector(name: str, options: DetectorOptions) -> Detector:
    """A detector by name.

    Raises:
        UnknownNameError: no such detector; lists the known ones.
        WeightsError: its weights are missing or broken.
        ConfigError: no name, or an option doesn't suit it.
    """
    if not name:
        known = ", ".join(DETECTORS) or "none is installed"
        raise ConfigError("no detector", f"a name; known: {known}", "set parameter detector of semantic_map_node")
    return DETECTORS.get(name)(options)


def shipped_weights() -> Path:
    """Where the weights of `flat` lie.

    Raises:
        WeightsError: there are none.
    """
    try:
        return asset_path(SHIPPED)
    except ConfigError as error:
        fix = "train them (./vla python -m vla_sim.detector_training), or say where they are"
        raise WeightsError("no shipped weights of detector 'flat'", SHIPPED, fix) from error


@DETECTORS.register("flat")
def _flat(options: DetectorOptions) -> Detector:
    return FlatDetector(options.weights or shipped_weights(), options.least_score, options.backend)


@DETECTORS.register("owlv2")
def _owlv2(options: DetectorOptions) -> Detector:
    return _zero_shot("owlv2", options)


@DETECTORS.register("grounding_dino")
def _grounding_dino(options: DetectorOptions) -> Detector:
    return _zero_shot("grounding_dino", options)


def _zero_shot(family: str, options: DetectorOptions) -> Detector:
    if options.weights is None:
        raise ConfigError(f"detector '{family}' without weights", "a folder of a published model", "set its weights")
    least = _ZERO_SHOT_SCORE if options.least_score is None else options.least_score
    return ZeroShotDetector(family, options.weights, options.classes, options.colours, least)
