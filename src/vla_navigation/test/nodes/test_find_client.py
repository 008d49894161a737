"""Questions to the map of objects when answers get lost, come late, or belong to another search."""

from __future__ import annotations

from typing import Any

import pytest
from rclpy.task import Future

from vla_navigation import find_client
from vla_navigation.find_client import FindClient


class Service:
    """Stands for node and client; answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Future]] = []

    def create_client(self, *_: Any) -> Service:
        return self

    def service_is_ready(self) -> bool:
        return True

    def call_async(self, request: Any) -> Future:
        self.asked.append((request.text, Future()))
        return self.asked[-1][1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [10.0]
    monkeypatch.setattr(find_client.time, "monotonic", lambda: now[0])
    return now


def test_regression_a_question_whose_answer_is_lost_is_asked_again(clock: list[float]) -> None:
    service = Service()
    client = FindClient(service, 1.0)  # type: ignore[arg-type]
    client.begin(["the mug"])
    assert client.answer("the mug") is None and len(service.asked) == 1, "once per period"
    clock[0] += 1.1
    assert client.answer("the mug") is None and len(service.asked) == 2
    service.asked[1][1].set_result("found")
    assert client.answer("the mug") == "found" and client.renewed()


def test_only_answers_asked_for_since_then_renew_it(clock: list[float]) -> None:
    service = Service()
    client = FindClient(service, 1.0)  # type: ignore[arg-type]
    client.begin(["the mug"])
    clock[0] += 0.5
    client.renew()
    service.asked[0][1].set_result("of before")
    assert client.answer("the mug") == "of before" and not client.renewed()
    service.asked[1][1].set_result("of now")
    assert client.answer("the mug") == "of now" and client.renewed()


def test_an_answer_to_words_that_nobody_asks_for_any_more_is_passed_over(clock: list[float]) -> None:
    service = Service()
    client = FindClient(service, 1.0)  # type: ignore[arg-type]
    client.begin(["the mug"])
    client.begin(["the ball"])
    service.asked[0][1].set_result("a mug")
    assert client.answer("the mug") is None and client.answer("the ball") is None
