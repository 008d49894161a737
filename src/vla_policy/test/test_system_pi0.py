"""pi0: the expert reads cached keys and values; its field is that of straight paths."""

from __future__ import annotations

from typing import Any

import torch

from vla_policy.core import flow
from vla_policy.core.blocks.decoder import block_mask
from vla_policy.core.systems.pi0 import Pi0, Pi0Config
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

DECODER = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 64}
BACKBONE: dict[str, Any] = {"block": "small_vlm", "tokens": {}, "decoder": DECODER, "vocabulary": 64}


def make() -> Pi0:
    torch.manual_seed(0)
    config = Pi0Config(BACKBONE, {"width": 24, "hidden": 48}, samples=2, prefix_steps=4, steps=5)
    system = fitted(Pi0(config, SIZES))
    assert isinstance(system, Pi0)
    return system


def test_it_learns_to_reach_what_is_named() -> None:
    system = make()
    before = miss_cm(system)
    learn(system, 180)
    assert miss_cm(system) < 0.5 * before


@torch.no_grad()
def test_cached_keys_and_values_give_the_chunk_of_the_whole_sequence() -> None:
    """One pass over backbone tokens, state and actions, with each part's own weights, as in the paper's figure 3."""
    system = make().eval()
    sight, _ = toy_batch(3)
    actions, time = torch.randn(3, SIZES.horizon, SIZES.action_width), torch.full((3, SIZES.horizon), 0.3)
    field = system.field(sight)
    expected = field.fast(actions, time)
    calls = []
    system.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    again = torch.cat(
        [system.field(sight.rows(slice(i, i + 1))).fast(actions[i : i + 1], time[i : i + 1]) for i in range(3)]
    )
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_backbone_reads_once_however_many_steps_are_integrated() -> None:
    system, reads = make().eval(), []
    system.backbone.decoder.register_forward_hook(lambda *_: reads.append(1))
    sight, _ = toy_batch(2)
    assert system.draw(sight, torch.randn(2, SIZES.horizon, SIZES.action_width)).passes == 5
    assert len(reads) == 1


@torch.no_grad()
def test_the_backbone_never_sees_state_or_actions_of_the_expert() -> None:
    system = make().eval()
    sight, _ = toy_batch(2)
    read = system.backbone.read(sight)
    noise = torch.randn(2, SIZES.horizon, SIZES.action_width)
    first = system.expert.velocity(noise, torch.zeros(2, SIZES.horizon), sight.state, read)
    other = system.expert.velocity(noise + 1.0, torch.zeros(2, SIZES.horizon), sight.state, read)
    assert not torch.allclose(first, other)
    for (key, value), (key_again, value_again) in zip(read.cache, system.backbone.read(sight).cache, strict=True):
        assert torch.equal(key, key_again) and torch.equal(value, value_again)


@torch.no_grad()
def test_actions_see_each_other_and_the_state_but_not_the_other_way_round() -> None:
    mask = block_mask(torch.tensor([0, 0, 1, 2, 2]), torch.ones(1, 5, dtype=torch.bool))[0, 0]
    assert mask[4].all() and mask[3].all()
    assert mask[2].tolist() == [True, True, True, False, False]
    assert mask[0].tolist() == [True, True, False, False, False]


def test_the_field_of_one_chunk_is_that_of_a_straight_path() -> None:
    """Overfitted to a single chunk, the velocity anywhere on the way to it is data minus noise."""
    system = make()
    sight, labels = toy_batch(1)
    chunk = system.normalised(labels.chunk)
    optimiser = torch.optim.Adam(system.parameters(), lr=3e-3)
    for _ in range(250):
        times = 16
        time = flow.sample_time(times)[:, None].expand(-1, SIZES.horizon)
        data = chunk.repeat(times, 1, 1)
        noise = torch.randn_like(data)
        point, wanted = flow.path(data, noise, time)
        error = (system.field(sight).fast(point, time) - wanted).square().mean()
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        noise = torch.randn(1, SIZES.horizon, SIZES.action_width, generator=torch.Generator().manual_seed(3))
        drawn = system.draw(sight, noise).chunk
    assert float((drawn - chunk).abs().mean()) < 0.1 * float((noise - chunk).abs().mean())
