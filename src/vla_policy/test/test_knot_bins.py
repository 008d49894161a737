"""Knots of a chunk as bins."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import PolicyError
from vla_policy.core.blocks.knot_bins import KnotBins
from vla_policy.core.blocks.knots import Knots
from vla_policy.core.systems.sizes import Fitting

KNOTS = Knots((0, 4, 9), 10)


def chunks(seed: int, rows: int = 400) -> torch.Tensor:
    """Motion that grows with the step, a whole number, and a gripper."""
    draw = torch.Generator().manual_seed(seed)
    way = torch.randn(rows, 1, 2, generator=draw) * torch.arange(1, 11)[:, None]
    mode = torch.randint(3, (rows, 1, 1), generator=draw).expand(-1, 10, -1).float()
    gripper = torch.where(torch.rand(rows, 10, 1, generator=draw) > 0.5, 1.0, -1.0)
    return torch.cat([way, mode, gripper], -1)


def fitted(kind: str = "uniform", count: int = 64) -> KnotBins:
    bins = KnotBins(KNOTS, 4, kind, count)
    bins.fit(Fitting(chunks(0), torch.zeros(0, 0), ()))
    return bins


@given(st.integers(0, 2**32 - 1), st.integers(2, 256))
def test_a_round_trip_is_off_by_half_a_bin_of_its_own_knot(seed: int, count: int) -> None:
    """Early knots, where little has moved, have narrow bins."""
    bins, chunk = fitted(count=count), chunks(0)[seed % 400][None]
    codes = bins.encode(chunk)
    assert codes.shape == (1, bins.tokens) == (1, 12)
    width = (torch.tensor(bins.bins.high) - torch.tensor(bins.bins.low)).view(3, 4) / count
    error = (KNOTS.encode(bins.decode(codes)) - KNOTS.encode(chunk)).abs()[0]
    assert bool((error <= 0.5 * width + 1e-5).all())
    assert float(width[0, 0]) < 0.2 * float(width[2, 0])


def test_bounds_come_back_from_notes() -> None:
    bins, again = fitted("quantile"), KnotBins(KNOTS, 4, "quantile", 64)
    with pytest.raises(PolicyError, match="bins without bounds"):
        again.encode(chunks(1))
    again.restore(bins.notes())
    assert torch.equal(again.encode(chunks(1)), bins.encode(chunks(1)))


def test_labels_follow_their_knots() -> None:
    known = torch.ones(1, 10, dtype=torch.bool)
    known[0, 4] = False
    assert fitted().known(known).tolist() == [[True] * 4 + [False] * 4 + [True] * 4]


def test_only_whole_numbers_are_allowed_where_the_column_holds_such() -> None:
    bins = fitted(count=256)
    allowed = bins.whole((2,)).view(3, 4, 256)
    assert bool(allowed[:, [0, 1, 3]].all())
    for knot in range(3):
        codes = allowed[knot, 2].nonzero()[:, 0].tolist()
        assert codes == [0, 128, 255]
        rows = torch.zeros(3, 12, dtype=torch.long)
        rows[:, 4 * knot + 2] = torch.tensor(codes)
        values = KNOTS.encode(bins.decode(rows))[:, knot, 2]
        torch.testing.assert_close(values, torch.arange(3.0), atol=0.01, rtol=0)
