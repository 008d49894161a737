"""The live console, beside the line. In: images, joint_states, chunks, states, diagnostics; of a robot that drives also
map, seen floor, frontiers, objects, plan. Out: a page in the browser, goals (execute_instruction, or fetch of a robot
that drives), stop and release of the safety monitor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from vla_bringup import conversions as images
from vla_bringup.console import conversions
from vla_bringup.console.floor_listener import FloorListener
from vla_bringup.console.page import Actions, Page
from vla_bringup.console.panel import Panel
from vla_bringup.console.robot_view import RobotView
from vla_core.contract import load_contract
from vla_core.errors import ObservationError
from vla_core.files import config_path, load_yaml
from vla_core.types import UInt8
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import ActionChunk, ControlState, ExecutorState, Observation, SafetyState
from vla_ros.node import run
from vla_ros.parameters import declare
from vla_ros.qos import subscription
from vla_ros.stamps import now_ns

_SCHEMA = Path(__file__).parents[1] / "parameters" / "console_node.yaml"


class ConsoleNode(Node):
    """Keeps the newest of everything and brings the page up to date; the page's threads only file wishes."""

    def __init__(self) -> None:
        super().__init__("console_node")
        p = declare(self, _SCHEMA)
        contract = load_contract(p.contract)
        self._panel = Panel()
        self._images: dict[str, UInt8] = {}
        self._joints: dict[str, float] = {}
        self._fresh_paths: MarkerArray | None = None
        self._fresh_truth: String | None = None
        self._goal: Any = None
        self._wishes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake = self.create_guard_condition(self._on_wishes)
        self._mission_name = p.mission
        self._mission = ActionClient(self, ExecuteInstruction, p.mission)
        self._stop = self.create_client(Trigger, "safety_monitor_node/stop")
        self._release = self.create_client(Trigger, "safety_monitor_node/release")
        actions = Actions(
            run=lambda text: self._wish(lambda: self._run(text)),
            cancel=lambda: self._wish(self._cancel),
            stop=lambda: self._wish(lambda: self._call(self._stop, "stop")),
            release=lambda: self._wish(lambda: self._call(self._release, "release")),
        )
        robot = load_yaml(config_path("robots", p.robot))
        self._floor = FloorListener(self, robot["base_frame"]) if "navigation" in robot else None
        self._page = Page(
            p.host, p.port, RobotView(p.robot), contract.view_names, actions, drives=self._floor is not None
        )
        self._listen(contract.view_names, p.show_truth and self._floor is None)  # its world frame isn't the map's
        self.create_timer(1.0 / p.refresh_hz, self._refresh, clock=Clock(clock_type=ClockType.STEADY_TIME))
        print(f"console: http://{p.host}:{p.port}", flush=True)

    def on_exit(self) -> None:
        """End the server."""
        self._page.stop()
        self._mission.destroy()

    def _listen(self, cameras: tuple[str, ...], truth: bool) -> None:
        panel = self._panel
        for name in cameras:
            subscription(self, f"{name}/image_raw", Image, lambda m, n=name: self._on_image(n, m))
        subscription(self, "joint_states", JointState, self._on_joints)
        subscription(self, "executor_node/markers", MarkerArray, self._on_paths)
        subscription(self, "instruction", String, self._on_instruction)
        subscription(self, "observation", Observation, lambda m: conversions.take_observation(panel, m, now_ns(self)))
        subscription(self, "action_chunk", ActionChunk, lambda m: conversions.take_chunk(panel, m, now_ns(self)))
        subscription(self, "executor_state", ExecutorState, lambda m: conversions.take_executor(panel, m))
        subscription(self, "control_state", ControlState, lambda m: conversions.take_control(panel, m))
        subscription(self, "safety_state", SafetyState, lambda m: conversions.take_safety(panel, m))
        subscription(self, "/diagnostics", DiagnosticArray, lambda m: conversions.take_diagnostics(panel, m))
        if truth:
            self.create_subscription(String, "sim_node/debug/ground_truth", self._on_truth, QoSProfile(depth=1))

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _on_image(self, camera: str, message: Image) -> None:
        try:
            self._images[camera] = images.rgb(message)
        except ObservationError as error:
            self._panel.note = f"{camera}: {error}"

    def _on_joints(self, message: JointState) -> None:
        self._joints = conversions.joint_positions(message)

    def _on_paths(self, message: MarkerArray) -> None:
        self._fresh_paths = message

    def _on_truth(self, message: String) -> None:
        self._fresh_truth = message

    def _on_instruction(self, message: String) -> None:
        if message.data != self._panel.instruction:
            self._panel.progress = self._panel.success_estimate = 0.0
            self._panel.subtask = ""
        self._panel.instruction = message.data

    def _refresh(self) -> None:
        """Show what is new; nobody looks, nothing is sent."""
        if self._page.viewers == 0:
            return
        self._page.show_robot(self._joints)
        self._page.show_images(self._images)
        self._images = {}
        if self._fresh_paths is not None:
            for name, points in conversions.paths(self._fresh_paths).items():
                self._page.show_path(name, points)
            self._fresh_paths = None
        if self._floor is not None and self._page.floor is not None:
            self._panel.trouble = self._floor.show(self._page.floor)
        if self._fresh_truth is not None:
            self._page.show_truth(conversions.truth_objects(self._fresh_truth))
            self._fresh_truth = None
        self._page.show_text(self._panel.mission(), self._panel.numbers())

    # -- what goes out ---------------------------------------------------------------------------------------------

    def _wish(self, act: Callable[[], None]) -> None:
        """Called on the page's threads: let the node's thread act at once."""
        self._wishes.put(act)
        self._wake.trigger()

    def _on_wishes(self) -> None:
        while not self._wishes.empty():
            self._wishes.get()()

    def _call(self, client: Any, what: str) -> None:
        if not client.service_is_ready():
            self._panel.note = f"got no answer to '{what}'; expected safety_monitor_node; fix: start the graph"
            self.get_logger().error(self._panel.note)
            return
        self._panel.note = f"{what}: asked"

        def answered(future: Future) -> None:
            response = future.result()
            self._panel.note = f"{what}: {'done' if response.success else 'REFUSED'} {response.message}".strip()

        client.call_async(Trigger.Request()).add_done_callback(answered)

    def _run(self, text: str) -> None:
        if not self._mission.server_is_ready():
            self._panel.note = f"got no action server for {self._mission_name}; expected one; fix: start the graph"
            return
        goal = ExecuteInstruction.Goal(instruction=text.strip())
        sent = self._mission.send_goal_async(
            goal, feedback_callback=lambda m: conversions.take_feedback(self._panel, m.feedback)
        )
        sent.add_done_callback(self._on_accepted)

    def _on_accepted(self, sent: Future) -> None:
        self._goal = sent.result()
        if not self._goal.accepted:
            self._panel.note = "the mission refused the goal"
            return
        self._panel.note = ""
        self._goal.get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Future) -> None:
        result = future.result().result
        self._panel.verdict = "success" if result.success else f"{result.error_code}: {result.message}"

    def _cancel(self) -> None:
        if self._goal is None:
            self._panel.note = "nothing to cancel: no goal was sent from here"
            return
        self._goal.cancel_goal_async()


def main() -> None:
    """Entry point."""
    sys.exit(run(ConsoleNode))


if __name__ == "__main__":
    main()
