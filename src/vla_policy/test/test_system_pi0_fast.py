"""pi0-FAST: a chunk is a short sentence, written token after token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vla_policy.core.sight import Sight
from vla_policy.core.systems.pi0_fast import Pi0Fast
from vla_policy.core.systems.sizes import Fitting
from vla_policy.core.systems.system import Labels
from vla_policy.core.systems.writing import WritingConfig
from vla_policy.training.toy_world import NAMES, SIZES, fitted, queries, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {}, "decoder": DECODER, "vocabulary": 200}
ACTIONS = {"vocabulary": 100, "scale": 5.0}


def make(seed: int = 0) -> Pi0Fast:
    torch.manual_seed(seed)
    system = fitted(Pi0Fast(WritingConfig(BACKBONE, ACTIONS), SIZES))
    assert isinstance(system, Pi0Fast)
    return system


def every_name(scenes: int) -> tuple[Sight, torch.Tensor]:
    """Some scenes, each once with each name told, and chunks (K*scenes,T,D) that lead there."""
    sight, _ = toy_batch(scenes)
    told, labels = toy_batch(64, 1)
    rows = [labels.subtask.index(f"reach the {name}") for name in NAMES]
    asked = [sight._replace(text=told.text[[i] * scenes], sentence=told.sentence[[i] * scenes]) for i in rows]
    way = torch.cat([sight.xyz[:, k] - sight.tool for k in range(len(NAMES))]) / 0.1
    ramp = torch.linspace(0, 1, SIZES.horizon)[None, :, None]
    tail = labels.chunk[:1, :, 3:].expand(len(way), -1, -1)
    return Sight.stacked(asked), torch.cat([ramp * way[:, None], tail], -1)


def test_what_it_was_taught_it_writes() -> None:
    """Each scene with each name: chunks come back as near as rounding permits, so it reads the name and the scene."""
    system = make()
    sight, chunk = every_name(8)
    labels = Labels(system.normalised(chunk), torch.ones(chunk.shape[:2], dtype=torch.bool))
    optimiser = torch.optim.AdamW(system.parameters(), lr=6e-3)
    for _ in range(150):
        loss = system.losses(sight, labels)["action"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimiser.step()
    drawn = system.draw(sight, torch.zeros_like(chunk))
    error = (system.physical(drawn.chunk) - chunk).norm(dim=1)
    bound = torch.from_numpy(system.actions.tokens.error_bound()).float() + 1e-4
    assert float((error <= bound).all(1).float().mean()) > 0.9
    assert 1 < drawn.passes < system.actions.tokens.symbols / 4


def test_an_untrained_model_writes_whole_chunks_too() -> None:
    """Only what still fits may be written, so no sentence ends within a chunk or runs on behind it."""
    for seed in range(3):
        system = make(seed).eval()
        written = system.act(toy_batch(4, seed)[0])
        chunk = system.actions.decode(written.codes)
        assert chunk.shape == (4, SIZES.horizon, SIZES.action_width) and bool(torch.isfinite(chunk).all())


def test_losses_are_those_of_the_sentence_and_of_whole_rows_alone() -> None:
    system = make()
    sight, labels = toy_batch(6)
    whole = labels.known.all(1)
    data = Labels(system.normalised(labels.chunk), labels.known)
    chosen = Labels(data.chunk[whole], labels.known[whole])
    expected = system.losses(sight.rows(whole), chosen)["action"]
    torch.testing.assert_close(system.losses(sight, data)["action"], expected)


def test_tokens_per_chunk_are_a_quarter_of_the_bins_at_most() -> None:
    """16 steps of 7 smooth values are 112 bins (Pertsch et al. 2025, table 1: FAST takes 20 to 53 for such data)."""
    rng, ramp = np.random.default_rng(0), np.linspace(0, 1, 16)[None, :, None]
    move = 10 * ramp**3 - 15 * ramp**4 + 6 * ramp**5
    begin, way = rng.normal(size=(2, 1500, 1, 7))
    sizes = SIZES.__class__(**{name: getattr(SIZES, name) for name in SIZES.__slots__} | {"horizon": 16})
    chunk = torch.from_numpy(begin * 0.2 + way * move).float()
    section = BACKBONE | {"vocabulary": 1100}
    system = Pi0Fast(WritingConfig(section, {"vocabulary": 1024, "scale": 10.0}), sizes)
    system.fit(Fitting(chunk, queries(), NAMES))
    said = system.actions.encode(chunk[:200])
    tokens = (said > 0).sum(1).float().mean() - 2  # without the first and the last word of a sentence
    assert float(tokens) < 16 * 7 / 4


def test_what_was_fitted_goes_with_the_weights() -> None:
    system, other = make(), Pi0Fast(WritingConfig(BACKBONE, ACTIONS), SIZES)
    other.restore(system.notes())
    other.load_state_dict(system.state_dict())
    sight, noise = toy_batch(3)[0], torch.zeros(3, SIZES.horizon, SIZES.action_width)
    assert torch.equal(system.draw(sight, noise).chunk, other.draw(sight, noise).chunk)
