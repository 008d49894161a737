"""Detectors of free text: OWLv2 (Minderer et al. 2023) and Grounding DINO (Liu et al. 2023), by transformers.

Weights come from a local folder as published on the Hugging Face hub; nothing is ever fetched. Classes and colours are
all asked in one pass: a phrase per class, and "<colour> object" per colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_core.errors import ConfigError, UnknownNameError, WeightsError
from vla_core.types import Float32, UInt8
from vla_perception.core.detector.detection import Detected, check_image, clipped, without_doubles
from vla_policy.core.blocks.hf_loading import load_config, load_weights_into

#: Name in the registry → model type and class in transformers.
FAMILIES = {
    "owlv2": ("owlv2", "Owlv2ForObjectDetection"),
    "grounding_dino": ("grounding-dino", "GroundingDinoForObjectDetection"),
}
_DOUBLE = 0.6
_MOST = 100
_MOST_ASKED = 20  # words beyond those of the beginning: Grounding DINO reads 256 tokens, and each costs time


class ZeroShotDetector:
    """See the module. Not reentrant; seconds per image on a CPU.

    Args:
        family: One of FAMILIES.
        folder: Holds config.json, weights, preprocessor and tokenizer.
        classes: (K,) phrases; '_' reads as a space.
        colours: (C,) words.
        least_score: Detections below aren't returned.

    Raises:
        UnknownNameError: no such family, or the folder's model is of another type.
        WeightsError: there is no such folder, or a part of it is missing or broken.
        ConfigError: no classes.
    """

    def __init__(
        self, family: str, folder: Path, classes: Sequence[str], colours: Sequence[str], least_score: float
    ) -> None:
        if family not in FAMILIES:
            raise UnknownNameError("zero-shot detector", family, FAMILIES)
        if not classes:
            raise ConfigError("a zero-shot detector without classes", "at least one phrase", "name what to look for")
        if not folder.is_dir():
            got = f"no folder {folder} with weights of {family}"
            raise WeightsError(got, "a published model", "fetch one to that folder, or take the detector 'flat'")
        kind, name = FAMILIES[family]
        config = load_config(folder, [kind])
        self._processor = _processor(folder)
        self._model = load_weights_into(name, folder, config, "float32")
        self._classes, self._colours = tuple(classes), tuple(colours)
        self._most_classes = len(self._classes) + _MOST_ASKED
        self._family, self.least_score = family, least_score

    @property
    def classes(self) -> tuple[str, ...]:
        """(K,) names, as they were given."""
        return self._classes

    @property
    def colours(self) -> tuple[str, ...]:
        """(C,) names."""
        return self._colours

    def look_for(self, phrase: str) -> None:
        """See FreeTextDetector."""
        name = " ".join(phrase.replace(".", " ").lower().split())
        if not name:
            raise ConfigError(f"'{phrase}' as a class", "a word", "say what to look for")
        if name in self._classes:
            return
        if len(self._classes) >= self._most_classes:
            got = f"'{phrase}' as a class after {len(self._classes)} others"
            raise ConfigError(got, f"at most {self._most_classes}", "start semantic_map_node anew")
        self._classes = (*self._classes, name)

    @property
    def _phrases(self) -> list[str]:
        colours = [f"{colour} object" for colour in self._colours]
        return [name.replace("_", " ").lower() for name in self._classes] + colours

    @torch.no_grad()
    def detect(self, image: UInt8) -> list[Detected]:
        """See Detector."""
        height, width = check_image(image).shape[:2]
        logits, boxes = self._ask(image)
        side = (max(height, width),) * 2 if self._family == "owlv2" else (width, height)  # OWLv2 pads to a square
        centre, half = boxes[:, :2] * side, 0.5 * boxes[:, 2:] * side
        corners = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
        count = len(self._classes)
        scores = _sigmoid(logits[:, :count]).max(1)
        chosen = np.argsort(-scores, kind="stable")[:_MOST]
        chosen = chosen[scores[chosen] >= self.least_score]
        found = []
        for i in without_doubles(corners[chosen], scores[chosen], _DOUBLE):
            row = chosen[i]
            box = clipped(corners[row].tolist(), width, height)
            if box is not None:
                told = _softmax(logits[row, :count]), _softmax(logits[row, count:])
                found.append(Detected(box, float(scores[row]), *told))
        return found

    def _ask(self, image: UInt8) -> tuple[Float32, Float32]:
        """Logits of every phrase (N,K+C), and boxes (N,4) as centre and size, 0..1."""
        if self._family == "owlv2":
            inputs = self._processor(text=[self._phrases], images=image, return_tensors="pt")
            out: Any = self._model(**inputs)
            return out.logits[0].float().numpy(), out.pred_boxes[0].float().numpy()
        inputs = self._processor(text=". ".join(self._phrases) + ".", images=image, return_tensors="pt")
        out = self._model(**inputs)
        spans = self._spans(inputs["input_ids"][0].tolist())
        logits = torch.stack([out.logits[0][:, span].max(1).values for span in spans], 1)
        return logits.float().numpy(), out.pred_boxes[0].float().numpy()

    def _spans(self, tokens: list[int]) -> list[list[int]]:
        """Places of the tokens of every phrase; a phrase scores as its best token does, as published."""
        tokenizer = self._processor.tokenizer
        stop, special = tokenizer.convert_tokens_to_ids("."), set(tokenizer.all_special_ids)
        spans: list[list[int]] = [[]]
        for place, token in enumerate(tokens):
            if token == stop:
                spans.append([])
            elif token not in special or token == tokenizer.unk_token_id:
                spans[-1].append(place)
        spans = [span for span in spans if span]
        if len(spans) != len(self._phrases):
            got = f"{len(spans)} phrases after tokenizing {len(self._phrases)}"
            raise ConfigError(got, "phrases without a full stop, not too many", "name fewer or shorter classes")
        return spans


def _processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{folder.name}: {reason}", "preprocessor and tokenizer", "fetch the folder again"
        ) from error


def _sigmoid(logits: Float32) -> Float32:
    out: Float32 = (1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))).astype(np.float32)
    return out


def _softmax(logits: Float32) -> Float32:
    if not len(logits):
        return np.zeros(0, np.float32)
    shares = np.exp(logits - logits.max())
    out: Float32 = (shares / shares.sum()).astype(np.float32)
    return out
