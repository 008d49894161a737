"""Eyes are known by the weights that a sight depends on, by all of them and no others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from toy_demonstrations import INSTRUCTIONS, NAMES, observation

from vla_core.contract import Contract
from vla_policy.core import eyes as eyes_module
from vla_policy.core.eyes import Eyes, _mark
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.vocabulary import Vocabulary


@torch.no_grad()
def test_whatever_changes_a_sight_changes_the_mark(
    contract: Contract, preset_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tensor after the other; those of head, judge and corrector change neither."""
    config = configure(yaml.safe_load(preset_file.read_text())["model"], contract)
    encoder = eyes_module.minilm(config.language.max_tokens)
    monkeypatch.setattr(encoder, "encode", memoised(encoder.encode))  # frozen, and slower than all the rest
    monkeypatch.setattr(eyes_module, "minilm", lambda _: encoder)
    torch.manual_seed(0)
    model = KeypointFlow(config)
    rgb = torch.from_numpy(observation(contract).rgb[None])

    def seen() -> dict[str, Tensor]:
        eyes = Eyes(model, Vocabulary.from_corpus(INSTRUCTIONS, NAMES), contract, "")
        told = eyes.tell([INSTRUCTIONS[0]])
        state = torch.from_numpy(eyes.features.forward(observation(contract).state)[None])
        sight = eyes.sight(eyes.look.see(model.see(rgb), state), told, state)
        return {name: part for name, part in sight._asdict().items() if part is not None}

    before, mark = seen(), _mark(model.state_dict())
    left_alone, blind = set(), []
    for name, tensor in model.state_dict().items():
        if not tensor.dtype.is_floating_point:
            continue
        kept = tensor.clone()
        tensor.add_(0.05 * torch.randn(tensor.shape))
        unmarked = _mark(model.state_dict()) == mark
        if unmarked and any(not torch.equal(part, before[key]) for key, part in seen().items()):
            blind.append(name)
        if unmarked:
            left_alone.add(name.partition(".")[0])
        tensor.copy_(kept)
    assert not blind
    assert left_alone == {"head", "future", "corrector", "fusion", "action_mean", "action_std"}


def memoised(encode: Callable[[list[str]], Any]) -> Callable[[list[str]], Any]:
    """Of lists."""
    known = cache(lambda sentences: encode(list(sentences)))
    return lambda sentences: known(tuple(sentences))
