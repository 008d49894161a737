"""What is called out to a mission: stop, go on, leave it, not that one; at any time."""

from __future__ import annotations

from collections.abc import Callable

from scripted_robot import MUG, OTHER, Robot, mission, play

from vla_core.types import NS
from vla_navigation.core.fetch.progress import CANCELLED
from vla_navigation.core.task.understanding import interjection


def test_a_stop_between_put_down_and_a_look_at_it_fetches_nothing_again() -> None:
    robot = Robot()
    robot.skill("confirm").ticks = 10
    made = mission(robot)
    stop, resume = interjection("stop"), interjection("go on")
    assert stop is not None and resume is not None
    for i in range(2000):
        confirming = robot.skill("confirm").active and not robot.skill("confirm").cancelled
        if confirming:
            made.call(stop)
        outcome = made.tick(i * NS // 10)
        if made.paused and not confirming:
            made.call(resume)
        if outcome is not None:
            break
    assert outcome is not None and outcome.success
    assert [len(robot.skill(name).goals) for name in ("grasp", "place", "confirm")] == [1, 1, 2]


def test_another_one_is_too_late_once_it_was_put_down() -> None:
    robot = Robot()
    robot.skill("confirm").ticks = 10
    made = mission(robot)
    another, answers = interjection("not that one"), []
    assert another is not None
    for i in range(2000):
        if robot.skill("confirm").active and not answers:
            answers.append(made.call(another))
        outcome = made.tick(i * NS // 10)
        if outcome is not None:
            break
    assert outcome is not None and outcome.success and "; expected it before the grasp; " in answers[0]


def test_regression_who_goes_on_at_once_does_not_rest_and_drive() -> None:
    """The robot was still coming to rest when the next step began."""
    robot = Robot()
    made = mission(robot)
    said = {i: interjection(text) for i, text in enumerate(("stop", "go on"))}
    assert play(made, robot, {i: lambda call=call: made.call(call) for i, call in said.items()}).success


def test_stop_and_go_on() -> None:
    robot = Robot()
    made = mission(robot)
    replies: list[str] = []

    def hear(text: str) -> Callable[[], None]:
        said = interjection(text)
        assert said is not None
        return lambda: replies.append(made.call(said))

    def rests() -> None:
        assert made.stage == "paused" and robot.skill("rest").goals and made.outcome is None

    outcome = play(made, robot, {5: hear("stop!"), 20: rests, 25: hear("go on")})
    assert outcome.success and len(replies) == 2 and outcome.duration_s > 2.0


def test_leave_it() -> None:
    robot = Robot()
    made, said = mission(robot), interjection("算了")
    assert said is not None
    assert play(made, robot, {6: lambda: made.call(said)}).code == CANCELLED


def test_not_that_one() -> None:
    robot = Robot(hidden=[MUG, OTHER])
    made, said = mission(robot), interjection("not that one")
    assert said is not None
    outcome = play(made, robot, {6: lambda: made.call(said)})
    assert outcome.success and robot.skill("grasp").goals == [OTHER]
    assert "got" in made.call(said), "nothing is chosen any more"
