"""Base of the actuating nodes: hooks that raise, failures that are said aloud, and a start without a manager."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleState, Node, TransitionCallbackReturn

from vla_core.errors import VlaError
from vla_ros.parameters import declare

_SCHEMA = Path(__file__).parent / "parameters" / "lifecycle_node.yaml"


class LifecycleNode(Node):
    """Lifecycle node with parameter `autostart`.

    A node overrides `configure`, `activate`, `deactivate` and `cleanup`, which raise VlaError to refuse. Deactivating
    stops and joins whatever runs and leaves a safe command; it also happens, followed by `cleanup`, when the process
    ends. Transitions are reached from outside by the standard services (`~/change_state`).

    Attributes:
        active: The node is in state 'active'; callbacks of an inactive node return at once.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.active = False
        self._configured = False
        self._failure: VlaError | None = None
        self._autostart: bool = declare(self, _SCHEMA).autostart

    def configure(self) -> None:
        """Load what the node needs; may take long."""

    def activate(self) -> None:
        """Begin to act."""

    def deactivate(self) -> None:
        """Stop acting; leave a safe command."""

    def cleanup(self) -> None:
        """Let go of what `configure` loaded."""

    def start(self) -> None:
        """Configure and activate when `autostart` is set; `vla_ros.node.run` calls it before READY.

        Raises:
            VlaError: what a hook raised.
        """
        if not self._autostart:
            return
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                if self._failure is None:  # the traceback is on stderr already
                    raise RuntimeError(f"{self.get_name()} could not start")
                raise self._failure

    def on_exit(self) -> None:
        """Deactivate and clean up by the hooks alone: the state machine can't publish its events any more."""
        if self.active:
            self.active = False
            self.deactivate()
        if self._configured:
            self._configured = False
            self.cleanup()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._guard(self.configure)
        self._configured = result == TransitionCallbackReturn.SUCCESS
        return self._then(result, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._then(self._guard(self.activate), super().on_activate, state)
        self.active = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.active = False
        return self._then(self._guard(self.deactivate), super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._configured = False
        return self._then(self._guard(self.cleanup), super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._then(self._guard(self.on_exit), super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected exception the node goes back to 'unconfigured' with nothing running."""
        return self._then(self._guard(self.on_exit), super().on_error, state)

    def _guard(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        """Run a hook; rclpy would swallow its exception without a word."""
        self._failure = None
        try:
            hook()
        except VlaError as error:
            self._failure = error
            self.get_logger().error(f"{hook.__name__}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{hook.__name__}: {traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    @staticmethod
    def _then(
        result: TransitionCallbackReturn,
        managed: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        """Pass the transition on to lifecycle publishers when our own hook succeeded."""
        return managed(state) if result == TransitionCallbackReturn.SUCCESS else result
