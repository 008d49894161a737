"""The skills of a mobile manipulator, each over scripted ports."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scripted_world import MUG, RADIUS_M, World, play

from vla_core.types import NS
from vla_navigation.core.approach.base_poses import ApproachParameters, ApproachPlanner
from vla_navigation.core.approach.camera_cone import CameraCone
from vla_navigation.core.approach.facing import facing
from vla_navigation.core.approach.reach_map import ReachMap
from vla_navigation.core.approach.visual_servo import ServoParameters
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.fetch.skills import DONE, FAILED, RUNNING, Report
from vla_navigation.core.nav.backend import Result
from vla_navigation.core.nav.codes import Code
from vla_navigation.core.skills.approach import Approach
from vla_navigation.core.skills.confirm import Confirm
from vla_navigation.core.skills.drive import Drive
from vla_navigation.core.skills.hand import Check, Recognise, Told
from vla_navigation.core.skills.informed import Informed
from vla_navigation.core.skills.look import Look
from vla_navigation.core.skills.ports import Thing, in_base
from vla_navigation.core.skills.rest import Rest
from vla_navigation.reach_table import table_path

SERVO = ServoParameters(1.0, 0.1, 0.5, 0.02, 0.06, 1.0, 30.0)
APPROACH = ApproachParameters(0.02, 0.15, 0.4, 0.25, 0.6, 0.3, 6)


@pytest.fixture(scope="module")
def table() -> ReachMap:
    return ReachMap.load(table_path("so101_mobile"))


def approach(world: World, table: ReachMap) -> Approach:
    ahead = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)
    camera = CameraCone(np.array([0.0, 0.0, 0.5]), ahead, 2.0, 2.0, 0.1, 3.0)
    return Approach(world, world, world, ApproachPlanner(table, camera, RADIUS_M, APPROACH), table, SERVO)


def is_mug(thing: Thing) -> bool:
    """What the map answers when it is asked for the red mug."""
    return thing.name == MUG.name


# -- drive ------------------------------------------------------------------------------------------------------------


def test_drive_arrives_or_says_why_not() -> None:
    world = World()
    assert play(Drive(world, lambda _: None), (1.0, 2.0, 0.5), world).state == DONE
    np.testing.assert_allclose(world.goals[0], [1.0, 2.0, 0.5])
    world.code = Code.PLAN_NO_VALID_PATH
    report = play(Drive(world, lambda _: None), (1.0, 2.0, 0.5), world)
    assert (report.state, report.code, report.message) == (FAILED, "plan_no_valid_path", "as scripted")


def test_drive_before_an_object() -> None:
    world = World()
    assert play(Drive(world, lambda c: np.array([*c.position_m[:2], 1.0])), MUG, world).state == DONE
    np.testing.assert_allclose(world.goals[0], [2.1, 2.2, 1.0])
    assert play(Drive(world, lambda _: None), MUG, world).code == "unreachable" and len(world.goals) == 1


def test_a_drive_that_somebody_cancelled_has_failed() -> None:
    world = World()
    skill = Drive(world, lambda _: None)
    skill.start((1.0, 2.0, 0.5))
    world.result = Result(Code.NONE, cancelled=True)
    assert skill.tick(0).code == "cancelled"


def test_after_a_failure_the_way_gets_time_to_clear() -> None:
    world = World()
    skill = Drive(world, lambda _: None)
    world.code = Code.PLAN_NO_VALID_PATH
    assert play(skill, (1.0, 2.0, 0.5), world).state == FAILED
    world.code, failed_ns = Code.NONE, skill._failed_ns
    assert failed_ns is not None
    skill.start((1.0, 2.0, 0.5))
    assert skill.tick(failed_ns + 4 * NS).state == RUNNING and len(world.goals) == 1
    skill.tick(failed_ns + 5 * NS)
    assert len(world.goals) == 2
    skill.start((3.0, 2.0, 0.5))
    assert len(world.goals) == 3, "what didn't fail is driven to at once"


# -- look -------------------------------------------------------------------------------------------------------------


def test_each_look_is_from_another_side() -> None:
    world = World()
    skill = Look(world, world, ExplorerParameters.from_config(), lambda _: None)
    for _ in range(3):
        assert play(skill, MUG, world).state == DONE
    bearings = [math.atan2(goal[1] - 2.2, goal[0] - 2.1) for goal in world.goals]
    apart = [abs(math.remainder(a - b, math.tau)) for i, a in enumerate(bearings) for b in bearings[:i]]
    assert min(apart) > 0.4
    for goal in world.goals:
        assert abs(math.remainder(math.atan2(2.2 - goal[1], 2.1 - goal[0]) - goal[2], math.tau)) < 0.1, "it faces it"


@pytest.mark.parametrize(("change", "code"), [({}, "unseen"), ({"mug": None}, "moved")])
def test_a_thing_that_is_not_seen_again_is_hidden_or_has_moved(change: dict, code: str) -> None:
    """What is hidden stays in the map; where the map has looked through its place it is gone."""
    world = World(sees=False, **change)
    assert play(Look(world, world, ExplorerParameters.from_config(), lambda _: None), MUG, world).code == code


def test_regression_what_no_place_shows_from_another_side_is_looked_at_from_nearer() -> None:
    """A ball by the bed was left out for good, because the map had no other view of it yet."""
    near = np.array([1.4, 2.2, 0.0])
    world = World()
    skill = Look(world, world, ExplorerParameters.from_config(), lambda _: near)
    skill._view = lambda _: None  # type: ignore[method-assign]
    assert play(skill, MUG, world).state == DONE
    np.testing.assert_allclose(world.goals, [near])
    world = World(code=Code.PLAN_NO_VALID_PATH)  # nor is there a way to the other side
    report = play(Look(world, world, ExplorerParameters.from_config(), lambda _: near), MUG, world)
    assert report.state == FAILED and len(world.goals) == 2 and np.allclose(world.goals[1], near)


# -- approach ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("miss_m", [0.0, 0.06])
def test_approach_ends_where_the_arm_has_it(table: ReachMap, miss_m: float) -> None:
    """Whatever the navigator's last centimetres were."""
    world = World(miss_m=miss_m)
    assert play(approach(world, table), (MUG, 0), world).state == DONE
    seen = in_base(np.array(MUG.position_m), world.robot)
    best = table.best_distance_m(0.25)
    assert abs(np.hypot(*(seen[:2] - table.axis_m)) - best) < SERVO.near_m + 0.015
    assert table.at(seen[None])[0] > 0.0 and world.twist == (0.0, 0.0)


def test_another_attempt_is_another_place_until_there_is_none(table: ReachMap) -> None:
    world, ends = World(), []
    for attempt in range(APPROACH.most + 1):
        ends.append(play(approach(world, table), (MUG, attempt), world).code)
        world.robot = np.array([0.6, 0.6, 0.0])
    assert ends[-1] == "unreachable" and ends[0] == "" and ends[1] == ""
    for i, one in enumerate(world.goals):
        assert all(np.hypot(*(one - other)[:2]) > 0.1 for other in world.goals[:i])


def test_a_thing_that_is_carried_off_on_the_way_stops_the_base(table: ReachMap) -> None:
    world = World(miss_m=0.06)
    skill = approach(world, table)
    skill.start((MUG, 0))
    for _ in range(8):
        skill.tick(world.now_ns)
        world.step()
    world.mug = None
    report = Report()
    for _ in range(30):
        report = skill.tick(world.now_ns)
        if report.state == FAILED:
            break
        world.step()
    assert report.code == "lost" and world.twist == (0.0, 0.0)


def test_regression_a_place_that_is_blocked_is_given_up_for_another_one(table: ReachMap) -> None:
    """Twelve recoveries before a bed were a minute and a half; there were other places to stand."""
    world = World()
    skill = approach(world, table)
    skill.start((MUG, 0))
    assert skill.tick(0).state == RUNNING
    world.recoveries = 3
    report = skill.tick(0)
    assert (report.state, report.code) == (FAILED, "blocked") and world.cancelled == 1 and not world.driving


def test_a_cancelled_approach_leaves_the_base_at_rest(table: ReachMap) -> None:
    world = World(miss_m=0.06)
    skill = approach(world, table)
    skill.start((MUG, 0))
    for _ in range(8):
        skill.tick(world.now_ns)
        world.step()
    assert world.twist != (0.0, 0.0)
    skill.cancel()
    assert world.twist == (0.0, 0.0) and world.cancelled == 1


# -- hand -------------------------------------------------------------------------------------------------------------


@dataclass
class Words:
    told: list[str] = field(default_factory=list)
    end: tuple[str, str] | None = None
    cancelled: int = 0

    def begin(self, text: str) -> None:
        self.told.append(text)

    def ended(self) -> tuple[str, str] | None:
        return self.end

    def cancel(self) -> None:
        self.cancelled += 1


def test_an_errand_is_told_in_words_and_its_code_is_the_report() -> None:
    words = Words()
    grasp = Told(words, lambda c: f"pick up the {c.name}")
    grasp.start(MUG)
    assert words.told == ["pick up the red mug"] and grasp.tick(0).state == RUNNING
    words.end = ("timeout", "got no success within 20 s")
    assert (grasp.tick(0).state, grasp.tick(0).code) == (FAILED, "timeout")
    words.end = ("", "carried out")
    assert grasp.tick(0).state == DONE
    grasp.cancel()
    assert words.cancelled == 1


@pytest.mark.parametrize(("change", "code"), [({}, ""), ({"name": "blue bottle"}, "other"), ({"id": 9}, "moved")])
def test_recognise(change: dict, code: str) -> None:
    world = World()
    assert world.mug is not None
    world.mug = replace(world.mug, **change)
    assert play(Recognise(world, is_mug), MUG, world).code == code


def test_recognise_does_not_believe_an_old_picture() -> None:
    world = World(sees=False, now_ns=NS)
    assert play(Recognise(world, is_mug), MUG, world).code == "moved"


@pytest.mark.parametrize(
    ("widths", "state"),
    [
        ([0.03] * 40, DONE),
        ([0.0] * 40, FAILED),  # closed on nothing
        ([0.09] * 40, FAILED),  # never closed
        ([0.03, 0.03, 0.0] * 20, FAILED),  # it slips
        ([float("nan")] * 40, FAILED),
        ([0.09] * 10 + [0.03] * 30, DONE),  # it was still closing
    ],
)
def test_fingers_that_stay_apart_hold_something(widths: list[float], state: str) -> None:
    left = list(widths)

    class Fingers:
        def width_m(self) -> float:
            return left.pop(0) if left else widths[-1]

    world = World()
    assert play(Check(Fingers(), 0.008, 0.08), None, world).state == state


def put_down(at: tuple[float, float, float], **change: object) -> World:
    """The mug has been put down there, by a robot that looks along x; behind it is room."""
    world = World(robot=np.array([1.2, 3.2, 0.0]), sees=False)
    assert world.mug is not None
    world.mug = replace(world.mug, **{"position_m": np.array(at), **change})
    return world


def test_what_was_put_down_is_done_when_a_picture_shows_it() -> None:
    world = put_down((1.6, 3.2, 0.0))
    world.sees = True
    assert play(Confirm(world, world, RADIUS_M, is_mug), MUG, world).state == DONE and world.twist == (0.0, 0.0)


@pytest.mark.parametrize(
    ("at", "change"),
    [
        ((1.6, 3.2, 0.0), {"name": "blue mug"}),
        ((3.6, 3.2, 0.0), {}),  # another one, far off
        ((0.8, 3.2, 0.0), {}),  # behind it
    ],
)
def test_another_thing_is_no_proof(at: tuple[float, float, float], change: dict) -> None:
    world = put_down(at, **change)
    world.sees = True
    report = play(Confirm(world, world, RADIUS_M, is_mug), MUG, world)
    assert (report.state, report.code) == (FAILED, "unseen") and world.twist == (0.0, 0.0)


def test_an_old_picture_is_no_proof_and_the_robot_backs_off_as_far_as_there_is_room() -> None:
    world = put_down((1.6, 3.2, 0.0))
    assert play(Confirm(world, world, RADIUS_M, is_mug), MUG, world).code == "unseen"
    assert 0.3 < 1.2 - world.robot[0] < 0.45
    cramped = put_down((0.8, 3.2, 0.0))
    cramped.robot = np.array([0.3, 3.2, 0.0])
    assert play(Confirm(cramped, cramped, RADIUS_M, is_mug), MUG, cramped).code == "unseen"
    assert cramped.robot[0] == 0.3, "there is a wall"


def test_a_search_is_over_when_the_map_was_asked_again() -> None:
    """Regression: a stale answer of the map made a search that had just found the mug begin again, for another one."""

    class Map:
        asked = told = 0

        def renew(self) -> None:
            self.asked += 1

        def renewed(self) -> bool:
            return self.told >= self.asked

    words, answers = Words(), Map()
    skill = Informed(Told(words, str), answers)
    skill.start("the mug")
    assert skill.tick(0).state == RUNNING and answers.asked == 0
    words.end = ("", "found")
    assert skill.tick(0).state == RUNNING and skill.tick(0).state == RUNNING and answers.asked == 1
    answers.told = 1
    assert skill.tick(0) == Report(DONE, message="found")
    skill.cancel()
    assert words.cancelled == 0, "it had ended"
    words.end = ("explored", "nothing is left")
    skill.start("the mug")
    assert skill.tick(0).code == "explored" and answers.asked == 1


# -- places that no arm reaches ---------------------------------------------------------------------------------------


def test_the_nearest_free_place_faces_the_point() -> None:
    world, point = World(), np.array([2.3, 2.2])
    place = facing(point, world.ground(), RADIUS_M, 1.5)
    assert place is not None
    assert abs(math.remainder(math.atan2(2.2 - place[1], 2.3 - place[0]) - place[2], math.tau)) < 1e-6
    cell = world.ground().frame.cell(place[0], place[1])
    assert world.ground().distance_m[cell] >= RADIUS_M
    assert facing(np.array([9.0, 9.0]), world.ground(), RADIUS_M, 1.5) is None


# -- rest -------------------------------------------------------------------------------------------------------------


def test_rest_cancels_everybody_and_waits_until_the_base_stands() -> None:
    world, words = World(twist=(0.1, 0.0)), Words()
    skill = Rest(world, (words,), world)
    world.go(np.zeros(3))
    skill.start(None)
    assert words.cancelled == 1 and world.cancelled == 1
    world.driving = True  # it rolls on for a moment
    assert skill.tick(0).state == RUNNING and world.twist == (0.0, 0.0)
    world.driving = False
    assert skill.tick(NS).state == RUNNING, "it must have stood for a while"
    assert skill.tick(2 * NS).state == DONE
