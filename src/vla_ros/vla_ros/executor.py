"""One thread that runs all callbacks of a process, at a third of the cost of rclpy's own executor for it.

rclpy 7.1 (Jazzy) makes a new wait set for every callback, DDS objects and all, and wakes itself up twice per callback
to make another one, for which threads that it doesn't have could be waiting. A graph of 14 nodes at 100 Hz of /clock
spends more than a core on that. Here the wait set stays as long as the numbers of things to wait for do, and nobody is
woken up. What is waited for, in which order callbacks run and how tasks go on are rclpy's.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Generator
from typing import Any

from rclpy.context import Context
from rclpy.executors import (
    ConditionReachedException,
    ExternalShutdownException,
    InvalidHandle,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
    TimeoutObject,
    timeout_sec_to_nsec,
)
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.task import Task
from rclpy.timer import Timer
from rclpy.waitable import NumberOfEntities

#: Something that is ready, its node, and how it is taken.
Ready = tuple[Any, Any, Callable[[Any], Any]]
#: Kind of thing that nodes have → its name in wait sets.
_NAMES = {
    "subscriptions": "subscription", "timers": "timer", "clients": "client", "services": "service",
    "guards": "guard_condition",
}  # fmt: skip
_KINDS = (*_NAMES, "waitables")
_KNOWN = "7.1."  # of rclpy; others have other insides


def single_threaded(context: Context | None = None) -> SingleThreadedExecutor:
    """The executor of a process: ours where rclpy is the one that it was made for, else rclpy's.

    Args:
        context: As for rclpy's; None: the default one.
    """
    known = importlib.metadata.version("rclpy").startswith(_KNOWN)
    return LeanExecutor(context=context) if known else SingleThreadedExecutor(context=context)


class LeanExecutor(SingleThreadedExecutor):
    """See the module; for rclpy 7.1."""

    def __init__(self, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._counts: tuple[int, ...] = ()
        self._wait_set: Any = None
        self._last: _Found | None = None

    def release(self) -> None:
        """Let go of what DDS keeps for waiting; the next spin makes it anew."""
        self._wait_set, self._counts, self._last = None, (), None

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """See Executor."""
        self.release()
        return bool(super().shutdown(timeout_sec))

    def _make_handler(self, entity: Any, node: Any, take_from_wait_list: Callable[[Any], Any]) -> Task:
        """A task that takes what is ready and runs its callback."""
        entity._executor_event = True

        async def handler() -> None:
            entity._executor_event = False
            group = entity.callback_group
            if self._is_shutdown or not group.beginning_execution(entity):
                return
            try:
                call = take_from_wait_list(entity)
                if call is not None:
                    await call()
            except InvalidHandle:
                pass  # a callback before this one has destroyed it
            finally:
                group.ending_execution(entity)

        task = Task(handler, executor=self)
        with self._tasks_lock:
            self._tasks.append((task, entity, node))
        return task

    def _wait_for_ready_callbacks(
        self,
        timeout_sec: float | TimeoutObject | None = None,
        nodes: list[Any] | None = None,
        condition: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[Task, Any, Any], None, None]:
        """See Executor."""
        given = timeout_sec.timeout if isinstance(timeout_sec, TimeoutObject) else timeout_sec
        timeout_ns = timeout_sec_to_nsec(given)
        alarm = Timer(None, None, timeout_ns, self._clock, context=self._context) if timeout_ns > 0 else None
        worked = False
        while not worked and not self._is_shutdown and not condition():
            chosen = self.get_nodes() if nodes is None else nodes
            for task, entity, node in self._unfinished(chosen):
                worked = True
                yield task, entity, node
            rung, ready = self._wait(chosen, alarm, timeout_ns)
            for entity, node, take in ready:
                if entity.callback_group.can_execute(entity):
                    worked = True
                    yield self._make_handler(entity, node, take), entity, node
            if timeout_ns == 0 or rung:
                raise TimeoutException()
        if self._is_shutdown:
            raise ShutdownException()
        if condition():
            raise ConditionReachedException()

    def _unfinished(self, chosen: list[Any]) -> list[tuple[Task, Any, Any]]:
        """Tasks that may go on, the newest first, as rclpy has it; those that are over are forgotten."""
        with self._tasks_lock:
            self._tasks = [one for one in self._tasks if not one[0].done() and not one[0].cancelled()]
            return [
                (task, entity, node)
                for task, entity, node in reversed(self._tasks)
                if not task.executing() and (node is None or node in chosen)
            ]

    def _wait(self, chosen: list[Any], alarm: Timer | None, timeout_ns: int) -> tuple[bool, list[Ready]]:
        """Wait for something to become ready.

        Returns:
            Whether the alarm rang, and what is ready: waitables, timers, subscriptions, guards, clients, services.

        Raises:
            ShutdownException: this executor has been shut down meanwhile.
            ExternalShutdownException: its context has.
        """
        found, held = self._found(chosen), []  # as long as it waits nobody destroys them
        try:
            for handle in (*found.handles, self._context.handle):
                try:
                    handle.__enter__()
                except InvalidHandle:  # somebody has destroyed it just now: look again
                    self._last = None
                    return False, []
                held.append(handle)
            for guard, _, _ in found.of["guards"]:  # one that was triggered and not handled yet
                if guard._executor_triggered:
                    guard.trigger()
            wait_set = self._filled(found, alarm)
            wait_set.wait(timeout_ns)
            if self._is_shutdown:
                raise ShutdownException()
            if not self._context.ok():
                raise ExternalShutdownException()
            rung = alarm is not None and alarm.handle.pointer in wait_set.get_ready_entities("timer")
            return rung, self._ready(found, wait_set)
        finally:
            for handle in held:
                handle.__exit__(None, None, None)

    def _found(self, chosen: list[Any]) -> _Found:
        """What may run now; as found last, while nodes have the same things and no callback is under way."""
        lists = [list(getattr(node, kind)) for node in chosen for kind in _KINDS]
        if any(entity is not None for _, entity, _ in self._tasks):
            # its callback is under way: neither it nor the rest of its group may run; tasks of nobody block nobody
            return _Found(chosen, lists, self.can_execute)
        if self._last is None or self._last.chosen != chosen or self._last.lists != lists:
            self._last = _Found(chosen, lists, lambda entity: True)
        return self._last

    def _filled(self, found: _Found, alarm: Timer | None) -> Any:
        """The wait set, with everything in it."""
        subscriptions, guards, timers, clients, services, events = found.counts
        key = (subscriptions, guards + 2, timers + (alarm is not None), clients, services, events)
        if key != self._counts or self._wait_set is None:
            self._wait_set, self._counts = _rclpy.WaitSet(*key, self._context.handle), key
        wait_set = self._wait_set
        wait_set.clear_entities()
        for kind, name in _NAMES.items():
            add = getattr(wait_set, f"add_{name}")
            for _, _, handle in found.of[kind]:
                add(handle)
        for guard in (self._guard, self._sigint_gc):
            wait_set.add_guard_condition(guard.handle)
        if alarm is not None:
            wait_set.add_timer(alarm.handle)
        for waitable, _, _ in found.of["waitables"]:
            waitable.add_to_wait_set(wait_set)
        return wait_set

    def _ready(self, found: _Found, wait_set: Any) -> list[Ready]:
        """What has become ready."""
        pointers = {kind: wait_set.get_ready_entities(name) for kind, name in _NAMES.items()}
        out: list[Ready] = [
            (waitable, node, self._take_waitable)
            for waitable, node, _ in found.of["waitables"]
            if waitable.is_ready(wait_set)
        ]
        timers = self._of("timers", found, pointers, self._take_timer)
        out += [one for one in timers if one[0].handle.is_timer_ready()]  # not a cancelled one
        out += self._of("subscriptions", found, pointers, self._take_subscription)
        for guard, node, handle in found.of["guards"]:
            guard._executor_triggered = guard._executor_triggered or handle.pointer in pointers["guards"]
            if guard._executor_triggered:
                out.append((guard, node, self._take_guard_condition))
        out += self._of("clients", found, pointers, self._take_client)
        out += self._of("services", found, pointers, self._take_service)
        return out

    @staticmethod
    def _of(kind: str, found: _Found, pointers: dict[str, Any], take: Callable[[Any], Any]) -> list[Ready]:
        ready = pointers[kind]
        return [(one, node, take) for one, node, handle in found.of[kind] if handle.pointer in ready] if ready else []


class _Found:
    """What nodes have that can be waited for.

    Args:
        chosen: The nodes.
        lists: For each of them and each of _KINDS what it has.
        may: Says whether something of that may run.

    Attributes:
        of: Kind -> (what it is, its node, its handle).
        handles: All that must not be destroyed meanwhile; waitables are their own.
        counts: Of subscriptions, guard conditions, timers, clients, services and events, waitables included.
    """

    def __init__(self, chosen: list[Any], lists: list[list[Any]], may: Callable[[Any], bool]) -> None:
        self.chosen, self.lists, self.handles = chosen, lists, list[Any]()
        self.of: dict[str, list[tuple[Any, Any, Any]]] = {kind: [] for kind in _KINDS}
        for number, entities in enumerate(lists):
            node, kind = chosen[number // len(_KINDS)], _KINDS[number % len(_KINDS)]
            for entity in filter(may, entities):
                handle = entity if kind == "waitables" else entity.handle
                try:
                    with handle:
                        pass
                except InvalidHandle:
                    continue
                self.of[kind].append((entity, node, handle))
                self.handles.append(handle)
        counts = NumberOfEntities(
            *(len(self.of[k]) for k in ("subscriptions", "guards", "timers", "clients", "services"))
        )
        for waitable, _, _ in self.of["waitables"]:
            counts += waitable.get_num_entities()
        self.counts = (
            counts.num_subscriptions, counts.num_guard_conditions, counts.num_timers, counts.num_clients,
            counts.num_services, counts.num_events,
        )  # fmt: skip
