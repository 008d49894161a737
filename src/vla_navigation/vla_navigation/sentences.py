"""Sentences as vectors, by the encoder that ships: who asks first loads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_core.types import Float64
from vla_policy.core.text import minilm

_WORDS = 32  # tokens of a sentence


def embed(texts: Sequence[str]) -> Float64:
    """Unit vectors (N,D) of texts."""
    vectors = np.asarray(minilm(_WORDS).encode(list(texts)).sentence, np.float64)
    unit: Float64 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
