"""The graphs that faults are injected into, and who keeps them running."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from vla_bringup.faults.circling import Circling
from vla_bringup.faults.fault import RigName
from vla_bringup.faults.rig import Rig
from vla_core.errors import GraphError
from vla_core.shared_memory import Mailbox, link_path
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import ActionChunk
from vla_policy.conversions import chunk_msg
from vla_ros import qos
from vla_sim.core.records import RENDERED

_LOOK_S, _TURN_S = 0.02, 0.002
_FRAME_NS = 50_000_000  # between two pictures of the scene's cameras
_EXECUTOR_S = 1.0  # of real time; an executor that doesn't answer a chunk for longer may be dead
_GOAL_TIMEOUT_S = 600.0


class ClockedRig(Rig):
    """Simulator, executor, servo and monitor in real time; the test is the policy and gives the instruction.

    Attributes:
        circling: The policy.
    """

    NAMES = ("sim_node", "executor_node", "servo_node", "safety_monitor_node")
    ABSENT = ("observation",)
    RELAYED: Mapping[str, tuple[tuple[str, type], ...]] = {
        "sim_node": (("/clock", Clock), ("joint_states", JointState)),
    }

    def prepare(self, node: Node) -> None:
        self.circling = Circling(self.robot, self.contract)
        self._chunks = qos.publisher(node, "action_chunk", ActionChunk)
        self._instruction = qos.publisher(node, "instruction", String)
        self._instruction.publish(String(data=self.circling.instruction))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.look()

    def look(self) -> int:
        """Send the chunks that are due; returns how many."""
        watch = self.watch
        if watch.stamp_ns == 0 or not watch.tool_m.any():
            return 0
        chunks = self.circling.due(watch.stamp_ns, watch.mode, watch.tool_m)
        for chunk in chunks:
            self._chunks.publish(chunk_msg(chunk, self.robot.config.base_frame))
        return len(chunks)


class LineRig(ClockedRig):
    """The same in lockstep, at most in real time. The test stands for the cameras too, which the world waits for at
    every frame, so it can't run ahead of the chunks however busy the machine is."""

    LOCKSTEP = True
    STILL_S = math.inf  # it stands whenever somebody is late

    def prepare(self, node: Node) -> None:
        self._rendered, self._box = np.zeros(1, RENDERED), Mailbox(link_path(self.link, "rendered"), RENDERED, True)
        super().prepare(node)

    def finish(self) -> None:
        super().finish()
        self._box.close(unlink=True)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._over.wait(_TURN_S):
            stamp_ns = self.watch.stamp_ns
            if stamp_ns % _FRAME_NS or stamp_ns <= int(self._rendered["stamp_ns"][0]):
                continue
            self._send()
            due_s = max(due_s + _FRAME_NS * 1e-9, time.monotonic())
            self._over.wait(due_s - time.monotonic())
            self._rendered["stamp_ns"] = stamp_ns
            self._box.write(self._rendered)

    def _send(self) -> None:
        """A frame's chunks; an executor that lives has answered them when the world goes on."""
        answered = self._answered()
        sent, until_s = self.look(), time.monotonic() + _EXECUTOR_S
        while self._answered() < answered + sent and time.monotonic() < until_s:
            self._over.wait(_TURN_S)

    def _answered(self) -> int:
        return int(self.executor.chunks_accepted + self.executor.chunks_rejected)


class WholeRig(Rig):
    """Every node, with the shipped policy at work on a goal; each fault begins with a fresh world and goal."""

    INSTRUCTION = "put the red cube in the blue bowl"
    RELAYED: Mapping[str, tuple[tuple[str, type], ...]] = {"camera_node": (("front/image_raw", Image),)}

    def prepare(self, node: Node) -> None:
        self._mission = ActionClient(node, ExecuteInstruction, "execute_instruction")
        self._seed = 0
        self._result: Future | None = None

    def keep_busy(self) -> None:
        if self._result is not None and self._result.done():
            self.begin()

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
                self._result = future.result().get_result_async()
                return
        raise GraphError("no accepted goal", "a mission_node that takes it", f"see {self.runner.log('mission_node')}")


class Rigs:
    """Keeps one rig of each kind running; one that a fault has ended is started again for the next.

    Args:
        out: Folder for logs and results.
    """

    _KINDS: Mapping[RigName, type[Rig]] = {"line": LineRig, "clocked": ClockedRig, "whole": WholeRig}

    def __init__(self, out: Path) -> None:
        self.out, self._count = out, 0
        self._rig: Rig | None = None

    def get(self, name: RigName) -> Rig:
        """The rig of this kind; one of another kind is closed, two would be too many for a small machine."""
        kind = self._KINDS[name]
        if type(self._rig) is not kind:
            self.close()
            self._count += 1
            self._rig = kind(self.out / f"{name}{self._count}").__enter__()
        return self._rig

    def close(self) -> None:
        """End what runs."""
        rig, self._rig = self._rig, None
        if rig is not None:
            rig.close()
