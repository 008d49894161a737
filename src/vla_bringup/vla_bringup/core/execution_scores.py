"""Rows of the executor's table: one strategy under one kind of delay, from single episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_bringup.statistics import quantiles, rounded, wilson
from vla_sim.core.delays import DelayModel
from vla_sim.core.rig import Episode


def execution_row(strategy: str, task: str, delay: DelayModel, episodes: Sequence[Episode]) -> dict[str, Any]:
    """One row.

    Args:
        strategy: Of the executor.
        task: What was played.
        delay: Of the policy's answers.
        episodes: At least one.
    """
    count = sum(e.success for e in episodes)
    low, high = wilson(count, len(episodes))
    won = [e.duration_s for e in episodes if e.success]
    played_s = sum(e.played_s for e in episodes)
    return {
        "strategy": strategy,
        "task": task,
        "delay_ms": rounded(1e3 * delay.delay_s),
        "jitter_pct": rounded(100 * delay.jitter),
        "loss_pct": rounded(100 * delay.loss),
        "episodes": len(episodes),
        "success": rounded(count / len(episodes)),
        "ci_low": rounded(low),
        "ci_high": rounded(high),
        "seam_jump_mrad_p99": quantiles([j for e in episodes for j in e.motion.seam_jumps_mrad], ("p99",))["p99"],
        "seam_jump_mm_p99": quantiles([j for e in episodes for j in e.motion.seam_jumps_mm], ("p99",))["p99"],
        "max_jerk": rounded(max(e.motion.max_jerk_rad_s3 for e in episodes)),
        "rms_jerk": rounded(float(np.sqrt(np.mean([e.motion.rms_jerk_rad_s3**2 for e in episodes])))),
        "starved_share": rounded(sum(e.motion.starved_s for e in episodes) / played_s),
        "task_s": rounded(float(np.median(won))) if won else None,
    }
