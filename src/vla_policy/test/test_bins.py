"""Bins of action values, and the token ids that stand for them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core.tokenizers.bins import Bins
from vla_policy.core.tokenizers.errors import TokenError
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots

seeds, counts = st.integers(0, 2**32 - 1), st.integers(1, 300)


def data(seed: int, rows: int = 500, width: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(rng.uniform(-5, 5, width), 10 ** rng.uniform(-2, 2, width), (rows, width))


@given(seeds, counts, st.sampled_from(["uniform", "quantile"]))
def test_round_trip_is_half_a_bin_off_at_most(seed: int, count: int, kind: str) -> None:
    values = data(seed)
    bins = Bins.fit(values, kind, count)
    inside = torch.from_numpy(values.clip(bins.low, bins.high))
    error = (bins.decode(bins.encode(inside), torch.float64) - inside).abs()
    half = (torch.tensor(bins.high) - torch.tensor(bins.low)) / count / 2
    assert bool((error <= half * (1 + 1e-5)).all())


@given(seeds, counts)
def test_larger_actions_have_larger_bins(seed: int, count: int) -> None:
    """Monotone, also outside of the bounds, where the outermost bins are."""
    values = data(seed)
    bins = Bins.fit(values, "quantile", count)
    rising = torch.from_numpy(np.sort(values * 3, axis=0))
    encoded = bins.encode(rising)
    assert bool((encoded.diff(dim=0) >= 0).all()) and int(encoded.min()) >= 0 and int(encoded.max()) < count
    beyond = torch.tensor([bins.low, bins.high]) + torch.tensor([[-1e9], [1e9]])
    assert bins.encode(beyond).tolist() == [[0] * 3, [count - 1] * 3]


@given(seeds, st.floats(10, 1e6), st.integers(1, 4))
def test_outliers_do_not_widen_quantile_bins(seed: int, far: float, outliers: int) -> None:
    """OpenVLA's defining property. With 500 rows, four on a side are less than 1 %."""
    values = data(seed)
    wild = values.copy()
    wild[:outliers] = values.max(0) + far
    clean = values[outliers:]
    quantile, uniform = Bins.fit(wild, "quantile"), Bins.fit(wild, "uniform")
    assert (quantile.low >= clean.min(0)).all() and (quantile.high <= clean.max(0)).all()
    assert (np.array(uniform.high) >= clean.max(0) + far * 0.99).all()


@given(seeds, counts)
def test_every_bin_is_its_centre_s_own(seed: int, count: int) -> None:
    bins = Bins.fit(data(seed), "uniform", count)
    centres = bins.centres()
    assert centres.shape == (3, count)
    assert torch.equal(bins.encode(centres.T), torch.arange(count)[:, None].expand(-1, 3))


def test_a_dimension_that_stands_still_keeps_its_value() -> None:
    bins = Bins.fit(np.array([[0.3, 0.0], [0.3, 1.0]]), "quantile")
    out = bins.decode(bins.encode(torch.tensor([[0.3, 0.5], [7.0, 0.5]])))
    torch.testing.assert_close(out[:, 0], torch.tensor([0.3, 0.3]))


def test_a_gripper_that_is_nearly_always_open_can_still_close() -> None:
    """Both percentiles are 'open' then; bins without width would lose the only thing that the gripper does."""
    values = np.ones((1000, 1))
    values[:5] = -1.0
    bins = Bins.fit(values, "quantile")
    assert (bins.low, bins.high) == ((-1.0,), (1.0,))


def test_openvla_s_255_bins_between_256_edges() -> None:
    """What the published weights mean by a token: 256 edges from -1 to 1, centres between them, counted from 31999."""
    bins, slots = Bins((-1.0,), (1.0,), 255), VocabularySlots.overwritten(32_000, 255, size=32_064)
    edges = np.linspace(-1, 1, 256)
    for token in (31_999, 31_872, 31_745):
        place = 32_000 - token - 1
        centre = (edges[place] + edges[place + 1]) / 2
        assert float(bins.decode(slots.codes(torch.tensor([token])))) == pytest.approx(centre, abs=1e-6)
        assert slots.tokens(bins.encode(torch.tensor([centre]))).tolist() == [token]


def test_metadata_round_trip() -> None:
    bins = Bins.fit(data(0), "quantile", 64)
    assert Bins.from_metadata(json.loads(json.dumps(bins.metadata()))) == bins


def test_what_is_no_action_is_refused() -> None:
    bins = Bins((0.0, 0.0), (1.0, 1.0), 4)
    with pytest.raises(TokenError, match="NaN"):
        bins.encode(torch.tensor([0.0, torch.nan]))
    with pytest.raises(TokenError, match=r"bins 0\.\.4.*expected 0\.\.3"):
        bins.decode(torch.tensor([0, 4]))
    with pytest.raises(TokenError, match="shape"):
        bins.encode(torch.zeros(5, 3))


def test_bounds_must_be_intervals_from_finite_data() -> None:
    with pytest.raises(UnknownNameError, match="quantile, uniform"):
        Bins.fit(data(0), "percentile")
    with pytest.raises(ConfigError, match="finite"):
        Bins.fit(np.array([[np.nan]]), "uniform")
    with pytest.raises(ConfigError, match="low <= high"):
        Bins((1.0,), (0.0,))


@given(st.integers(1, 500), st.integers(1, 64), st.booleans(), st.integers(0, 8), seeds)
def test_free_text_never_passes_the_mask(vocabulary: int, count: int, append: bool, padding: int, seed: int) -> None:
    """RT-2's defining property: whatever the model prefers, only action tokens can be written."""
    count = min(count, vocabulary)
    if append:
        slots = VocabularySlots.appended(vocabulary, count)
    else:
        slots = VocabularySlots.overwritten(vocabulary, count, size=vocabulary + padding)
    logits = torch.randn(4, slots.size, generator=torch.Generator().manual_seed(seed)) * 100
    logits[:, ~slots.mask()] += 1e6
    written = slots.constrain(logits).argmax(-1)
    codes = slots.codes(written)
    assert bool(((codes >= 0) & (codes < count)).all()) and torch.equal(slots.tokens(codes), written)
    assert int(slots.mask().sum()) == count


def test_slots_are_new_tokens_or_the_last_ones() -> None:
    assert VocabularySlots.appended(100, 4).tokens(torch.arange(4)).tolist() == [100, 101, 102, 103]
    assert VocabularySlots.overwritten(32_000, 256).tokens(torch.tensor([0, 255])).tolist() == [31_999, 31_744]
    assert VocabularySlots.overwritten(257_152, 2048, skip=128).tokens(torch.tensor([0])).tolist() == [257_023]


def test_only_some_codes_may_be_allowed() -> None:
    slots = VocabularySlots.overwritten(10, 3)
    allowed = torch.tensor([[True, False, False], [False, True, True]])
    assert slots.mask(allowed).nonzero().tolist() == [[0, 9], [1, 7], [1, 8]]


def test_text_is_named_when_it_is_read_as_an_action() -> None:
    slots = VocabularySlots.overwritten(32_000, 256)
    with pytest.raises(TokenError, match="got 15043 and 0 more; expected action tokens 31999 down"):
        slots.codes(torch.tensor([31_999, 15_043]))
    with pytest.raises(TokenError, match="got 256"):
        slots.tokens(torch.tensor([256]))
    with pytest.raises(ConfigError, match="a larger table"):
        VocabularySlots.overwritten(100, 101)
