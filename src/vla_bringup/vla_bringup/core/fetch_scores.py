"""Rows of the published table of fetch missions, and how far those missions came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vla_bringup.statistics import quantiles, rounded, wilson
from vla_navigation.core.fetch.progress import STAGES

#: A contact with furniture harder than this is a collision [N].
COLLISION_N = 5.0
#: Part of a mission, as AnywhereVLA's table has them → the first stage that only those come to who got through it.
PARTS = {"explore": "approach", "approach": "recognise", "grasp": "drive", "return": "done"}


@dataclass(frozen=True, slots=True)
class FetchScore:
    """How one mission went. Ground truth: success, ways, contacts; the others are what the stack says of itself.

    Attributes:
        seed: Of the flat. family: Of the errand.
        instruction: As it was said.
        success: The thing and the robot are where the robot started.
        reported_success: The mission says so.
        code: Why the mission ended, '' for success.
        stage: The furthest of STAGES.
        find_s: Until the thing was found and confirmed [s, ROS clock]; None: never.
        duration_s: From goal to result [s, ROS clock].
        driven_m: Way of the base.
        shortest_m: Of the shortest way to the thing and back.
        contacts_n: Peak forces of all contacts of robot and flat [N].
        real_time_factor: Simulated time per wall time.
    """

    seed: int
    family: str
    instruction: str
    success: bool
    reported_success: bool
    code: str
    stage: str
    find_s: float | None
    duration_s: float
    driven_m: float
    shortest_m: float
    contacts_n: tuple[float, ...]
    real_time_factor: float

    @property
    def spl(self) -> float:
        """Success weighted by path length (Anderson et al., "On evaluation of embodied navigation agents", 2018)."""
        return self.shortest_m / max(self.shortest_m, self.driven_m) if self.success else 0.0

    @property
    def collisions(self) -> int:
        """Contacts harder than COLLISION_N."""
        return sum(force > COLLISION_N for force in self.contacts_n)

    def passed(self, part: str) -> bool:
        """Whether the mission got through a part of PARTS, as far as it knows itself."""
        return STAGES.index(self.stage) >= STAGES.index(PARTS[part])

    def row(self) -> dict[str, Any]:
        """Of the table of missions."""
        return {
            "seed": self.seed,
            "instruction": self.instruction,
            "success": self.success,
            "reported": self.reported_success,
            "code": self.code or None,
            "stage": self.stage,
            "find_s": None if self.find_s is None else rounded(self.find_s),
            "duration_s": rounded(self.duration_s),
            "driven_m": rounded(self.driven_m),
            "shortest_m": rounded(self.shortest_m),
            "spl": rounded(self.spl),
            "collisions": self.collisions,
            "contact_n_max": rounded(max(self.contacts_n, default=0.0)),
            "real_time_factor": rounded(self.real_time_factor),
        }


def summary(scores: Sequence[FetchScore]) -> list[dict[str, Any]]:
    """One row for each part, of the missions that came to it, and one for whole missions.

    Args:
        scores: At least one.
    """
    rows, left = [], list(scores)
    for part in PARTS:
        through = [score for score in left if score.passed(part)]
        rows.append({"part": part, **_rate(len(through), len(left))})
        left = through
    whole = {"part": "whole mission", **_rate(sum(score.success for score in scores), len(scores))}
    found = [score.find_s for score in scores if score.find_s is not None]
    whole |= {
        "find_s_p50": quantiles(found, ("p50",))["p50"] if found else None,
        "duration_s_p50": quantiles([score.duration_s for score in scores], ("p50",))["p50"],
        "spl": rounded(sum(score.spl for score in scores) / len(scores)),
        "collisions": sum(score.collisions for score in scores),
        "false_reports": sum(score.reported_success and not score.success for score in scores),
        "real_time_factor_p50": quantiles([score.real_time_factor for score in scores], ("p50",))["p50"],
    }
    return [*rows, whole]


def _rate(count: int, n: int) -> dict[str, Any]:
    if n == 0:
        return {"n": 0, "rate": None, "ci_low": None, "ci_high": None}
    low, high = wilson(count, n)
    return {"n": n, "rate": rounded(count / n), "ci_low": rounded(low), "ci_high": rounded(high)}
