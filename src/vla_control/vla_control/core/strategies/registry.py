"""Strategies by name, as users choose them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from vla_control.core.strategies.adaptive_ensemble import AdaptiveEnsemble
from vla_control.core.strategies.continued import Continued
from vla_control.core.strategies.long_short import LongShort
from vla_control.core.strategies.newest import Newest
from vla_control.core.strategies.strategy import Strategy, StrategyParameters
from vla_control.core.strategies.synchronous import Synchronous
from vla_control.core.strategies.temporal_ensemble import TemporalEnsemble
from vla_control.core.strategies.weighted_overlap import WeightedOverlap
from vla_core.errors import UnknownNameError

#: Name → what makes it. Those made of `Newest` or `Continued` differ in how the policy draws, which follows
#: ExecutorState.strategy.
STRATEGIES: Mapping[str, Callable[[StrategyParameters], Strategy]] = MappingProxyType(
    {
        "synchronous": lambda p: Synchronous(p.execution_horizon),
        "naive_async": lambda p: Newest(),
        "temporal_ensemble": lambda p: TemporalEnsemble(p.ensemble_decay),
        "adaptive_ensemble": lambda p: AdaptiveEnsemble(p.ensemble_similarity, p.ensemble_chunks),
        "long_short": lambda p: LongShort(p.window),
        "weighted_overlap": lambda p: WeightedOverlap(),
        "rtc_guided": lambda p: Continued(p.fade),
        "rtc_prefix": lambda p: Continued(p.fade),
        "bid": lambda p: Newest(),
        "a2c2": lambda p: Newest(),
        "vlash": lambda p: Newest(),
    }
)


def make_strategy(name: str, params: StrategyParameters) -> Strategy:
    """Make a strategy.

    Raises:
        UnknownNameError: no such strategy; the message lists those that there are.
    """
    if name not in STRATEGIES:
        raise UnknownNameError("strategy", name, STRATEGIES)
    return STRATEGIES[name](params)
