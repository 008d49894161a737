"""Stage 3/4. In: action_chunk, instruction; robot and servo by shared memory. Out: plan (shared memory, to the servo),
executor_state (20 Hz and after every chunk), joint_target (50 Hz), base_target (50 Hz, where the contract moves a
base), executor_node/markers.

Lifecycle node. Its clock is the stamp of the robot's newest state, so a chunk is aligned with the robot, not with the
messages' way here. Deactivating brakes the arm; should the process die, the plan that it left ends at rest.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.publisher import Publisher
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from vla_control import conversions
from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_control.core.supervised_executor import SupervisedExecutor
from vla_control.markers import Markers
from vla_core.contract import load_contract
from vla_core.errors import ChunkError
from vla_core.events import Events
from vla_core.peer import Peer
from vla_core.records import PLAN, STATE, STATUS
from vla_core.shared_memory import Mailbox, link_path
from vla_core.topics import topic
from vla_core.types import ActionChunk
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState, JointTarget
from vla_ros import parameters, qos, stamps
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.lifecycle import LifecycleNode
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "executor_node.yaml"
_MARKERS = "executor_node/markers"
_LOOK_S = 0.5  # how often mailboxes that may have been re-created are looked for
_STARVED = ("finishing", "holding")  # modes of the executor itself; one that was told to stop is 'stopped'
_QUIET_S = 5.0  # rejections of one kind that are less far apart are said once; all are counted


class ExecutorNode(LifecycleNode):
    """Takes chunks, writes plans."""

    def __init__(self) -> None:
        super().__init__("executor_node")
        self._p = parameters.declare(self, _SCHEMA, self._on_parameters)
        self._states = qos.publisher(self, "executor_state", ExecutorState)
        self._targets = qos.publisher(self, "joint_target", JointTarget)
        self._markers_out = qos.publisher(self, _MARKERS, MarkerArray)
        qos.subscription(self, "action_chunk", ActionChunkMsg, self._on_chunk)
        qos.subscription(self, "instruction", String, self._on_instruction)
        self.create_timer(1.0 / topic("executor_state").rate_hz, self._on_state_timer)
        self.create_timer(1.0 / topic("joint_target").rate_hz, self._on_target_timer)
        self.create_timer(1.0 / topic(_MARKERS).rate_hz, self._on_marker_timer)
        self._events = Events(_QUIET_S)
        self._instruction: str | None = None
        self._look_at = 0.0
        Diagnostics(self, self._status, hardware_id=self._p.robot)

    # -- life cycle ---------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        self._robot = RobotModel.load(self._p.robot)
        self._contract = load_contract(self._p.contract)
        values = {name: getattr(self._p, name) for name in self._p}
        self._core: ChunkExecutor = ChunkExecutor(self._robot, self._contract, ExecutorParameters.from_mapping(values))
        self._frame, self._joints = self._robot.config.base_frame, self._robot.config.joints
        self._pictures = Markers(self._frame)
        self._predicted = np.zeros((0, 3))
        self._base_targets: Publisher | None = None
        if any(part.space == "base_twist" for part in self._contract.action_parts):
            self._base_targets = qos.publisher(self, "base_target", TwistStamped)

    def cleanup(self) -> None:
        if self._base_targets is not None:
            self.destroy_publisher(self._base_targets)

    def activate(self) -> None:
        """Hold the arm where it is, and take chunks from now on."""
        self._executor = SupervisedExecutor(self._core)
        self._state, self._servo = (Peer(self._p.link, *box) for box in (("state", STATE), ("status", STATUS)))
        self._state.wait_first(self._p.link_timeout_s)
        self._plan = Mailbox(link_path(self._p.link, "plan"), PLAN, create=True)
        if self._instruction is not None:
            self._executor.instruct(self._instruction)
        self._look_at = 0.0
        self._follow()
        self._publish_state()

    def deactivate(self) -> None:
        """Leave a plan that brakes and ends at rest; a servo keeps its own copy when the file goes."""
        self._follow()
        if self._executor.instruct(""):
            self._plan.write(self._executor.record)
        for box in (self._state, self._servo):
            box.close()
        self._plan.close(unlink=True)

    def _on_parameters(self, values: parameters.Parameters) -> None:
        self._p = values
        if hasattr(self, "_core"):
            self._core.use(values.strategy)

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        if not self.active:
            return
        self._follow()
        try:
            chunk = self._convert(message)
            if self._executor.accept(chunk):
                self._predicted = self._core.tool_positions(chunk)
        except ChunkError as error:
            self._say(error)
        self._plan.write(self._executor.record)
        self._publish_state()

    def _convert(self, message: ActionChunkMsg) -> ActionChunk:
        try:
            return conversions.chunk(message)
        except ChunkError as error:
            self._executor.refuse(error, stamps.to_ns(message.header.stamp))
            raise

    def _on_instruction(self, message: String) -> None:
        self._instruction = message.data
        if not self.active:
            return
        self._follow()
        if self._executor.instruct(message.data):
            self._plan.write(self._executor.record)
        self._publish_state()

    def _follow(self) -> None:
        """Bring the executor up to date with robot and servo. The servo's record is read first: never ahead of ours."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._servo.refresh()
            self._state.refresh()
        self._servo.poll()
        self._state.poll()
        if self._executor.follow(self._state.record, self._servo.record):
            self._plan.write(self._executor.record)

    def _say(self, error: ChunkError) -> None:
        if self._events.begins(error.expected, time.monotonic()):
            self.get_logger().warning(f"chunk rejected: {error}")

    # -- out ----------------------------------------------------------------------------------------------------------

    def _on_state_timer(self) -> None:
        if self.active:
            self._follow()
            self._publish_state()
            if self._servo.version > 0:
                epoch_ns = int(self._state.record["epoch_ns"][0])
                self._pictures.executed(self._servo.record["tool_pose"][0, :3], epoch_ns)

    def _publish_state(self) -> None:
        self._states.publish(conversions.executor_state(self._executor.state(), self._frame))

    def _on_target_timer(self) -> None:
        if not self.active:
            return
        self._follow()  # whoever listens: deltas from the measured pose need to know where the arm was
        if not self._executor.ready:
            return
        if self._targets.get_subscription_count() > 0:
            self._targets.publish(conversions.joint_target(self._executor.sample(), self._joints, self._frame))
        if self._base_targets is not None and self._robot.config.base is not None:
            frame, twist = self._robot.config.base.frame, self._executor.base_twist()
            self._base_targets.publish(conversions.twist(twist, self._executor.now_ns, frame))

    def _on_marker_timer(self) -> None:
        if not self.active or self._markers_out.get_subscription_count() == 0:
            return
        now_ns, core = self._executor.now_ns, self._core
        planned, committed = core.planned_positions(now_ns), core.committed_positions(now_ns)
        self._markers_out.publish(
            self._pictures.message(now_ns, self._predicted, core.clamped_positions, planned, committed)
        )

    def _status(self) -> list[Status]:
        if not self.active:
            return [Status(Level.OK, "inactive")]
        state = self._executor.state()
        values = {
            "accepted": state.chunks_accepted, "rejected": state.chunks_rejected, "starved_s": state.starved_s,
            "stretched": state.chunks_stretched, "late_joins": state.late_joins,
            "steps_pulled_in": state.steps_pulled_in,
        }  # fmt: skip
        text = "; ".join(filter(None, (state.last_error, self._starved())))
        level = Level.WARN if text or state.mode == "stopped" else Level.OK
        return [Status(level, text or state.mode, values)]

    def _starved(self) -> str:
        """A sentence while the policy's steps have run out under a task; under a strategy that waits, for too long."""
        now_ns, allowed_s = self._executor.now_ns, topic("action_chunk").max_age_s if self._core.waits else 0.0
        over_s = (now_ns - int(self._executor.record["fresh_until_ns"][0])) * 1e-9
        if self._core.state(now_ns).mode not in _STARVED or over_s <= allowed_s:
            return ""
        return "starved: no step of the policy is left to follow; the arm comes to rest and holds"


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(ExecutorNode))


if __name__ == "__main__":
    main()
