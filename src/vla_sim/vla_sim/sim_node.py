"""Stage 0, the simulated robot. In: command of the servo (shared memory). Out: joint_states 100 Hz, /clock, /tf;
snapshots for the cameras (shared memory). A mobile robot also takes cmd_vel and publishes scan, points, imu and odom;
its /clock comes at 50 Hz.
Ground truth, resets and faults live under ~/debug only.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_core.types import NS, Float64
from vla_msgs.msg import Observation
from vla_ros import stamps
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import publisher, subscription
from vla_ros.tf import StaticTransformBroadcaster, TransformBroadcaster
from vla_sim import conversions
from vla_sim.core.frames import RobotFrames
from vla_sim.core.late_joiners import LateJoiners
from vla_sim.core.lockstep import Lockstep, LockstepParameters
from vla_sim.core.mobile_world import MobileWorld
from vla_sim.core.real_time import RealTime, RealTimeParameters
from vla_sim.core.records import Start
from vla_sim.core.simulation import Simulation
from vla_sim.core.suites import suite_of
from vla_sim.core.truth import truth
from vla_sim.mobile_outputs import MobileOutputs

_STATE_TICKS, _TF_TICKS, _TRUTH_TICKS = 10, 20, 200  # periods [ticks of 1 ms]
_MOBILE_CLOCK_TICKS = 20  # each message of /clock wakes every process, and a mobile robot has twice as many
_IDLE_CLOCK_S = 0.1  # a world that stands still repeats its clock, for processes that start later [s, wall clock]


class SimNode(Node):
    """Owns the world and its clock; one thread steps it and serves ROS in between."""

    def __init__(self) -> None:
        # this node makes the clock, so it can't run by it
        super().__init__("sim_node", parameter_overrides=[Parameter("use_sim_time", value=False)])
        self._p = declare(self, Path(__file__).parent / "parameters" / "sim_node.yaml", self._on_parameters)
        self._suite = suite_of(self._p.scene)
        world = self._suite.make_world(self._p.scene)
        self._sim = Simulation(world, self._p.link, self._p.lockstep, _start(self._p))
        self._pacing = self._make_pacing()
        robot = world.robot
        self._others = [name for gripper in robot.grippers for name in gripper.joints]
        self._others += world.wheels if isinstance(world, MobileWorld) else ()
        self._joint_states = conversions.JointStates(robot.joints, self._others, robot.base_frame)
        self._look_up()
        self._executor: Executor | None = None
        self._clock_wall_s = 0.0
        self._joiners = LateJoiners()
        self._report_wall_s, self._report_ns = time.monotonic(), self._sim.stamp_ns
        self._clock_out = publisher(self, "/clock", Clock)
        self._joint_out = publisher(self, "joint_states", JointState)
        self._tf_out, self._tf_static_out = TransformBroadcaster(self), StaticTransformBroadcaster(self)
        self._mobile = MobileOutputs(self, world) if isinstance(world, MobileWorld) else None
        self._truth_out = self.create_publisher(String, "~/debug/ground_truth", QoSProfile(depth=1))
        if self._p.wait_for_policy and isinstance(self._pacing, Lockstep):
            seen = self._pacing.observed  # raw: the stamp is all that counts here
            subscription(self, "observation", Observation, lambda data: seen(stamps.of_serialized(data)), raw=True)
        subscription(self, "instruction", String, lambda message: self._pacing.instruct(message.data))
        self.create_service(Trigger, "~/debug/reset", self._on_reset)
        self.create_service(Trigger, "~/debug/judge", self._on_judge)
        self.create_service(Trigger, "~/debug/inject", self._on_inject)
        Diagnostics(self, self._status, hardware_id="simulation", now_ns=lambda: self._sim.stamp_ns)
        self._tf_static_out.send(conversions.transforms(self._sim.stamp_ns, self._frames.mounts()))

    def loop(self, executor: Executor) -> None:
        """Step until a signal ends the context; replaces `executor.spin()`."""
        self._executor = executor
        while self.context.ok():
            self._pacing.tick()

    def on_exit(self) -> None:
        """Remove the mailboxes."""
        self._sim.close()

    def _make_pacing(self) -> Lockstep | RealTime:
        hooks = (self._on_tick, self._poll, self.get_logger().warning)
        if not self._p.lockstep:
            return RealTime(self._sim, RealTimeParameters(self._p.command_timeout_s), *hooks)
        own = {n: getattr(self._p, n) for n in LockstepParameters.__dataclass_fields__ if n != "observation_period_s"}
        period_s = 1.0 / load_contract(self._p.contract).rate_hz
        return Lockstep(self._sim, LockstepParameters(observation_period_s=period_s, **own), *hooks)

    def _on_tick(self) -> None:
        """Publish what is due at this tick."""
        tick, stamp_ns = self._sim.tick, self._sim.stamp_ns
        if tick % (_STATE_TICKS if self._mobile is None else _MOBILE_CLOCK_TICKS) == 0:
            self._publish_clock()
        if tick % _STATE_TICKS == 0:
            self._publish_joints()
        moved = [] if self._mobile is None else self._mobile.tick(tick, stamp_ns)
        if tick % _TF_TICKS == 0:
            moved += conversions.transforms(stamp_ns, self._frames.links(self._sim.world.data))
        if moved:  # one message: it wakes every process that hears /tf
            self._tf_out.send(moved)
        if tick % _TRUTH_TICKS == 0 and self._truth_out.get_subscription_count() > 0:
            self._truth_out.publish(conversions.text(truth(self._sim.world, self._suite, stamp_ns)))

    def _poll(self) -> None:
        """Serve at most one ROS callback; also called while the world waits."""
        assert self._executor is not None
        self._executor.spin_once(timeout_sec=0.0)
        now_s = time.monotonic()
        if now_s - self._clock_wall_s > _IDLE_CLOCK_S:
            self._publish_clock()
        if self._joiners.waiting(self._joint_out.get_subscription_count(), now_s):
            self._publish_joints()

    def _publish_joints(self) -> None:
        self._joiners.published(time.monotonic())
        self._joint_out.publish(self._joint_states(self._sim.stamp_ns, self._sim.robot_state, self._other_state()))

    def _publish_clock(self) -> None:
        self._clock_wall_s = time.monotonic()
        self._clock_out.publish(conversions.clock(self._sim.stamp_ns))

    def _status(self) -> list[Status]:
        now_s, stamp_ns = time.monotonic(), self._sim.stamp_ns
        values: dict[str, float | int] = {
            "real_time_factor": (stamp_ns - self._report_ns) / NS / (now_s - self._report_wall_s),
            "resets": self._sim.generation - 1,
        }
        if self._mobile is not None:
            values["refused_base_commands"] = self._mobile.refused
        self._report_wall_s, self._report_ns = now_s, stamp_ns
        if isinstance(self._pacing, Lockstep):
            values |= {f"{name}_timeouts": count for name, count in self._pacing.timeouts.items()}
        else:
            values["behind_wall_clock_s"] = self._pacing.slipped_ns / NS
        if not self._sim.hardware.commanded:
            return [Status(Level.WARN, "got no command yet; the world waits for servo_node", values)]
        return [Status(Level.OK, "running", values)]

    def _look_up(self) -> None:
        """Fetch what belongs to the world's model: a reset may bring another one."""
        world = self._sim.world
        sensors = world.sensor_sites() if isinstance(world, MobileWorld) else {}
        self._frames = RobotFrames(world.model, world.robot, world.scene["cameras"], sensors)
        self._other_joints = [world.data.joint(name) for name in self._others]

    def _other_state(self) -> Float64:
        """Position, velocity and force of finger joints and wheels, (3,F): [m], or [rad] of what turns."""
        return np.array([[j.qpos[0], j.qvel[0], j.qfrc_actuator[0]] for j in self._other_joints]).T

    def _on_parameters(self, values: Parameters) -> None:
        self._p = values

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Fill the world from the parameters seed, instruction, split and family; the message is the instruction."""
        try:
            response.message = self._sim.reset(_start(self._p))
            response.success = True
            self._look_up()
        except VlaError as error:
            response.message = str(error)
        return response

    def _on_inject(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Let go wrong what the parameter fault names; the message says what was done."""
        try:
            response.message = self._sim.world.inject(self._p.fault)
            response.success = True
        except VlaError as error:
            response.message = str(error)
        return response

    def _on_judge(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Success by ground truth; the message is JSON, see vla_sim.core.truth."""
        facts = truth(self._sim.world, self._suite, self._sim.stamp_ns)
        response.success = bool(facts["success"])
        response.message = json.dumps(facts)
        return response


def _start(p: Parameters) -> Start:
    return Start(p.seed, p.instruction, p.split, p.family)


def main() -> None:
    """Entry point."""
    sys.exit(run(SimNode))


if __name__ == "__main__":
    main()
