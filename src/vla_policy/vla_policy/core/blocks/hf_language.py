"""Published language models by transformers from a local folder: T5's encoder, or Llama, Qwen, SmolLM, Gemma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError
from vla_policy.core.blocks.hf_loading import load_config, load_weights_into
from vla_policy.core.blocks.hf_words import HfWords
from vla_policy.core.text import Text

#: By model type: class, part that reads, whether a word sees only what stands before it.
READERS: dict[str, tuple[str, str, bool]] = {
    "t5": ("T5EncoderModel", "", False),
    "llama": ("LlamaForCausalLM", "model", True),
    "qwen2": ("Qwen2ForCausalLM", "model", True),
    "qwen3": ("Qwen3ForCausalLM", "model", True),
    "gemma": ("GemmaForCausalLM", "model", True),
}


@dataclass(frozen=True, slots=True)
class HfLanguageConfig:
    """Which model.

    Attributes:
        path: Local folder with tokenizer.json.
        layer: States of which layer: -1 the last one, behind its norm; -2 the one before, and so on.
        max_tokens: Longer sentences are cut.
        dtype: Of the weights.
    """

    path: str
    layer: int = -1
    max_tokens: int = 32
    dtype: str = "float32"


class HfLanguage(nn.Module):
    """Token states and sentence embeddings; interchangeable with `core/text.MiniLm`.

    Raises:
        WeightsError, UnknownNameError: see load_config, load_weights_into and HfWords.
        ConfigError: a layer that the model doesn't have.
    """

    def __init__(self, config: HfLanguageConfig) -> None:
        super().__init__()
        folder = Path(config.path)
        found = load_config(folder, READERS)
        name, part, self.causal = READERS[found.model_type]
        if not -int(found.num_hidden_layers) <= config.layer <= -1:
            got = f"layer {config.layer} of {folder.name}"
            raise ConfigError(got, f"-1 .. -{found.num_hidden_layers}", "mend the preset")
        model = load_weights_into(name, folder, found, config.dtype)
        self.config, self.model = config, (getattr(model, part) if part else model)
        self.width, self.max_tokens = int(found.hidden_size), config.max_tokens
        words = HfWords(folder, int(found.vocab_size))
        self.tokenizer: Any = words.tokenizer
        self.tokenizer.enable_truncation(config.max_tokens)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids int64 (N,L) and their validity, bool (N,L), to states (N,L,W), zero in the padding, and sentences (N,W).

        A sentence is the mean of its words, or the last one where a word sees only what stands before it; unit norm.
        """
        deeper = self.config.layer < -1
        out = self.model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=deeper)
        states = (out.hidden_states[self.config.layer] if deeper else out.last_hidden_state).float()
        states = states * mask[..., None]
        if self.causal:
            last = mask.long().sum(1).sub(1).clamp(min=0)
            sentence = states[torch.arange(len(states), device=states.device), last]
        else:
            sentence = states.sum(1) / mask.sum(1, keepdim=True)
        return states, F.normalize(sentence, dim=-1)

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Text:
        """See MiniLm.encode; padded to `max_tokens`."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sentences))]
        room = self.max_tokens
        mask = torch.tensor([[i < len(row) for i in range(room)] for row in rows])
        ids = torch.tensor([row + [0] * (room - len(row)) for row in rows])
        device = next(self.model.parameters()).device
        states, sentence = self(ids.to(device), mask.to(device))
        return Text(states.cpu().numpy(), mask.numpy(), sentence.cpu().numpy())
