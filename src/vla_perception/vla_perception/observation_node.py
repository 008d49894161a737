"""Stage 1/4. In: <camera>/image_raw, joint_states, instruction. Out: observation uint8[V,H,W,3], float32[S] (20 Hz).

Messages are matched by capture stamp and published when a set is complete, at the contract's rate. A message that
breaks the contract, or a picture that a frozen camera repeats, is refused with a sentence that is logged once, counted
and shown in /diagnostics; the node goes on.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from vla_control.core.robot import RobotModel
from vla_core.contract import load_contract
from vla_core.errors import ObservationError
from vla_core.events import Events
from vla_core.types import Float64, Observation
from vla_msgs.msg import Observation as ObservationMsg
from vla_perception import conversions
from vla_perception.core.frozen import FrozenPicture
from vla_perception.core.health import Rejections, judge
from vla_perception.core.observation import JOINTS, Observer
from vla_ros import parameters, qos, stamps
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "observation_node.yaml"
_REMEMBERED = 200  # joint states: two seconds
_QUIET_S = 5.0  # refusals of one kind that are less far apart are logged once; all are counted


class ObservationNode(Node):
    """Takes images and joint states, publishes observations."""

    def __init__(self) -> None:
        super().__init__("observation_node")
        cv2.setNumThreads(1)  # a pool of threads costs more than it saves at these sizes
        p = parameters.declare(self, _SCHEMA)
        self.contract = load_contract(p.contract)
        robot = RobotModel.load(self.contract.robot)
        self._base_frame = robot.config.base_frame
        self.observer = Observer(self.contract, robot)
        self.rejections = {source: Rejections() for source in self.observer.sources}
        views = self.contract.view_names
        self._frozen = {name: FrozenPicture(p.frozen_after_s, p.frozen_motion_rad) for name in views}
        self._joints: deque[tuple[int, Float64]] = deque(maxlen=_REMEMBERED)
        self._events = Events(_QUIET_S)
        self._publisher = qos.publisher(self, "observation", ObservationMsg)
        for name in views:
            qos.subscription(self, f"{name}/image_raw", Image, partial(self._on_image, name))
        qos.subscription(self, "joint_states", JointState, self._on_joints)
        qos.subscription(self, "instruction", String, self._on_instruction)
        Diagnostics(self, self._status, hardware_id=self.contract.robot)

    def _on_image(self, camera: str, message: Image) -> None:
        stamp_ns, image = stamps.to_ns(message.header.stamp), conversions.raw_image(message)

        def add() -> list[Observation]:
            # where the arm was when the picture was taken: pictures come later than joint states
            joints = next((q for at_ns, q in reversed(self._joints) if at_ns <= stamp_ns), np.zeros(0))
            self._frozen[camera].check(stamp_ns, image.data, joints)
            return self.observer.add_image(camera, stamp_ns, image, stamps.now_ns(self))

        self._take(camera, add)

    def _on_joints(self, message: JointState) -> None:
        stamp_ns, sample = stamps.to_ns(message.header.stamp), conversions.joint_sample(message)

        def add() -> list[Observation]:
            made = self.observer.add_joints(stamp_ns, sample, stamps.now_ns(self))
            # by name: drivers may change the order
            self._joints.append((stamp_ns, sample.position[np.argsort(sample.names)]))
            return made

        self._take(JOINTS, add)

    def _on_instruction(self, message: String) -> None:
        self.observer.instruction = message.data

    def _take(self, source: str, add: Callable[[], list[Observation]]) -> None:
        try:
            made = add()
        except ObservationError as error:
            self.rejections[source].add(error)
            if self._events.begins(f"{source}: {error.expected}", time.monotonic()):
                self.get_logger().warning(f"{source}: {error}")
            return
        for observation in made:
            self._publisher.publish(conversions.observation_msg(observation, self._base_frame))

    def _status(self) -> list[Status]:
        now_ns, observer = stamps.now_ns(self), self.observer
        lines = []
        for source in observer.sources:
            health = judge(observer.statistics(source), self.rejections[source], now_ns, self.contract.max_age_s)
            lines.append(Status(Level[health.level.upper()], health.message, health.values, part=source))
        worst = max(lines, key=lambda line: line.level)
        values = {"observations": observer.observed, "unmatched": observer.unmatched, "stale": observer.stale}
        summary = f"{worst.part}: {worst.message}" if worst.level else "observing"
        return [Status(worst.level, summary, values), *lines]


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(ObservationNode))


if __name__ == "__main__":
    main()
