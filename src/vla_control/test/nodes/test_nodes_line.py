"""servo_node, executor_node and safety_monitor_node as they run together, around a robot in lockstep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from array import array

import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from vla_control.core.parameters import PHASES
from vla_control.executor_node import ExecutorNode
from vla_control.safety_monitor_node import SafetyMonitorNode
from vla_control.servo_node import ServoNode
from vla_core.errors import LinkError
from vla_core.peer import Peer
from vla_core.records import SAFETY, STATUS
from vla_core.shared_memory import Mailbox, link_path
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ControlState, SafetyState
from vla_ros import qos, stamps

USE_SIM_TIME = True


class World:
    """Runs the fake robot in a thread, slowly enough for everybody, until it is told to stop."""

    def __init__(self, robot) -> None:
        self.robot = robot
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            self.robot.run(1, alive=lambda: not self._stop.is_set())
            time.sleep(0.0005)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def world(fake_robot):
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # the robot's thread answers many times per turn of the nodes' thread
    world = World(fake_robot)
    yield world
    world.close()
    sys.setswitchinterval(interval_s)


class Ears(Node):
    """Listens, speaks for the policy and the driver, and publishes the clock of the fake robot."""

    def __init__(self, arm=None) -> None:
        super().__init__("ears", use_global_arguments=False)
        self.clock_out = qos.publisher(self, "/clock", Clock)
        self.create_timer(0.01, self._on_clock)
        self.arm, self.now_ns = arm, 10**9
        self.control: list[ControlState] = []
        self.safety: list[SafetyState] = []
        qos.subscription(self, "control_state", ControlState, self.control.append)
        qos.subscription(self, "safety_state", SafetyState, self.safety.append)
        self.chunks = qos.publisher(self, "action_chunk", ActionChunkMsg)
        self.joints = qos.publisher(self, "joint_states", JointState)

    def _on_clock(self) -> None:
        self.now_ns = self.arm.stamp_ns if self.arm else self.now_ns + 10_000_000
        self.clock_out.publish(Clock(clock=stamps.to_msg(self.now_ns)))

    def call(self, spinner, name: str) -> Trigger.Response:
        client = self.create_client(Trigger, f"safety_monitor_node/{name}")
        spinner.until(client.service_is_ready, f"service {name}")
        future = client.call_async(Trigger.Request())
        spinner.until(future.done, f"answer of {name}")
        return future.result()

    def insist(self, spinner, make) -> None:
        """Send a chunk, and again, until one is executed: the executor learns of a release within 50 ms."""
        for _ in range(100):
            self.send(make())
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                spinner.spin(0.05)
                if self.control[-1].mode == "track":
                    return
        pytest.fail("no chunk was executed")

    def send(self, chunk) -> None:
        message = ActionChunkMsg(
            sequence=chunk.sequence, policy=chunk.policy, contract_hash=chunk.contract_hash,
            action_space=chunk.action_space, action_names=list(chunk.action_names), dt_s=chunk.dt_s,
            horizon=len(chunk.actions), actions=array("f", chunk.actions.tobytes()),
        )  # fmt: skip
        message.header.stamp = stamps.to_msg(chunk.stamp_ns)
        self.chunks.publish(message)


def test_compliance_phase_and_payload_are_set_on_the_running_servo_node(spinner, world, link) -> None:
    ears = spinner.add(Ears(world.robot))
    servo = spinner.add(ServoNode())
    spinner.until(lambda: ears.control, "the servo runs")
    status = Peer(link, "status", STATUS)
    spinner.until(lambda: status.refresh() and status.poll(), "status")

    def now(name: str) -> float:
        status.poll()
        return float(status.record[name][0])

    assert (now("joint_share"), now("stiffness")) == (0.0, 1.0)
    servo.set_parameters([Parameter("compliance", value="joint"), Parameter("phase", value="contact")])
    factor = servo._p.phase_stiffness[PHASES.index("contact")]
    spinner.until(lambda: now("joint_share") == 1.0 and abs(now("stiffness") - factor) < 1e-3, "it has changed")
    servo.set_parameters([Parameter("payload_com_m", value=[0.0, 0.0])])  # refused: three numbers
    assert servo._p.payload_com_m == (0.0, 0.0, 0.0)
    servo.set_parameters([Parameter("payload_com_m", value=[0.0, 0.0, 0.0]), Parameter("phase", value="free")])
    spinner.until(lambda: abs(now("stiffness") - 1.0) < 1e-3, "and back")
    status.close()


def test_chunk_to_motion_stop_release_motion(spinner, world, make_chunk, robot) -> None:
    arm = world.robot
    ears = spinner.add(Ears(arm))
    spinner.add(SafetyMonitorNode())
    servo, _ = spinner.add(ServoNode()), spinner.add(ExecutorNode())
    spinner.until(lambda: ears.control and ears.control[-1].mode == "hold", "the servo holds")
    spinner.until(lambda: ears.chunks.get_subscription_count() >= 2, "chunks are heard")
    z = robot.tool_pose(arm.q)[0][2]

    ears.insist(spinner, lambda: make_chunk(arm.stamp_ns, sequence=1, lift_m=0.05))
    spinner.until(lambda: robot.tool_pose(arm.q)[0][2] > z + 0.045, "the tool is lifted")
    state = ears.control[-1]
    assert tuple(state.names) == robot.config.joints
    assert state.limit_names and len(state.limit_counts) == len(state.limit_names)
    spinner.until(lambda: ears.control[-1].mode == "hold", "the plan has ended")

    response = ears.call(spinner, "stop")
    assert response.success
    spinner.until(lambda: ears.control[-1].mode == "stop", "the servo stops")
    spinner.until(lambda: ears.safety[-1].stopped, "the stop is published")
    assert ears.safety[-1].cause == "stop service"
    assert "safety_stop" in ears.control[-1].limits_acting
    ears.send(make_chunk(arm.stamp_ns, sequence=2, lift_m=0.1))
    spinner.spin(0.3)
    assert ears.control[-1].mode == "stop"
    assert robot.tool_pose(arm.q)[0][2] < z + 0.06

    assert ears.call(spinner, "release").success
    spinner.until(lambda: ears.control[-1].mode == "hold", "the servo holds again")
    ears.insist(spinner, lambda: make_chunk(arm.stamp_ns, sequence=3, lift_m=0.1))

    servo.trigger_deactivate()
    assert not link_path(servo.get_parameter("link").value, "command").exists()


def test_a_killed_executor_leaves_the_arm_at_rest(spinner, world, make_chunk, robot, link, ros_arguments) -> None:
    arm = world.robot
    ears = spinner.add(Ears(arm))
    spinner.add(SafetyMonitorNode())
    child = subprocess.Popen(
        [sys.executable, "-m", "vla_control.executor_node", *ros_arguments], stdout=subprocess.PIPE, env=os.environ
    )
    try:
        spinner.add(ServoNode())
        assert child.stdout is not None and child.stdout.readline() == b"READY executor_node\n"
        spinner.until(lambda: ears.chunks.get_subscription_count() >= 2, "chunks are heard")
        z = robot.tool_pose(arm.q)[0][2]
        spinner.until(lambda: ears.control and ears.control[-1].mode == "hold", "the servo holds")
        ears.insist(spinner, lambda: make_chunk(arm.stamp_ns, lift_m=0.1))
        spinner.until(lambda: robot.tool_pose(arm.q)[0][2] > z + 0.02, "the tool moves")
        child.send_signal(signal.SIGKILL)
        child.wait()
        spinner.until(lambda: ears.control[-1].mode == "hold", "the plan ends at rest")
        spinner.spin(0.2)
        assert np.abs(arm.qd).max() < 0.02
        assert robot.tool_pose(arm.q)[0][2] > z + 0.05  # what was committed is carried out
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        link_path(link, "plan").unlink()  # a killed process can't


def test_a_servo_loop_that_dies_ends_its_node(spinner, world) -> None:
    spinner.add(Ears(world.robot))
    spinner.add(SafetyMonitorNode())
    servo = spinner.add(ServoNode())
    os.kill(servo._loop.pid, signal.SIGKILL)
    link = servo.get_parameter("link").value
    with pytest.raises(LinkError, match="ended with code -9"):
        spinner.spin(60.0)
    for box in ("command", "status"):
        link_path(link, box).unlink()  # a killed process can't


def test_monitor_begins_stopped_after_a_killed_one(spinner, link) -> None:
    Mailbox(link_path(link, "safety"), SAFETY, create=True).close()  # left by SIGKILL
    ears = spinner.add(Ears())
    spinner.add(SafetyMonitorNode())
    spinner.until(lambda: ears.safety, "safety_state")
    assert ears.safety[-1].stopped and "killed" in ears.safety[-1].cause
    assert ears.call(spinner, "release").success
    spinner.until(lambda: not ears.safety[-1].stopped, "released")


def test_a_stop_outlives_the_monitor_that_latched_it(spinner, link) -> None:
    """Regression: a monitor that was interrupted removed its mailbox, and the next one began with a free robot."""
    ears, path = spinner.add(Ears()), link_path(link, "safety")

    def begin() -> SafetyMonitorNode:
        ears.safety.clear()
        node = spinner.add(SafetyMonitorNode())
        spinner.until(lambda: ears.safety and "clock" not in ears.safety[-1].cause, "safety_state")
        return node

    def end(node: SafetyMonitorNode) -> None:
        """As `vla_ros.node.run` does after SIGINT and after an exception."""
        spinner.executor.remove_node(node)
        spinner.nodes.remove(node)
        node.on_exit()
        node.destroy_node()

    first = begin()
    assert not ears.safety[-1].stopped and ears.call(spinner, "stop").success
    end(first)
    end(begin())  # nobody releases it: it stays, however many come and go
    third = begin()
    assert ears.safety[-1].stopped and "nobody had released" in ears.safety[-1].cause
    assert ears.call(spinner, "release").success
    spinner.until(lambda: not ears.safety[-1].stopped, "released")
    end(third)
    assert not path.exists()
    last = begin()
    assert not ears.safety[-1].stopped
    end(last)


def test_monitor_sees_numbers_that_are_not_finite_and_silence(latched, spinner) -> None:
    ears = spinner.add(Ears())
    spinner.add(SafetyMonitorNode())
    spinner.until(lambda: ears.joints.get_subscription_count(), "the monitor listens")
    message = JointState(name=["a"], position=[0.0], velocity=[0.0])

    def say(position: float) -> None:
        message.header.stamp = stamps.to_msg(ears.now_ns)
        message.position = [position]
        ears.joints.publish(message)

    say(0.0)
    spinner.until(lambda: ears.safety and "older" in ears.safety[-1].cause, "silence stops")
    assert ears.safety[-1].stopped and ears.safety[-1].cause == "joint_states is older than 0.1 s"
    assert not ears.call(spinner, "release").success

    def fresh() -> bool:  # said until it is seen in time: a busy machine may take longer than 0.1 s
        say(float("nan"))
        say(0.0)
        return 0.0 <= ears.safety[-1].age_s[0] < 0.1

    spinner.until(fresh, "the newest is seen")


def test_stamp_is_read_without_decoding(spinner) -> None:
    from rclpy.serialization import serialize_message

    from vla_msgs.msg import Observation
    from vla_ros.stamps import of_serialized

    message = Observation(instruction="pick up the mug", height=2, width=2, rgb=bytes(24))
    for stamp_ns in (0, 1, 1_234_567_890_123_456_789, 5_999_999_999):
        message.header.stamp = stamps.to_msg(stamp_ns)
        assert of_serialized(serialize_message(message)) == stamp_ns
