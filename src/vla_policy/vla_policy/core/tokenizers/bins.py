"""One token per action value: equal bins between two bounds (Brohan et al. 2022, RT-1, section 5.1; Brohan et al. 2023,
RT-2, section 3.2; Kim et al. 2024, OpenVLA, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core.tokenizers.bounds import fit_bounds
from vla_policy.core.tokenizers.errors import TokenError


@dataclass(frozen=True, slots=True)
class Bins:
    """`count` equal bins per dimension.

    The published OpenVLA weights place 256 edges between -1 and 1, which are 255 bins: `Bins((-1.0,) * 7, (1.0,) * 7,
    255)` of actions that were normalised by their quantiles.

    Attributes:
        low, high: (D,) bounds, in the unit of the actions; a dimension with equal bounds has one value.
        count: Bins per dimension.

    Raises:
        ConfigError: no bins, or bounds that are no intervals.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    count: int = 256

    def __post_init__(self) -> None:
        pairs = zip(self.low, self.high, strict=False)
        intervals = len(self.low) == len(self.high) and all(-math.inf < a <= b < math.inf for a, b in pairs)
        if self.count < 1 or not self.low or not intervals:
            got = f"{self.count} bins between {self.low} and {self.high}"
            raise ConfigError(got, "at least one bin, low <= high in every dimension", "fit the bins to data")

    @classmethod
    def fit(cls, data: NDArray[np.floating[Any]], kind: str, count: int = 256) -> Bins:
        """Bins for data (N,D).

        Args:
            data: All actions of a data set.
            kind: 'uniform' (RT-1, RT-2) or 'quantile' (OpenVLA), see `fit_bounds`.
            count: Bins per dimension.

        Raises:
            ConfigError: unknown kind, or data that can't be used.
        """
        return cls(*fit_bounds(data, kind), count)

    @classmethod
    def from_metadata(cls, data: dict[str, Any]) -> Bins:
        """Inverse of `metadata`."""
        return cls(tuple(data["low"]), tuple(data["high"]), data["count"])

    def metadata(self) -> dict[str, Any]:
        """JSON-ready, for a weight file."""
        return asdict(self) | {"low": list(self.low), "high": list(self.high)}

    def encode(self, actions: Tensor) -> Tensor:
        """Bins int64 (...,D), 0..count-1, of actions (...,D); what lies outside is clipped.

        Raises:
            TokenError: NaN, or another number of dimensions.
        """
        self._check_width(actions)
        if bool(actions.isnan().any()):
            raise TokenError("NaN among the actions", "numbers", "mend the data")
        low, width = self._grid(actions)
        place = torch.where(width > 0, (actions - low) / width.where(width > 0, 1.0), 0.0)
        return place.floor().clamp(0, self.count - 1).long()

    def decode(self, bins: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Centres (...,D) of bins int64 (...,D).

        Raises:
            TokenError: a number that is no bin, or another number of dimensions.
        """
        self._check_width(bins)
        if bins.numel() and not 0 <= int(bins.min()) <= int(bins.max()) < self.count:
            got = f"bins {int(bins.min())}..{int(bins.max())}"
            raise TokenError(got, f"0..{self.count - 1}", "decode with action tokens only")
        low, width = self._grid(bins.to(dtype))
        return low + (bins + 0.5) * width

    def centres(self) -> Tensor:
        """(D,count), for an expected value over probabilities (...,D,count)."""
        return self.decode(torch.arange(self.count)[:, None].expand(-1, len(self.low))).T

    def _grid(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (torch.tensor(bound, dtype=like.dtype, device=like.device) for bound in (self.low, self.high))
        return low, (high - low) / self.count

    def _check_width(self, values: Tensor) -> None:
        if not values.dim() or values.shape[-1] != len(self.low):
            raise TokenError(f"shape {tuple(values.shape)}", f"(..., {len(self.low)})", "use the bins of this data")
