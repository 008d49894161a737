"""RT-1: FiLM is the identity at first, tokens are means of the map, frames are causal, dimensions independent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_sights import NAMES, SIZES, fitted, queries, toy_batch

from vla_core.errors import PolicyError
from vla_policy.core.blocks.token_learner import TokenLearner
from vla_policy.core.sight import Sight
from vla_policy.core.systems.rt1 import Rt1, Rt1Config
from vla_policy.core.systems.system import Labels

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
    """Things and tool stand on the feature maps, x and y in the first view, z in the second; nothing else is told."""
    sight, labels = toy_batch(rows, seed)
    fine = 0.05 * torch.randn(rows, 2, SIZES.features, 8, 8, generator=torch.Generator().manual_seed(seed))
    looks = torch.cat([queries(), 2.0 * torch.ones(1, SIZES.features)])
    places = torch.cat([sight.xyz, sight.tool[:, None]], 1) - torch.tensor([0.5, 0.0, 0.1])
    at = (places / 0.1 + 3.5).clamp(0, 7)
    cells = torch.arange(8.0)
    for view, (row, column) in enumerate(((0, 1), (2, 1))):
        weights = [(1 - (at[..., axis, None] - cells).abs()).clamp(min=0) for axis in (row, column)]
        fine[:, view] += torch.einsum("nkr,nkc,kf->nfrc", *weights, looks)
    told = sight._replace(
        fine=fine,
        pooled=sight.pooled.fill_(torch.nan),
        xyz=sight.xyz.fill_(torch.nan),
        state=sight.state.fill_(torch.nan),
    )
    return told, labels


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
    """Median distance [cm] at the knot."""
    sight, labels = painted(64 * system.history, 7)
    chunk = system.physical(system.draw(sight, labels.chunk).chunk)
    wanted = labels.chunk[system.history - 1 :: system.history]
    return float((10.0 * (chunk - wanted)[:, KNOT, :3].norm(dim=-1)).median())


def test_it_learns_to_reach_what_is_named_from_images_and_language_alone() -> None:
    system = make(frames=1)
    before = miss_cm(system)
    learn(system, 250)
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
