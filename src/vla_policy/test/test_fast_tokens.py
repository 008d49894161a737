"""FAST: cosine transform, rounding, byte-pair encoding."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError
from vla_policy.core.tokenizers.errors import TokenError
from vla_policy.core.tokenizers.fast import FastTokens, dct_matrix

HORIZON, WIDTH = 16, 7
seeds = st.integers(0, 2**32 - 1)


def arm(seed: int, count: int) -> np.ndarray:
    """Chunks (count,16,7) as an arm makes them: pieces of minimum-jerk moves with a tremor, a gripper that switches."""
    rng = np.random.default_rng(seed)
    begin, duration = rng.uniform(-1, 1, (count, 1, 1)), rng.uniform(0.5, 2.0, (count, 1, 1))
    phase = np.clip(begin + np.linspace(0, 1, HORIZON)[:, None] / duration, 0, 1)
    move = 10 * phase**3 - 15 * phase**4 + 6 * phase**5
    chunks = rng.normal(0, 1, (count, 1, WIDTH)) + rng.normal(0, 2, (count, 1, WIDTH)) * move
    chunks += rng.normal(0, 0.01, chunks.shape)
    switch = rng.uniform(-1, 2, (count, 1))
    chunks[..., 6] = np.linspace(0, 1, HORIZON) > switch
    return chunks


@lru_cache(maxsize=1)
def fitted() -> FastTokens:
    return FastTokens.fit(arm(0, 2000))


def within(tokens: FastTokens, seed: int) -> np.ndarray:
    """Any chunk within the percentiles, by no means a smooth one."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        return rng.uniform(tokens.low, tokens.high, (HORIZON, WIDTH))
    return np.where(rng.random((HORIZON, WIDTH)) < 0.5, tokens.low, tokens.high)


@given(st.integers(1, 40))
def test_transform_keeps_lengths(length: int) -> None:
    matrix = dct_matrix(length)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(length), atol=1e-12)


def test_coefficients_are_frequencies() -> None:
    """Row k answers to a cosine of k half periods, and to nothing else; row 0 to a constant."""
    t = np.arange(12)
    for k in range(12):
        coefficients = dct_matrix(12) @ np.cos(np.pi * (t + 0.5) * k / 12)
        assert abs(coefficients[k]) > 1 and np.abs(np.delete(coefficients, k)).max() < 1e-12


@given(seeds)
def test_error_is_that_of_half_a_rounding_step(seed: int) -> None:
    """The bound holds for every chunk within the percentiles: no coefficient of such a chunk is clipped."""
    tokens = fitted()
    chunk = within(tokens, seed)
    assert np.abs(tokens.coefficients(chunk)).max() <= tokens.reach
    error = np.linalg.norm(tokens.decode(tokens.encode(chunk)) - chunk, axis=0)
    assert (error <= tokens.error_bound() * (1 + 1e-5)).all()


@given(seeds)
def test_byte_pair_encoding_loses_nothing(seed: int) -> None:
    """What is decoded has the very coefficients that were rounded, so encoding it again gives the same tokens."""
    tokens = fitted()
    chunk = within(tokens, seed)
    again = tokens.decode(tokens.encode(chunk))
    np.testing.assert_array_equal(tokens.coefficients(again), tokens.coefficients(chunk))
    assert tokens.encode(again) == tokens.encode(chunk)


def test_the_bound_holds_for_chunks_unlike_any_in_the_data() -> None:
    """White noise has small coefficients only; a chunk that rests at a percentile has the largest one that there is."""
    chunks = np.random.default_rng(0).uniform(-1, 1, (200, HORIZON, WIDTH))
    tokens = FastTokens.fit(chunks)
    seen = int(np.abs(tokens.coefficients(chunks)).max())
    rest = np.tile(tokens.high, (HORIZON, 1))
    assert seen < int(np.abs(tokens.coefficients(rest)).max()) <= tokens.reach
    error = np.linalg.norm(tokens.decode(tokens.encode(rest)) - rest, axis=0)
    assert (error <= tokens.error_bound() * (1 + 1e-5)).all()


def test_chunks_that_recur_become_single_tokens() -> None:
    motifs = arm(5, 3)
    tokens = FastTokens.fit(np.concatenate([motifs] * 10), vocabulary=2048)
    assert [len(tokens.encode(motif)) for motif in motifs] == [1, 1, 1]


def test_finer_scales_are_nearer() -> None:
    chunks, bounds, errors = arm(1, 50), [], []
    for scale in (5.0, 20.0):
        tokens = FastTokens.fit(arm(0, 500), scale)
        bounds.append(tokens.error_bound()[0])
        errors.append(np.mean([np.square(tokens.decode(tokens.encode(c)) - c).mean() for c in chunks]))
    assert bounds[0] == pytest.approx(4 * bounds[1]) and errors[0] > 8 * errors[1]


def test_smooth_chunks_take_a_quarter_of_a_bin_s_tokens() -> None:
    """Binning takes 16 x 7 = 112; a move needs few frequencies, and their sequences repeat."""
    count = [len(fitted().encode(chunk)) for chunk in arm(2, 200)]
    assert np.mean(count) < 112 / 4
    noise = [len(fitted().encode(within(fitted(), 2 * seed + 1))) for seed in range(50)]
    assert np.mean(noise) > 2 * np.mean(count), "it is smoothness that is short"


def test_lowest_frequencies_come_first() -> None:
    """The order decides what a language model must commit to first: all dimensions' means, then finer motion."""
    tokens = FastTokens.fit(arm(0, 200), vocabulary=300)
    plain = FastTokens(tokens.low, tokens.high, HORIZON, tokens.scale, tokens.reach, ())
    chunk = np.tile((np.array(tokens.low) + tokens.high) / 2, (HORIZON, 1))
    chunk[:, 2] += 0.5 * (tokens.high[2] - tokens.low[2])
    wave = np.cos(np.pi * (np.arange(HORIZON) + 0.5) / HORIZON)
    chunk[:, 4] += 0.5 * (tokens.high[4] - tokens.low[4]) * wave
    moved = [i for i, token in enumerate(plain.encode(chunk)) if token != plain.reach]
    assert moved == [2, WIDTH + 4], "constant of dimension 2, then first frequency of dimension 4"


@given(seeds)
def test_writing_only_what_fits_gives_a_whole_chunk(seed: int) -> None:
    """Constrained decoding: any draw among the tokens that still fit can be executed."""
    tokens, rng = fitted(), np.random.default_rng(seed)
    lengths, written, left = tokens.lengths(), [], tokens.symbols
    while left:
        written.append(int(rng.choice(np.flatnonzero(lengths <= left))))
        left -= int(lengths[written[-1]])
    assert tokens.decode(written).shape == (HORIZON, WIDTH)


def test_a_sequence_of_another_length_is_an_error_and_no_chunk() -> None:
    """The published tokenizer decodes it to zeros, which are a command."""
    tokens = fitted()
    whole = tokens.encode(arm(3, 1)[0])
    for wrong in (whole[:-1], [*whole, 0], []):
        with pytest.raises(TokenError, match="expected 16 x 7; fix: reject the chunk"):
            tokens.decode(wrong)
    with pytest.raises(TokenError, match=f"token {tokens.vocabulary}"):
        tokens.decode([tokens.vocabulary])
    with pytest.raises(TokenError, match="finite"):
        tokens.encode(np.full((HORIZON, WIDTH), np.nan))


def test_what_lies_far_outside_is_clipped_to_the_reach() -> None:
    tokens = fitted()
    far = tokens.decode(tokens.encode(np.full((HORIZON, WIDTH), 1e6)))
    assert np.isfinite(far).all() and (far > tokens.high).all() and far.max() < 1e3


def test_a_dimension_that_stands_still_keeps_its_value() -> None:
    chunks = arm(0, 100)
    chunks[..., 3] = 0.25
    tokens = FastTokens.fit(chunks)
    assert (tokens.decode(tokens.encode(chunks[0]))[:, 3] == 0.25).all() and tokens.error_bound()[3] == 0


def test_outliers_that_need_too_many_symbols_are_named() -> None:
    chunks = arm(0, 200)
    chunks[7, :, 1] = 1e4
    with pytest.raises(ConfigError, match=r"symbols; expected at most 1024; fix: remove outliers"):
        FastTokens.fit(chunks)


def test_metadata_round_trip() -> None:
    tokens = fitted()
    loaded = FastTokens.from_metadata(json.loads(json.dumps(tokens.metadata())))
    assert loaded == tokens and loaded.vocabulary == tokens.vocabulary <= 1024
    for chunk in arm(4, 20):
        assert loaded.encode(chunk) == tokens.encode(chunk)


def test_fit_repeats_itself() -> None:
    assert FastTokens.fit(arm(0, 300)) == FastTokens.fit(arm(0, 300))
