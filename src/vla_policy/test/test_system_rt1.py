"""RT-1: FiLM is the identity at first, tokens are means of the map, frames are causal, dimensions independent."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vla_core.errors import PolicyError
from vla_policy.core.blocks.token_learner import TokenLearner
from vla_policy.core.sight import Sight
from vla_policy.core.systems.rt1 import Rt1, Rt1Config
from vla_policy.core.systems.system import Labels
from vla_policy.training.toy_world import NAMES, SIZES, fitted, queries, toy_batch

ENCODER: dict[str, Any] = {"widths": [24], "depths": [2], "strides": [1], "expand": 2}
DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 4, "head_width": 8, "hidden": 64}
FRAMES, KNOT = 3, 6


def make(frames: int = FRAMES) -> Rt1:
    torch.manual_seed(0)
    config = Rt1Config(ENCODER, DECODER, frames, tokens=8, bins=64, knot=KNOT)
    system = fitted(Rt1(config, SIZES))
    assert isinstance(system, Rt1)
    return system


def painted(rows: int, seed: int) -> tuple[Sight, Labels]:
    """The things stand on the first view's map, 10 cm are a cell; a chunk leads from its middle to the thing named."""
    sight, labels = toy_batch(rows, seed)
    draw = torch.Generator().manual_seed(seed)
    named = (sight.sentence[:, None] == _sentences()).all(-1).long().argmax(1)
    place = 2.0 * torch.rand(rows, len(NAMES), 2, generator=draw) - 1.0
    weights = (1 - (2.5 * place[..., None] + 2.5 - torch.arange(6.0)).abs()).clamp(min=0)
    fine = 0.05 * torch.randn(rows, 2, SIZES.features, 6, 6, generator=draw)
    fine[:, 0] += torch.einsum("nkr,nkc,kf->nfrc", weights[:, :, 0], weights[:, :, 1], queries())
    chunk = labels.chunk.clone()
    chunk[..., :2] = torch.linspace(0, 1, SIZES.horizon)[:, None] * place[torch.arange(rows), named][:, None]
    chunk[..., 2] = 0.0
    names = "pooled", "uv", "xyz", "generic", "state", "tool", "text"
    unseen = {name: torch.full_like(getattr(sight, name), torch.nan) for name in names}
    return sight._replace(fine=fine, **unseen), Labels(chunk, labels.known)


def _sentences() -> torch.Tensor:
    """As toy_batch draws them."""
    return torch.randn(len(NAMES), SIZES.sentence, generator=torch.Generator().manual_seed(2))


def learn(system: Rt1, steps: int, rows: int = 48) -> None:
    optimiser = torch.optim.AdamW(system.parameters(), lr=3e-3)
    for step in range(steps):
        sight, labels = painted(rows, 100 + step)
        loss = system.losses(sight, Labels(system.normalised(labels.chunk), labels.known))["bins"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimiser.step()


@torch.no_grad()
def miss_cm(system: Rt1) -> float:
    """Median distance [cm] at the knot; 10 cm if it stays or guesses."""
    sight, labels = painted(64 * system.history, 7)
    chunk = system.physical(system.draw(sight, labels.chunk).chunk)
    wanted = labels.chunk[system.history - 1 :: system.history]
    return float((10.0 * (chunk - wanted)[:, KNOT, :2].norm(dim=-1)).median())


def test_it_learns_to_reach_what_is_named_from_images_and_language_alone() -> None:
    system = make(frames=1)
    before = miss_cm(system)
    learn(system, 260)
    assert miss_cm(system) < 0.5 * before


@torch.no_grad()
def test_film_changes_nothing_at_the_start_and_everything_later() -> None:
    system = make()
    sight, _ = painted(3, 0)
    assert sight.fine is not None
    first = system.encoder(sight.fine, sight.sentence)
    for other in (torch.zeros_like(sight.sentence), torch.randn_like(sight.sentence)):
        assert torch.equal(system.encoder(sight.fine, other), first)
    system.encoder.stages[0][0].film.to_both.weight.normal_()  # type: ignore[index, union-attr]
    assert not torch.allclose(system.encoder(sight.fine, sight.sentence), first)


@torch.no_grad()
def test_token_learner_takes_means_wherever_the_cells_lie() -> None:
    torch.manual_seed(0)
    learner, cells = TokenLearner(24, 8, 24), torch.randn(2, 81, 24)
    weights = learner.weights(cells)
    assert weights.shape == (2, 8, 81) and bool((weights > 0).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 8))
    assert learner(cells).shape == (2, 8, 24)
    torch.testing.assert_close(learner(cells[:, torch.randperm(81)]), learner(cells))


@torch.no_grad()
def test_frames_know_the_past_and_not_the_future() -> None:
    system = make().eval()
    tokens = system.tokens(painted(2 * FRAMES, 0)[0])
    logits = system.answer(tokens)
    for changed in range(FRAMES):
        other = tokens.clone()
        other[changed] += 1.0
        differs = (system.answer(other) - logits).abs().amax((1, 2)) > 1e-6
        assert differs.tolist() == [False] * changed + [True] * (FRAMES - changed) + [False] * FRAMES


@torch.no_grad()
def test_tokens_of_a_frame_are_computed_from_it_alone() -> None:
    """So a running policy could keep those of the frames before."""
    system = make().eval()
    sight, _ = painted(2 * FRAMES, 0)
    alone = torch.cat([system.tokens(sight.rows(slice(i, i + 1))) for i in range(2 * FRAMES)])
    torch.testing.assert_close(alone, system.tokens(sight))
    assert alone.shape == (2 * FRAMES, 8, DECODER["width"])


@torch.no_grad()
def test_no_dimension_sees_another_one() -> None:
    system = make().eval()
    tokens = system.tokens(painted(FRAMES, 0)[0])
    logits = system.answer(tokens)
    system.query[2] += 1.0
    differs = (system.answer(tokens) - logits).abs().amax((0, 2)) > 1e-6
    assert differs.tolist() == [i == 2 for i in range(SIZES.action_width)]


def test_every_frame_bears_a_loss_where_it_is_labelled() -> None:
    system = make()
    sight, labels = painted(FRAMES, 0)
    known = torch.zeros_like(labels.known)
    assert float(system.losses(sight, Labels(labels.chunk, known))["bins"].detach()) == 0.0
    for frame in range(FRAMES):
        only = known.clone()
        only[frame] = True
        assert float(system.losses(sight, Labels(labels.chunk, only))["bins"].detach()) > 1.0


def test_the_eyes_must_keep_their_maps() -> None:
    sight, _ = toy_batch(FRAMES)
    with pytest.raises(PolicyError, match=r"Sight\.fine"):
        make().draw(sight._replace(fine=None), torch.zeros(1))
    assert make().needs == {"fine"} and len(NAMES) == 3
