"""The client of service find_object that searches and missions share."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import partial

from rclpy.node import Node
from rclpy.task import Future

from vla_msgs.srv import FindObject


class FindClient:
    """Questions to the map of objects, asked again and again: none stops its asker, and one may be lost.

    Args:
        node: Its owner; everything happens in its callbacks.
        period_s: Between two questions about the same words [s, monotonic clock].
    """

    def __init__(self, node: Node, period_s: float) -> None:
        self._period_s = period_s
        self._client = node.create_client(FindObject, "find_object")
        self._asked_s: dict[str, float] = {}
        self._answers: dict[str, tuple[float, FindObject.Response]] = {}  # when it was asked for, and what came
        self._since_s = -math.inf

    def begin(self, texts: Iterable[str]) -> None:
        """The questions of another search."""
        self._answers.clear()
        self._asked_s = dict.fromkeys(texts, -math.inf)
        self._ask()

    def answer(self, text: str) -> FindObject.Response | None:
        """The newest answer to one of the questions; None: there is none yet."""
        self._ask()
        return self._answers[text][1] if text in self._answers else None

    def renew(self) -> None:
        """Answers count from now on only if they were asked for after this."""
        self._since_s = time.monotonic()
        self._asked_s = dict.fromkeys(self._asked_s, -math.inf)

    def renewed(self) -> bool:
        """Whether every question has such an answer."""
        self._ask()
        return all(text in self._answers and self._answers[text][0] >= self._since_s for text in self._asked_s)

    def _ask(self) -> None:
        now_s = time.monotonic()
        for text, asked_s in self._asked_s.items():
            if now_s - asked_s > self._period_s and self._client.service_is_ready():
                self._asked_s[text] = now_s
                request = FindObject.Request(text=text)
                self._client.call_async(request).add_done_callback(partial(self._take, text, now_s))

    def _take(self, text: str, asked_s: float, future: Future) -> None:
        if text in self._asked_s:
            self._answers[text] = (asked_s, future.result())
