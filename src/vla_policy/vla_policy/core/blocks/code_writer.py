"""A language model that writes actions: token after token, and nothing but tokens that stand for actions.

Autoregressive decoding with cached keys and values, held to the action tokens of the vocabulary (Brohan et al. 2023,
RT-2, section 3.2, "output constraint"), and to those that still fit: an answer ends with a whole action, never within
one, and never in text.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vla_core.errors import ConfigError
from vla_policy.core.blocks.decoder import Cache
from vla_policy.core.blocks.vlm import Read, SmallVlm
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots
from vla_policy.core.words import BEGIN

NONE = -1  # stands behind the last code of a row that ends before others


class Written(NamedTuple):
    """What the model wrote.

    Attributes:
        codes: int64 (B,N), NONE behind a row's end.
        confidence: (B,N) what the model held each of them probable, among all tokens, text too; 0 behind a row's end.
        passes: Forward passes that it took.
    """

    codes: Tensor
    confidence: Tensor
    passes: int


def check_room(backbone: SmallVlm, slots: VocabularySlots) -> None:
    """Make sure that no word of a fitted backbone stands where an action stands.

    Raises:
        ConfigError: it does.
    """
    words, free = len(backbone.words), min(slots.first, slots.first - slots.count + 1)
    if words > free:
        got = f"{words} words and {slots.count} action tokens in {slots.size}"
        raise ConfigError(got, f"at most {free} words", "enlarge backbone: vocabulary")


def prompt(backbone: SmallVlm, rows: int) -> Tensor:
    """The embedded token (B,1,C) behind which `rows` answers begin."""
    device = backbone.embedding.weight.device
    return backbone.embedding(torch.full((rows, 1), BEGIN, device=device))  # type: ignore[no-any-return]


def teach(backbone: SmallVlm, slots: VocabularySlots, read: Read, begin: Tensor, codes: Tensor) -> Tensor:
    """Mean cross-entropy of codes behind `begin`, among all tokens of the vocabulary.

    Args:
        backbone: Whose.
        slots: Where codes stand.
        read: The prefix, B rows.
        begin: (B,K,C) embedded tokens before the first code.
        codes: int64 (B,N); NONE bears no loss.
    """
    said = slots.tokens(codes.clamp(min=0))
    hidden, _ = backbone.extend(read, torch.cat([begin, backbone.embedding(said[:, :-1])], 1))
    return next_code_loss(backbone, slots, hidden[:, begin.shape[1] - 1 :], codes)


def next_code_loss(backbone: SmallVlm, slots: VocabularySlots, hidden: Tensor, codes: Tensor) -> Tensor:
    """The same from states (B,N,C), each of the token before its code."""
    wanted = torch.where(codes == NONE, NONE, slots.tokens(codes.clamp(min=0)))
    loss = F.cross_entropy(backbone.speak(hidden).flatten(0, 1), wanted.flatten(), ignore_index=NONE, reduction="sum")
    return loss / (codes != NONE).sum().clamp(min=1)


@torch.no_grad()
def write(
    backbone: SmallVlm, slots: VocabularySlots, read: Read, begin: Tensor, lengths: Tensor, total: int
) -> Written:
    """Greedy codes behind `begin` until every row is whole.

    Args:
        backbone: Whose.
        slots: Where codes stand.
        read: The prefix, B rows; it is read once, and every pass adds what was written last.
        begin: (B,K,C) embedded tokens before the first code.
        lengths: int64 (count,) how much of an action each code holds, 1 for the bin of one value.
        total: What a whole action holds. Codes that are longer than what is missing aren't written.
    """
    lengths = lengths.to(begin.device)
    missing = torch.full((len(begin),), total, device=begin.device)
    codes: list[Tensor] = []
    confidence: list[Tensor] = []
    token, cache = begin, None
    while bool((missing > 0).any()):
        token, cache, sure = _next(backbone, slots, read, token, cache, lengths <= missing[:, None])
        open_row = missing > 0
        code = slots.codes(token)
        codes.append(torch.where(open_row, code, NONE))
        confidence.append(torch.where(open_row, sure, 0.0))
        missing = missing - torch.where(open_row, lengths[code], 0)
        token = backbone.embedding(token)[:, None]
    return Written(torch.stack(codes, 1), torch.stack(confidence, 1), len(codes))


def _next(
    backbone: SmallVlm, slots: VocabularySlots, read: Read, begin: Tensor, cache: Cache | None, fits: Tensor
) -> tuple[Tensor, Cache, Tensor]:
    """Tokens (B,), the cache with `begin`, and the tokens' probability; rows that are whole repeat any code."""
    hidden, cache = backbone.extend(read, begin, None, cache)
    logits = backbone.speak(hidden[:, -1]).float()
    allowed = fits | ~fits.any(-1, keepdim=True)
    token = slots.constrain(logits, allowed).argmax(-1)
    sure = torch.softmax(logits, -1).gather(-1, token[:, None])[:, 0]
    return token, cache, sure
