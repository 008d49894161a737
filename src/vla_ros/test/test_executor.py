"""The executor of every process: it runs what rclpy's runs, and wakes up once where that wakes up twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros import executor as ours
from vla_ros.executor import LeanExecutor, single_threaded
from vla_ros.testing import private_ros

LIMIT_S = 20.0


class Bench:
    """A node on the executor."""

    def __init__(self, kind: type[SingleThreadedExecutor] = LeanExecutor) -> None:
        self.node, self.executor = Node("bench"), kind()
        self.executor.add_node(self.node)

    def until(self, condition: Callable[[], object]) -> None:
        end_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end_s
            self.executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def ros() -> Iterator[None]:
    with private_ros([]):
        yield


@pytest.fixture
def bench(ros: None) -> Bench:
    return Bench()


def test_topics_timers_and_services(bench: Bench) -> None:
    heard: list[str] = []
    out = bench.node.create_publisher(String, "words", 10)
    bench.node.create_subscription(String, "words", lambda m: heard.append(m.data), 10)
    bench.node.create_service(Trigger, "ask", lambda _, response: Trigger.Response(success=True, message="yes"))
    bench.node.create_timer(0.02, lambda: out.publish(String(data=f"{len(heard)}")))
    client = bench.node.create_client(Trigger, "ask")
    bench.until(client.service_is_ready)
    answer = client.call_async(Trigger.Request())
    bench.until(lambda: answer.done() and len(heard) > 5)
    assert answer.result().message == "yes" and heard == sorted(heard, key=int)


def test_coroutines_wait_for_futures_while_others_run_and_tasks_come_from_other_threads(bench: Bench) -> None:
    steps: list[str] = []
    asked: Future = Future()
    ticks = [0]

    async def slow() -> None:
        steps.append("asked")
        steps.append(await asked)

    def tick() -> None:
        ticks[0] += 1

    bench.node.create_timer(0.01, tick)
    bench.executor.create_task(slow)
    bench.until(lambda: ticks[0] > 5)
    assert steps == ["asked"]
    thread = threading.Timer(0.1, lambda: bench.executor.create_task(lambda: asked.set_result("answered")))
    thread.start()
    bench.until(lambda: len(steps) == 2)
    thread.join()
    assert steps == ["asked", "answered"]


def test_a_task_from_another_thread_wakes_it(bench: Bench) -> None:
    done: list[float] = []
    threading.Timer(0.2, lambda: bench.executor.create_task(lambda: done.append(time.monotonic()))).start()
    begun = time.monotonic()
    while not done:
        bench.executor.spin_once(timeout_sec=10.0)
    assert time.monotonic() - begun < 5.0


def test_what_a_callback_destroys_or_makes_is_gone_or_there(bench: Bench) -> None:
    heard: list[str] = []
    out = bench.node.create_publisher(String, "words", 10)
    subscriptions = [
        bench.node.create_subscription(String, "words", lambda m, k=k: take(k, m), 10)  # type: ignore[misc]
        for k in range(2)
    ]

    def take(number: int, message: String) -> None:
        """Whoever is first ends the other, whose message is ready as well, and begins a third."""
        heard.append(f"{number} {message.data}")
        if number < 2:
            bench.node.destroy_subscription(subscriptions[1 - number])
            subscriptions.append(bench.node.create_subscription(String, "words", lambda m: take(2, m), 10))

    bench.until(lambda: out.get_subscription_count() == 2)
    out.publish(String(data="a"))
    bench.until(lambda: heard)
    bench.executor.spin_once(timeout_sec=0.1)
    assert len(heard) == 1
    bench.until(lambda: out.get_subscription_count() == 2)
    out.publish(String(data="b"))
    bench.until(lambda: len(heard) >= 3)
    assert sorted(one.split()[1] for one in heard) == ["a", "b", "b"] and heard[-1] != heard[-2]


def test_an_error_of_a_callback_is_raised_and_the_next_one_runs(bench: Bench) -> None:
    def fail() -> None:
        raise ValueError("broken")

    timer = bench.node.create_timer(0.01, fail)
    with pytest.raises(ValueError, match="broken"):
        bench.until(lambda: False)
    timer.cancel()
    ran: list[int] = []
    bench.node.create_timer(0.01, lambda: ran.append(1))
    bench.until(lambda: ran)


def test_what_was_found_is_kept_while_an_action_goes_on_and_not_while_a_callback_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mission is a task that waits for minutes: it blocks nobody. A callback that waits blocks its group."""
    looks, real, ended = [0], ours._Found, Future()

    def counted(*args: object) -> object:
        looks[0] += 1
        return real(*args)  # type: ignore[arg-type]

    async def waits() -> None:
        await ended

    monkeypatch.setattr(ours, "_Found", counted)
    ticks: list[int] = []
    bench.node.create_timer(0.005, lambda: ticks.append(1))
    bench.executor.create_task(waits)
    bench.until(lambda: len(ticks) > 20)
    assert looks[0] <= 3
    asked = bench.node.create_timer(0.005, waits)
    heard = len(ticks)
    for _ in range(10):
        bench.executor.spin_once(timeout_sec=0.02)
    assert len(ticks) <= heard + 1, "the timer beside it shares its group"
    ended.set_result(None)
    asked.cancel()
    bench.until(lambda: len(ticks) > heard + 5)


def test_it_ends_with_its_context(bench: Bench) -> None:
    threading.Timer(0.2, rclpy.try_shutdown).start()
    with pytest.raises(ExternalShutdownException):
        while True:
            bench.executor.spin_once()


def test_one_message_is_one_wake_up(ros: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression for what made it: rclpy's own wakes itself up once more after each message."""
    waits: dict[type, int] = {}
    for kind in (SingleThreadedExecutor, LeanExecutor):
        bench, heard = Bench(kind), [0]

        def count(_message: String, heard: list[int] = heard) -> None:
            heard[0] += 1

        out = bench.node.create_publisher(String, "words", 1)
        bench.node.create_subscription(String, "words", count, 1)
        bench.until(lambda out=out: out.get_subscription_count() == 1)  # type: ignore[misc]
        real, calls = rclpy_implementation.WaitSet.wait, [0]

        def wait(self: object, timeout: int, real: Callable = real, calls: list[int] = calls) -> None:
            calls[0] += 1
            real(self, timeout)

        with monkeypatch.context() as patch:
            patch.setattr(rclpy_implementation.WaitSet, "wait", wait)
            for k in range(50):
                out.publish(String())
                bench.until(lambda k=k, heard=heard: heard[0] > k)  # type: ignore[misc]
                bench.executor.spin_once(timeout_sec=0.005)  # in vain
        waits[kind] = calls[0]
        bench.node.destroy_node()
    assert waits[LeanExecutor] <= 110 and waits[SingleThreadedExecutor] > 1.3 * waits[LeanExecutor]


def test_another_rclpy_gets_its_own_executor(ros: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(single_threaded()) is LeanExecutor
    monkeypatch.setattr(ours.importlib.metadata, "version", lambda _: "3.3.13")
    assert type(single_threaded()) is SingleThreadedExecutor
