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
#: Who stands farther from the thing than this has approached something else [m].
_BEFORE_M = 0.8
#: When coverage is told [s since the instruction].
COVERED_S = (30, 60, 120, 240)


@dataclass(frozen=True, slots=True)
class FetchScore:
    """How one mission went. Ground truth: success, ways, contacts, how near it came to the thing, and whether that was
    in the hand; the others are what the stack says of itself.

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
        before_m: From the base to the thing when the last approach had ended; None: none did.
        approach_error_m: By how much the thing was nearer to or farther from the arm then than is best for it.
        held: The thing was in the hand when the robot set out for home.
        covered: Share of the flat's floor that the camera had seen, after each of COVERED_S; None: it was over.
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
    before_m: float | None
    approach_error_m: float | None
    held: bool
    covered: tuple[float | None, ...]
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
        """Whether the mission got through a part of PARTS, and with the thing that was meant: a wrong one that it came
        near to, an empty hand that it took home are failures of that part, whatever it says.
        """
        truly = {
            "approach": self.before_m is not None and self.before_m < _BEFORE_M,
            "grasp": self.held,
            "return": self.success,
        }
        return STAGES.index(self.stage) >= STAGES.index(PARTS[part]) and truly.get(part, True)

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
            "approach_error_m": None if self.approach_error_m is None else rounded(self.approach_error_m),
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
    errors = [score.approach_error_m for score in scores if score.approach_error_m is not None]
    for k, time_s in enumerate(COVERED_S):
        shares = [share for score in scores if (share := score.covered[k]) is not None]
        whole[f"covered_{time_s}s"] = rounded(sum(shares) / len(shares)) if shares else None
    whole |= {
        "approach_error_m_p50": quantiles(errors, ("p50",))["p50"] if errors else None,
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
