"""The two graphs that faults are injected into, and who keeps them running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rclpy.action import ActionClient
from rclpy.clock import Clock as RclClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from vla_bringup.faults.circling import Circling
from vla_bringup.faults.fault import RigName
from vla_bringup.faults.rig import Rig
from vla_core.errors import GraphError
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import ActionChunk
from vla_policy.conversions import chunk_msg
from vla_ros import qos

_LOOK_S = 0.02
_GOAL_TIMEOUT_S = 600.0


class LineRig(Rig):
    """Simulator, executor, servo and monitor; the test is the policy and gives the instruction.

    Attributes:
        circling: The policy.
    """

    NAMES = ("sim_node", "executor_node", "servo_node", "safety_monitor_node")
    RELAYED: Mapping[str, tuple[tuple[str, type], ...]] = {
        "sim_node": (("/clock", Clock), ("joint_states", JointState)),
    }

    def prepare(self, node: Node) -> None:
        self.circling = Circling(self.robot, self.contract)
        self._chunks = qos.publisher(node, "action_chunk", ActionChunk)
        self._instruction = qos.publisher(node, "instruction", String)
        self._instruction.publish(String(data=self.circling.instruction))
        node.create_timer(_LOOK_S, self._on_timer, clock=RclClock(clock_type=ClockType.STEADY_TIME))

    def _on_timer(self) -> None:
        watch = self.watch
        if watch.stamp_ns > 0 and watch.tool_m.any():
            for chunk in self.circling.due(watch.stamp_ns, watch.mode, watch.tool_m):
                self._chunks.publish(chunk_msg(chunk, self.robot.config.base_frame))


class WholeRig(Rig):
    """Every node, with the shipped policy at work on a goal; each fault begins with a fresh world and goal."""

    INSTRUCTION = "put the red cube in the blue bowl"
    RELAYED: Mapping[str, tuple[tuple[str, type], ...]] = {"camera_node": (("front/image_raw", Image),)}

    def prepare(self, node: Node) -> None:
        self._mission = ActionClient(node, ExecuteInstruction, "execute_instruction")
        self._seed = 0

    def begin(self) -> None:
        """Fill the world anew and send the goal."""
        self.until(lambda: not self.safety.stopped, "robot that may move")
        self._seed += 1
        self.session.reset(self._seed, self.INSTRUCTION)
        self.until(self._mission.server_is_ready, "mission")
        goal = ExecuteInstruction.Goal(instruction=self.INSTRUCTION, timeout_s=_GOAL_TIMEOUT_S)
        for _ in range(3):  # a mission that has just been started may not know us yet
            future: Future = self._mission.send_goal_async(goal)
            try:
                self.until(future.done, "goal accepted", 15.0)
            except GraphError:
                continue
            if future.result().accepted:
                return
        raise GraphError("no accepted goal", "a mission_node that takes it", f"see {self.runner.log('mission_node')}")


class Rigs:
    """Keeps one rig of each kind running; one that a fault has ended is started again for the next.

    Args:
        out: Folder for logs and results.
    """

    _KINDS: Mapping[RigName, type[Rig]] = {"line": LineRig, "whole": WholeRig}

    def __init__(self, out: Path) -> None:
        self.out, self._count = out, 0
        self._rig: Rig | None = None

    def get(self, name: RigName) -> Rig:
        """The rig of this kind; one of another kind is closed, two would be too many for a small machine."""
        kind = self._KINDS[name]
        if not isinstance(self._rig, kind):
            self.close()
            self._count += 1
            self._rig = kind(self.out / f"{name}{self._count}").__enter__()
        return self._rig

    def close(self) -> None:
        """End what runs."""
        rig, self._rig = self._rig, None
        if rig is not None:
            rig.close()
