"""The transformer block: what is cached equals what is computed, and nobody sees more than the mask allows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.errors import ConfigError
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig, attend, block_mask, rotate

CONFIG = DecoderConfig(width=32, layers=2, heads=4, kv_heads=2, head_width=8, hidden=48)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(CONFIG).eval().requires_grad_(False)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=4), st.integers(0, 2**16))
def test_parts_with_a_cache_give_what_the_whole_gives(decoder: Decoder, parts: list[int], seed: int) -> None:
    """Law: cutting a block-causal sequence between its blocks changes nothing."""
    blocks = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor(parts))
    count = len(blocks)
    x = torch.randn(2, count, CONFIG.width, generator=torch.Generator().manual_seed(seed))
    mask = block_mask(blocks, torch.ones(2, count, dtype=torch.bool))
    positions = torch.arange(count)[None]
    whole, _ = decoder(x, positions, mask)
    done, pieces, cache = 0, [], None
    for length in parts:
        rows = slice(done, done + length)
        piece, cache = decoder(x[:, rows], positions[:, rows], mask[:, :, rows, : done + length], cache)
        pieces.append(piece)
        done += length
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-4)


def test_padding_and_later_blocks_have_no_influence(decoder: Decoder) -> None:
    x = torch.randn(1, 6, CONFIG.width)
    valid = torch.tensor([[True, True, False, True, True, True]])
    mask = block_mask(torch.tensor([0, 0, 0, 0, 1, 2]), valid)
    first, _ = decoder(x, torch.arange(6)[None], mask)
    changed = x.clone()
    changed[:, [2, 5]] += 1.0
    second, _ = decoder(changed, torch.arange(6)[None], mask)
    kept = [0, 1, 3, 4]
    assert torch.equal(first[:, kept], second[:, kept])
    assert not torch.allclose(first[:, 5], second[:, 5])


def test_grouped_queries_are_full_attention_with_repeated_keys() -> None:
    query, key, value = torch.randn(2, 6, 3, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    full = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1)
    )
    torch.testing.assert_close(attend(query, key, value, None), full)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 200))
def test_rotary_scores_depend_on_the_distance_alone(first: int, second: int, shift: int) -> None:
    a, b = torch.randn(1, 1, 1, 16, dtype=torch.float64), torch.randn(1, 1, 1, 16, dtype=torch.float64)

    def score(i: int, j: int) -> float:
        turned = (rotate(v, torch.tensor([[p]]), 10_000.0).float() for v, p in ((a, i), (b, j)))
        left, right = turned
        return float((left * right).sum())

    assert score(first, second) == pytest.approx(score(first + shift, second + shift), abs=5e-3)


@pytest.mark.parametrize("change", [{"kv_heads": 3}, {"head_width": 7}, {"activation": "relu"}])
def test_sizes_that_make_no_sense_are_refused(change: dict[str, int | str]) -> None:
    sizes = {"width": 32, "layers": 1, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 48} | change
    with pytest.raises(ConfigError, match="mend the preset"):
        DecoderConfig(**sizes).check()  # type: ignore[arg-type]
