"""Names of the execution strategies, written once: executor, policies and parameters mean the same by them."""

from __future__ import annotations

RTC_GUIDED, RTC_PREFIX, BID, A2C2, VLASH = OF_POLICY = ("rtc_guided", "rtc_prefix", "bid", "a2c2", "vlash")
"""Those for which the policy has to draw or correct its chunks in a way of its own."""

OF_EXECUTOR = (
    "synchronous",
    "naive_async",
    "temporal_ensemble",
    "adaptive_ensemble",
    "long_short",
    "weighted_overlap",
)
"""Those that any policy serves."""

ALL = OF_EXECUTOR + OF_POLICY
