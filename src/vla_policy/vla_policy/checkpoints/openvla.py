"""OpenVLA (Kim et al. 2024) and OpenVLA-OFT (Kim, Finn, Liang 2025) in the layout of their Hugging Face folders.

Two vision transformers look at every image, and their patches are joined channel by channel; an MLP makes them words of
a Llama, right behind its first token. OpenVLA then says one of the 256 least used tokens per action dimension, one
after the other. OFT puts one empty token per value of a chunk behind the prompt and lets everything see everything:
one pass, and an MLP turns the states of a step's tokens into its action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import PolicyError, UnknownNameError
from vla_policy.core.blocks.chunk_regression import ChunkRegression, ChunkRegressionConfig
from vla_policy.core.blocks.decoder import Cache, Decoder, DecoderConfig
from vla_policy.core.blocks.vit import Vit, VitConfig
from vla_policy.core.tokenizers.bins import Bins
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots

#: By timm's names, with all their layers; OpenVLA takes the states before the last one.
VISION = {
    "vit_large_patch14_reg4_dinov2.lvd142m": VitConfig(
        1024, 24, 16, 4096, 14, 224, "gelu", class_token=True, registers=4, layer_scale=True, norm=False
    ),
    "vit_so400m_patch14_siglip_224": VitConfig(1152, 27, 16, 4304, 14, 224, "gelu", norm=False),
    "vit_so400m_patch14_siglip_384": VitConfig(1152, 27, 16, 4304, 14, 384, "gelu", norm=False),
}
STOP = 2  # Llama's end token, which OFT puts behind the empty ones
EMPTY = 29_871  # Llama's token of an empty word, which stands behind "Out:" in training


@dataclass(frozen=True, slots=True)
class OpenVlaSizes:
    """What config.json and the files beside it say.

    Attributes:
        vision: timm's names of the encoders. images: Edge of the images that each takes [pixel].
        language: Of the Llama. vocabulary: Rows of its embedding. words: Those of its tokenizer.
        bins: Edges between -1 and 1, one more than bins.
        actions: D. steps: T; 0: OpenVLA, one action. state: Numbers of the state that OFT is told, 0 for none.
        regresses: OFT's L1 head is there; else its tokens are read as OpenVLA's.
    """

    vision: tuple[str, ...]
    images: tuple[int, ...]
    language: DecoderConfig
    vocabulary: int
    words: int
    bins: int
    actions: int
    steps: int = 0
    state: int = 0
    regresses: bool = False


class OpenVla(nn.Module):
    """See the module.

    Raises:
        UnknownNameError: no such vision encoder.
        PolicyError: none, or more than two of them.
    """

    def __init__(self, sizes: OpenVlaSizes) -> None:
        super().__init__()
        self.sizes = sizes
        if not 1 <= len(sizes.vision) <= 2 or len(sizes.images) != len(sizes.vision):
            got = f"{len(sizes.vision)} vision encoders for images of {list(sizes.images)} pixels"
            raise PolicyError(got, "one or two, with a size each", "choose another checkpoint")
        width, seen = sizes.language.width, 0
        self.vision = nn.ModuleList()
        for name, edge in zip(sizes.vision, sizes.images, strict=True):
            if name not in VISION:
                raise UnknownNameError("vision encoder", name, VISION)
            self.vision.append(Vit(used(VISION[name], edge)))
            seen += VISION[name].width
        widths = [seen, 4 * seen, width, width] if len(sizes.vision) == 2 else [seen, width, width]
        self.project = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.embedding = nn.Parameter(torch.zeros(sizes.vocabulary, width))
        self.decoder = Decoder(sizes.language)
        self.speak = nn.Linear(width, sizes.vocabulary, bias=False)
        if sizes.state:
            self.state = nn.ModuleList([nn.Linear(sizes.state, width), nn.Linear(width, width)])
        if sizes.regresses:
            self.head = ChunkRegression(ChunkRegressionConfig(width, 2), sizes.actions, width)
        self.slots = VocabularySlots.overwritten(sizes.words, sizes.bins, size=sizes.vocabulary)
        self.bins = Bins((-1.0,) * sizes.actions, (1.0,) * sizes.actions, sizes.bins - 1)

    def see(self, images: Sequence[Tensor]) -> Tensor:
        """Every encoder's view (B,V,3,H,W) of the same V images to words (B,V*P,C)."""
        views = images[0].shape[1]
        parts = [vit(seen.flatten(0, 1)) for vit, seen in zip(self.vision, images, strict=True)]
        x = torch.cat(parts, -1)
        for i, layer in enumerate(self.project):
            x = layer(x if i == 0 else F.gelu(x))
        return x.reshape(-1, views * x.shape[1], x.shape[2])

    def prompt(self, images: Sequence[Tensor], tokens: Tensor, state: Tensor | None) -> Tensor:
        """Embedded: the first token, the images, the state, the other tokens (B,N,C)."""
        words = self.embedding[tokens]
        parts = [words[:, :1], self.see(images)]
        if state is not None:
            parts.append(self.state[1](F.gelu(self.state[0](state)))[:, None])
        return torch.cat([*parts, words[:, 1:]], 1)

    def act(self, images: Sequence[Tensor], tokens: Tensor, state: Tensor | None = None) -> Tensor:
        """Normalised actions (B,T,D), T = 1 for OpenVLA.

        Args:
            images: Per encoder (B,V,3,H,W), normalised as it wants.
            tokens: (B,L) int64 of the prompt, begin token first.
            state: (B,S) normalised, for an OFT that was trained with it.
        """
        x = self.prompt(images, tokens, state)
        return self._in_parallel(x) if self.sizes.steps else self._one_by_one(x)

    def _one_by_one(self, x: Tensor) -> Tensor:
        """Only action tokens can be said (Brohan et al. 2023, RT-2, section 3.2)."""
        said: list[Tensor] = []
        cache: Cache | None = None
        for _ in range(self.sizes.actions):
            past = 0 if cache is None else cache[0][0].shape[2]
            count = x.shape[1]
            positions = torch.arange(past, past + count, device=x.device)[None]
            mask = torch.ones(count, past + count, dtype=torch.bool, device=x.device).tril(past)
            hidden, cache = self.decoder(x, positions, mask, cache)
            said.append(self.slots.constrain(self.speak(hidden[:, -1])).argmax(-1))
            x = self.embedding[said[-1]][:, None]
        return self._values(torch.stack(said, 1))[:, None]

    def _in_parallel(self, x: Tensor) -> Tensor:
        """Everything sees everything; a value is read where its token would be predicted, one place before it."""
        sizes, (batch, before, width) = self.sizes, x.shape
        count = sizes.steps * sizes.actions
        stop = self.embedding[STOP].expand(batch, 1, -1)
        x = torch.cat([x, x.new_zeros(batch, count, width), stop.to(x.dtype)], 1)
        hidden, _ = self.decoder(x, torch.arange(x.shape[1], device=x.device)[None])
        hidden = hidden[:, before - 1 : before - 1 + count]
        if sizes.regresses:
            out: Tensor = self.head(hidden)
            return out
        said = self.slots.constrain(self.speak(hidden)).argmax(-1)
        return self._values(said.view(batch, sizes.steps, -1))

    def _values(self, tokens: Tensor) -> Tensor:
        """Tokens (...,D) to bin centres; the last code, one more than there are bins, counts as the last bin."""
        codes = self.slots.codes(tokens).clamp(max=self.bins.count - 1)
        return self.bins.decode(codes)


def used(config: VitConfig, edge: int) -> VitConfig:
    """An encoder without its last layer, for images of another size."""
    return replace(config, layers=config.layers - 1, image=edge)
