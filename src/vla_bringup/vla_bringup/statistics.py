"""The two summaries that every published table is made of: quantiles and a success rate with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

QUANTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def quantiles(values: Sequence[float], names: Sequence[str] = ("p50", "p95", "p99")) -> dict[str, float | None]:
    """Named quantiles, rounded to 4 significant digits; None where there are no values."""
    if len(values) == 0:
        return dict.fromkeys(names)
    return {name: rounded(float(np.percentile(values, QUANTILES[name]))) for name in names}


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """n, p50, p95, p99 and max."""
    return {"n": len(values), **quantiles(values), "max": rounded(float(max(values))) if len(values) else None}


def rounded(value: float, digits: int = 4) -> float:
    """Value with so many significant digits."""
    return float(f"{value:.{digits}g}")


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a success rate (Wilson 1927, JASA 22:209; 95 % by default).

    Args:
        successes: 0..n.
        n: Number of trials, > 0.

    Returns:
        Lower and upper bound, within 0..1.
    """
    assert 0 <= successes <= n and n > 0
    rate = successes / n
    scale = 1.0 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z * math.sqrt(rate * (1.0 - rate) / n + z * z / (4.0 * n * n)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
