"""Between which values the actions of a data set lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError, UnknownNameError

#: Shares of the data that lie below the two bounds.
SHARES = {"uniform": (0.0, 1.0), "quantile": (0.01, 0.99)}

Bound = tuple[float, ...]


def fit_bounds(data: NDArray[np.floating[Any]], kind: str) -> tuple[Bound, Bound]:
    """Low and high bound (D,) of data (N,D).

    `uniform`: the extremes (RT-1, RT-2). `quantile`: the 1st and 99th percentile, which outliers don't move (OpenVLA,
    FAST); a dimension where these coincide although the data vary, such as a gripper that is nearly always open, keeps
    its extremes.

    Raises:
        UnknownNameError: another kind.
        ConfigError: no data, another shape, NaN or infinity.
    """
    if kind not in SHARES:
        raise UnknownNameError("kind of bounds", kind, SHARES)
    values = np.asarray(data, np.float64)
    if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
        finite = "finite" if np.isfinite(values).all() else "not finite"
        raise ConfigError(f"actions of shape {values.shape}, {finite}", "finite actions (N,D), N > 0", "mend the data")
    low, high = np.quantile(values, SHARES[kind], axis=0)
    rare = low == high
    low[rare], high[rare] = values.min(0)[rare], values.max(0)[rare]
    return tuple(low.tolist()), tuple(high.tolist())
