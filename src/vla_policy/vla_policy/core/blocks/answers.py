"""Asking a backbone: what it says when no action is wanted of it."""

from __future__ import annotations

import torch

from vla_policy.core.blocks.vlm import SmallVlm
from vla_policy.core.sight import Sight
from vla_policy.core.words import BEGIN

_LIMIT = 12  # tokens


@torch.no_grad()
def answers(backbone: SmallVlm, sight: Sight) -> list[str]:
    """What it says, word after word, to each row's question, which stands where the instruction would."""
    begin = torch.full((len(sight.state),), BEGIN, device=sight.state.device)
    said, _ = backbone.say(backbone.read(sight), begin, _LIMIT)
    return [backbone.words.decode(row) for row in said.tolist()]
