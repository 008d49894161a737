"""What the running policy has been taught, read from its weight file without loading the weights."""

from __future__ import annotations

import json

from safetensors import SafetensorError, safe_open

from vla_core.errors import UnknownObjectError, WeightsError
from vla_policy.core.preset import load_preset
from vla_policy.core.vocabulary import Vocabulary


def load_vocabulary(preset_name: str) -> Vocabulary | None:
    """Vocabulary of a preset's weight file; None for a policy that has no weights and so no known limits.

    Raises:
        UnknownNameError: no such preset.
        ConfigError: the preset is broken.
        WeightsError: the weight file is missing or corrupt.
    """
    preset = load_preset(preset_name)
    if not preset.weights:
        return None
    path = preset.weights_path()
    try:
        with safe_open(path, framework="numpy") as file:
            return Vocabulary.from_metadata(json.loads(file.metadata()["vocabulary"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{path.name}: {reason}", "an intact policy weight file", "fetch or train it again"
        ) from error


def check_instruction(instruction: str, vocabulary: Vocabulary | None) -> None:
    """Accept an instruction that isn't empty and names only what has been taught.

    Raises:
        UnknownObjectError: says what is unknown and what is known.
    """
    if not instruction.strip():
        fix = "say it like 'put the red cube in the blue bowl'"
        raise UnknownObjectError("an empty instruction", "one sentence in plain language", fix)
    if vocabulary is not None:
        vocabulary.check(instruction)
