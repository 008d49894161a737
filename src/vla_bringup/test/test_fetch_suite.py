"""How missions are scored; playing them takes a graph and minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import MapMetaData, OccupancyGrid
from std_msgs.msg import String

from vla_bringup import fetch_suite
from vla_bringup.core.fetch_scores import COLLISION_N, COVERED_S, PARTS, FetchScore, summary
from vla_bringup.core.recording import StageTrace
from vla_bringup.core.summary import Span
from vla_bringup.results import publish, table
from vla_bringup.session import MissionResult
from vla_bringup.statistics import wilson
from vla_bringup.watched import Run
from vla_core.types import NS
from vla_msgs.msg import ControlState
from vla_navigation.core.approach.reach_map import ReachMap
from vla_navigation.core.fetch.progress import STAGES
from vla_navigation.reach_table import table_path
from vla_sim.core.flat.plan import draw_plan

PLAN = draw_plan(7, "heldout_flat")
REACH = ReachMap.load(table_path("so101_mobile"))
GOOD = FetchScore(
    7, "bring", "bring me the red mug", True, True, "", "done", 40.0, 90.0, 12.0, 9.0, (COLLISION_N + 1.0, 3.0),
    0.3, 0.02, True, (0.2, 0.5, None, None), 0.6,
)  # fmt: skip


def run_of(progress: float, result: MissionResult, truth: dict) -> Run:
    return Run(result, truth, {}, progress, Span(NS, 61 * NS, 0, 120 * NS), [])


def test_a_mission_is_scored_by_the_judge_and_told_by_the_stack() -> None:
    stages = [StageTrace(name, (1 + k) * 10 * NS, 0) for k, name in enumerate(("explore", "approach", "explore"))]
    stages += [StageTrace("approach", 55 * NS, 0)]
    truth = {"success": False, "collisions": [{"time_s": 2.0, "body": "sofa", "force_n": 7.5}]}
    told = MissionResult(False, "grasp_failed", "got ...", 0.0, 60.0, -1.0)
    done = run_of(STAGES.index("grasp") / (len(STAGES) - 1), told, truth)
    best_m = float(REACH.axis_m[0]) + REACH.best_distance_m(0.0)

    def row(stamp_s: float, ahead_m: float, held: bool, seen_m2: float) -> dict[str, Any]:
        return {"stamp_s": stamp_s, "base": [1.0, 2.0, np.pi / 2], "target": [1.0, 2.0 + ahead_m, -1e-4], "held": held,
                "width_m": 0.0, "seen_m2": seen_m2}  # fmt: skip

    stages += [StageTrace("recognise", 56 * NS, 0), StageTrace("drive", 58 * NS, 0)]
    rows = [row(20.0, 2.0, False, 8.0), row(55.0, 2.0, False, 9.0), row(56.5, best_m + 0.03, False, 12.0)]
    rows += [row(58.2, best_m, True, 12.0), row(61.5, best_m, False, 12.0)]
    score = fetch_suite.score(PLAN, done, stages, 11.0, rows, REACH)
    assert score.approach_error_m == pytest.approx(0.03, abs=1e-6) and score.held
    assert score.before_m == pytest.approx(best_m + 0.03)
    floor_m2 = fetch_suite._floor_m2(PLAN)
    assert score.covered == (pytest.approx(8.0 / floor_m2), pytest.approx(12.0 / floor_m2), None, None)
    assert (score.success, score.reported_success, score.code, score.stage) == (False, False, "grasp_failed", "grasp")
    assert score.find_s == pytest.approx(19.0) and score.real_time_factor == pytest.approx(0.5)
    assert (score.instruction, score.driven_m, score.collisions, score.spl) == (PLAN.errand.instruction, 11.0, 1, 0.0)
    boast = fetch_suite.score(PLAN, run_of(0.3, replace(told, success=True), truth), [], 0.0, rows, REACH)
    assert (boast.stage, boast.success, boast.reported_success, boast.find_s) == ("done", False, True, None)
    assert (boast.before_m, boast.approach_error_m, boast.held) == (None, None, False)


@pytest.mark.parametrize("seed", range(12))
def test_the_shortest_way_is_as_long_as_the_air_line_at_least(seed: int) -> None:
    plan = draw_plan(seed, "heldout_flat")
    air_m = float(np.hypot(plan.target.x - plan.start[0], plan.target.y - plan.start[1]))
    assert 2.0 * (air_m - 0.55) <= fetch_suite.shortest_m(plan) < 2.0 * (6.0 * air_m + 4.0)


def test_spl_and_collisions() -> None:
    assert GOOD.spl == pytest.approx(0.75) and GOOD.collisions == 1
    assert replace(GOOD, driven_m=1.0).spl == 1.0  # a shorter way than the shortest counts as that
    row = GOOD.row()
    assert (row["spl"], row["collisions"], row["contact_n_max"], row["code"]) == (0.75, 1, COLLISION_N + 1.0, None)


def test_each_part_is_rated_by_those_that_came_to_it() -> None:
    stages = ["explore", "approach", "grasp", "check", "drive", "done"]
    scores = [
        replace(GOOD, stage=stage, success=stage == "done", find_s=None if stage == "explore" else 40.0)
        for stage in stages
    ]
    rows = {row["part"]: row for row in summary(scores)}
    assert [(rows[p]["n"], rows[p]["rate"]) for p in PARTS] == [(6, 0.8333), (5, 0.8), (4, 0.5), (2, 0.5)]
    wrong = [replace(GOOD, before_m=3.0), replace(GOOD, held=False), replace(GOOD, success=False), GOOD]
    rates = {row["part"]: row["rate"] for row in summary(wrong)}
    assert [rates[part] for part in PARTS] == [1.0, 0.75, 0.6667, 0.5], "before another thing, with an empty hand"
    whole = rows["whole mission"]
    assert (whole["n"], whole["rate"], whole["find_s_p50"], whole["collisions"]) == (6, 0.1667, 40.0, 6)
    assert (whole["ci_low"], whole["ci_high"]) == pytest.approx(wilson(1, 6), abs=1e-4)
    assert whole["false_reports"] == 5
    assert whole["approach_error_m_p50"] == 0.02
    assert [whole[f"covered_{time_s}s"] for time_s in COVERED_S] == [0.2, 0.5, None, None]


def test_nobody_came_so_far() -> None:
    rows = {row["part"]: row for row in summary([replace(GOOD, stage="explore", success=False, find_s=None)])}
    assert (rows["approach"]["n"], rows["approach"]["rate"], rows["whole mission"]["find_s_p50"]) == (0, None, None)


def test_the_page_shows_the_summary_above_the_missions(tmp_path) -> None:
    publish("fetch", table("./vla eval --suite fetch --publish", [GOOD.row()]) | {"summary": summary([GOOD])}, tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert page.index("| whole mission |") < page.index("| bring me the red mug |")


def test_the_course_of_a_mission_tells_what_was_true_in_each_stage() -> None:
    heard: dict[str, Any] = {}

    class Listener:
        def create_subscription(self, kind: type, topic: str, callback: Any, *_: Any, **__: Any) -> None:
            heard[topic] = callback

    course = fetch_suite.Course(Listener())  # type: ignore[arg-type]

    def truth(stamp_s: float, held: bool) -> dict[str, Any]:
        return {"stamp_s": stamp_s, "base": [1.0, 2.0, 0.5], "target": {"held": held, "place": [3.0, 4.0, 0.123456]}}

    heard["explorer_node/seen"](OccupancyGrid(data=[0, 0, 50, -1], info=MapMetaData(resolution=0.5)))
    for k in range(6):  # 5 Hz
        heard["control_state"](ControlState(gripper_width=[0.01 * k]))
        heard["sim_node/debug/ground_truth"](String(data=json.dumps(truth(10.0 + 0.2 * k, k > 2))))
    rows = course.rows([StageTrace("grasp", 10 * NS, 0), StageTrace("check", 11 * NS, 0)], truth(12.5, False))
    assert [(row["stamp_s"], row["stage"], row["held"], row["width_m"]) for row in rows] == [
        (10.0, "grasp", False, 0.0), (11.0, "check", True, 0.05), (12.5, "check", False, 0.05),
    ]  # fmt: skip
    assert rows[0]["target"] == [3.0, 4.0, 0.1235] and rows[0]["seen_m2"] == 0.5


def test_a_mission_of_other_code_is_played_again(tmp_path) -> None:
    from dataclasses import asdict

    from vla_bringup.results import save

    save(tmp_path, "fetch_7", {"revision": "abc", "score": asdict(GOOD)})
    assert fetch_suite._known(tmp_path / "fetch_7.json", "abc") == GOOD
    assert fetch_suite._known(tmp_path / "fetch_7.json", "abd") is None
    assert fetch_suite._known(tmp_path / "fetch_7.json", None) is None
    assert fetch_suite._known(tmp_path / "fetch_8.json", "abc") is None
