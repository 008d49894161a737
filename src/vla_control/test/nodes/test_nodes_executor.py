"""executor_node: chunk message in, plan mailbox and executor_state out; bad messages are named and counted."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from vla_control.executor_node import ExecutorNode
from vla_core.contract import load_contract
from vla_core.errors import LinkError
from vla_core.peer import Peer
from vla_core.records import PLAN
from vla_core.types import ActionChunk
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState, JointTarget
from vla_ros import qos, stamps

NOW_NS = 10_000_000_000


def message_of(chunk: ActionChunk) -> ActionChunkMsg:
    message = ActionChunkMsg(
        instruction=chunk.instruction, sequence=chunk.sequence, policy=chunk.policy, contract_hash=chunk.contract_hash,
        action_space=chunk.action_space, action_names=list(chunk.action_names), dt_s=chunk.dt_s,
        horizon=len(chunk.actions), actions=array("f", chunk.actions.tobytes()),
    )  # fmt: skip
    message.header.stamp = stamps.to_msg(chunk.stamp_ns)
    return message


class Neighbours:
    """Policy, mission and servo side of the executor, in the test."""

    def __init__(self, spinner, link: str) -> None:
        import rclpy

        self.spinner = spinner
        node = spinner.add(rclpy.create_node("neighbours", use_global_arguments=False))
        self.states: list[ExecutorState] = []
        self.targets: list[JointTarget] = []
        self.markers: list[MarkerArray] = []
        self.chunks = qos.publisher(node, "action_chunk", ActionChunkMsg)
        self.instructions = qos.publisher(node, "instruction", String)
        qos.subscription(node, "executor_state", ExecutorState, self.states.append)
        qos.subscription(node, "joint_target", JointTarget, self.targets.append)
        qos.subscription(node, "executor_node/markers", MarkerArray, self.markers.append)
        self.plan = Peer(link, "plan", PLAN)
        spinner.until(lambda: self.states and self.chunks.get_subscription_count(), "the executor is there")

    def send(self, message: ActionChunkMsg) -> ExecutorState:
        """Publish a chunk and return the state that tells of it."""
        count = self.states[-1].chunks_accepted + self.states[-1].chunks_rejected
        self.chunks.publish(message)
        self.spinner.until(
            lambda: self.states[-1].chunks_accepted + self.states[-1].chunks_rejected > count, "the chunk is judged"
        )
        self.plan.refresh()
        self.plan.poll()
        return self.states[-1]


@pytest.fixture
def neighbours(spinner, link, writer, robot):
    q = np.zeros(16)
    q[:7] = robot.config.home_rad
    state = writer("state")
    state.write(stamp_ns=NOW_NS, epoch_ns=NOW_NS - 10**9, q=q, gripper_width=[0.04])
    spinner.add(ExecutorNode())
    neighbours = Neighbours(spinner, link)
    yield neighbours
    neighbours.plan.close()


def test_a_chunk_becomes_the_plan(neighbours, make_chunk, contract, robot) -> None:
    state = neighbours.send(message_of(make_chunk(NOW_NS - 100_000_000, sequence=4)))
    assert (state.chunks_accepted, state.chunks_rejected, state.last_error) == (1, 0, "")
    assert (state.mode, state.sequence) == ("tracking", 4)
    assert (state.steps_consumed, state.steps_left) == (3, contract.horizon - 3)
    assert stamps.to_ns(state.answers) == NOW_NS - 100_000_000
    assert state.header.frame_id == robot.config.base_frame
    committed = np.array(state.committed).reshape(-1, len(state.action_names))
    assert tuple(state.action_names) == contract.action_names and len(committed) < 3
    plan = neighbours.plan.record
    assert int(plan["sequence"][0]) == 4 and int(plan["answers_ns"][0]) == NOW_NS - 100_000_000
    assert int(plan["count"][0]) > 50
    assert np.abs(plan["qd"][0, int(plan["count"][0]) - 1]).max() < 1e-9


def test_joint_targets_and_markers_show_the_plan(neighbours, make_chunk, robot) -> None:
    neighbours.send(message_of(make_chunk(NOW_NS - 100_000_000)))
    neighbours.targets.clear()
    neighbours.markers.clear()
    neighbours.spinner.until(
        lambda: neighbours.targets and any(m.markers[0].points for m in neighbours.markers), "target and markers"
    )
    target = neighbours.targets[-1]
    assert tuple(target.names) == robot.config.joints
    assert np.allclose(target.position, robot.config.home_rad, atol=0.01)
    kinds = {marker.ns: marker for marker in neighbours.markers[-1].markers}
    assert set(kinds) == {"predicted", "clamped", "blended", "committed", "executed"}
    assert kinds["clamped"].action == Marker.DELETE  # nothing is out of reach
    assert len({(m.color.r, m.color.g, m.color.b) for m in kinds.values()}) == 5
    position, _ = robot.tool_pose(robot.config.home_rad)
    first = kinds["predicted"].points[0]
    assert np.allclose((first.x, first.y, first.z), position, atol=1e-5)
    assert kinds["executed"].action == Marker.DELETE  # there is no servo


def test_nan_is_rejected_with_a_sentence_and_the_world_goes_on(neighbours, make_chunk) -> None:
    chunk = make_chunk(NOW_NS - 50_000_000)
    chunk.actions[2, 1] = np.nan
    state = neighbours.send(message_of(chunk))
    assert (state.chunks_accepted, state.chunks_rejected) == (0, 1)
    assert "aren't finite" in state.last_error and "expected" in state.last_error and "fix" in state.last_error
    plan = neighbours.plan.record
    assert int(plan["sequence"][0]) == 0 and int(plan["answers_ns"][0]) == NOW_NS - 50_000_000


def test_another_contract_is_rejected(neighbours, make_chunk) -> None:
    message = message_of(make_chunk(NOW_NS))
    message.contract_hash = "feedfeedfeedfeed"
    assert "contract feedfeedfeedfeed" in neighbours.send(message).last_error


def test_a_wrong_number_of_actions_is_rejected(neighbours, make_chunk) -> None:
    message = message_of(make_chunk(NOW_NS))
    message.horizon += 1
    state = neighbours.send(message)
    assert "160 actions for a horizon of 21 and 8 names" in state.last_error
    assert int(neighbours.plan.record["answers_ns"][0]) == NOW_NS
    good = neighbours.send(message_of(make_chunk(NOW_NS, sequence=2)))
    assert good.chunks_accepted == 1 and good.last_error == ""


def test_an_empty_instruction_ends_the_motion(neighbours, make_chunk) -> None:
    neighbours.instructions.publish(String(data="lift"))
    lift = make_chunk(NOW_NS - 400_000_000, lift_m=0.2, instruction="lift")
    neighbours.spinner.until(lambda: neighbours.send(message_of(lift)).chunks_accepted, "the instruction is heard")
    neighbours.instructions.publish(String(data=""))
    neighbours.spinner.until(lambda: neighbours.states[-1].mode == "finishing", "the arm brakes")
    state = neighbours.send(message_of(make_chunk(NOW_NS - 300_000_000, sequence=2)))
    assert "without an instruction" in state.last_error


def test_no_robot_is_an_error_that_names_the_mailbox(spinner, ros_arguments) -> None:
    import rclpy

    rclpy.try_shutdown()
    rclpy.init(args=[*ros_arguments, "-p", "link_timeout_s:=0.1"])
    node = ExecutorNode()
    with pytest.raises(LinkError, match=r"_state for 0\.1 s"):
        node.start()
    node.destroy_node()


def test_modes_of_a_policy_move_arm_or_base_and_end_the_task(spinner, link, writer, ros_arguments, robot) -> None:
    """RT-1's contract in the node: base_target follows the steps, and executor_state tells the end."""
    import rclpy

    rclpy.try_shutdown()
    names = ("robot:=panda_mobile", "contract:=rt1_mobile_panda")
    rclpy.init(args=[*ros_arguments, *(word for name in names for word in ("-p", name))])
    spinner = type(spinner)()
    contract, q = load_contract("rt1_mobile_panda"), np.zeros(16)
    q[:7] = robot.config.home_rad
    state = writer("state")
    epoch_ns = NOW_NS - 10**9
    state.write(stamp_ns=NOW_NS, epoch_ns=epoch_ns, q=q, gripper_width=[0.04])
    spinner.add(ExecutorNode())
    neighbours, twists = Neighbours(spinner, link), []
    qos.subscription(spinner.nodes[-1], "base_target", TwistStamped, twists.append)
    actions = np.zeros((1, 11), np.float32)
    actions[0, 7], actions[0, 10] = 0.2, 1

    def chunk(stamp_ns: int, sequence: int) -> ActionChunkMsg:
        columns = contract.action_space, contract.action_names, contract.dt_s
        return message_of(ActionChunk(stamp_ns, sequence, "test", contract.hash, *columns, actions))

    assert neighbours.send(chunk(NOW_NS, 1)).last_error == ""
    state.write(stamp_ns=NOW_NS + 100_000_000, epoch_ns=epoch_ns, q=q, gripper_width=[0.04])
    spinner.until(lambda: any(abs(m.twist.linear.x - 0.2) < 1e-6 for m in twists), "the base is told to move")
    assert twists[-1].header.frame_id == "base_link"
    actions[0, 10] = 2
    assert neighbours.send(chunk(NOW_NS + 50_000_000, 2)).last_error == ""
    state.write(stamp_ns=NOW_NS + 300_000_000, epoch_ns=epoch_ns, q=q, gripper_width=[0.04])
    spinner.until(lambda: neighbours.states[-1].mode == "terminated", "the end is told")
    twists.clear()
    spinner.until(lambda: twists and twists[-1].twist.linear.x == 0.0, "the base is told to stand")
    assert "ended the task" in neighbours.send(chunk(NOW_NS + 250_000_000, 3)).last_error
    neighbours.plan.close()
    spinner.close()
