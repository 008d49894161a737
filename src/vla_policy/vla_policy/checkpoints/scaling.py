"""Normalisation by the statistics of a checkpoint's training data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vla_core.errors import UnknownNameError, WeightsError
from vla_policy.checkpoints.lerobot_files import LerobotCheckpoint

#: The two statistics that each mode is made of.
MODES = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
IDENTITY = "IDENTITY"


@dataclass(frozen=True, slots=True)
class Scaling:
    """x' = gain (x - low) / divisor + bias, and back with `span` in the divisor's place.

    MEAN_STD has zero mean and unit variance; the others map a range to -1..1.
    """

    low: Tensor
    divisor: Tensor
    span: Tensor
    gain: float
    bias: float

    @classmethod
    def of(cls, mode: str, statistics: Mapping[str, Tensor], eps: float, where: str) -> Scaling:
        """From a feature's statistics.

        Args:
            mode: Key of MODES, or IDENTITY.
            statistics: By name, shaped as the feature or broadcast to it.
            eps: Added to a standard deviation; in place of a range of zero.
            where: Name for messages.

        Raises:
            UnknownNameError: another mode.
            WeightsError: its statistics are missing or not finite.
        """
        if mode == IDENTITY:
            one = torch.ones(())
            return cls(torch.zeros(()), one, one, 1.0, 0.0)
        if mode not in MODES:
            raise UnknownNameError("normalization", mode, (*MODES, IDENTITY))
        first, second = MODES[mode]
        lost = [name for name in (first, second) if name not in statistics]
        if lost:
            raise WeightsError(
                f"{where} without {' and '.join(lost)}", f"statistics for {mode}", "fetch all files again"
            )
        low, other = statistics[first], statistics[second]
        if not bool(torch.isfinite(low).all() and torch.isfinite(other).all()):
            raise WeightsError(f"{where}: {mode} with NaN or infinity", "finite statistics", "fetch the files again")
        if mode == "MEAN_STD":
            return cls(low, other + eps, other, 1.0, 0.0)
        span = torch.where(other == low, torch.full_like(low, eps), other - low)
        return cls(low, span, span, 2.0, -1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Physical to normalised."""
        return self.gain * (x - self.low) / self.divisor + self.bias

    def inverse(self, x: Tensor) -> Tensor:
        """Normalised to physical."""
        return (x - self.bias) / self.gain * self.span + self.low


def scalings(checkpoint: LerobotCheckpoint) -> dict[str, Scaling]:
    """Of every input and output.

    Raises:
        UnknownNameError, WeightsError: see Scaling.of.
    """
    out = {}
    for key, feature in {**checkpoint.inputs, **checkpoint.outputs}.items():
        statistics: Mapping[str, Tensor] = checkpoint.statistics.get(key, {})
        if feature.kind == "VISUAL":
            statistics = {name: value.reshape(-1, 1, 1) for name, value in statistics.items()}
        mode = checkpoint.normalization.get(feature.kind, IDENTITY)
        out[key] = Scaling.of(mode, statistics, checkpoint.eps, f"{checkpoint.name}: {key}")
    return out
