"""fetch_node between servers that the test plays: explorer, navigator, map of objects, policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import TwistStamped
from nav2_msgs.action import NavigateToPose
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient, ActionServer, CancelResponse
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import BatteryState, CameraInfo, LaserScan
from std_msgs.msg import String
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from vla_core.types import Float64
from vla_msgs.action import ExecuteInstruction, Explore
from vla_msgs.msg import ControlState, SafetyState
from vla_msgs.srv import FindObject
from vla_navigation import floor_conversions
from vla_navigation.fetch_node import FetchNode
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_msg
from vla_ros.tf import StaticTransformBroadcaster, TransformBroadcaster, transform

PARAMETERS = {"use_sim_time": "false", "server_timeout_s": "10.0"}
MUG = (2.1, 2.2, 0.25)
TURN_S = 0.05


class PlayedFlat:
    """A robot that is where it is sent, and a mug that it finds when it explores."""

    def __init__(self, spinner) -> None:
        self.spinner = spinner
        self.node = node = spinner.add(Node("played_flat"))
        self.pose: Float64 | None = np.array([0.6, 0.6, 0.0])
        self.twist = np.zeros(2)
        self.found, self.sees, self.camera = False, True, True
        self.width_m, self.grasped_m = 0.09, 0.03
        self.mug, self.kicked_m = MUG, 0.0  # where it is, and how far it rolls when it is put down
        self.blue_mug: tuple[float, float, float] | None = None  # another one, seen whenever the map is told
        self.errands: list[str] = []
        self.goals: list[np.ndarray] = []
        self.ahead_m = 6.0  # how far away the lidar sees something, on all four sides: one that met nothing is blind
        self.holds_on: str | None = None  # the action that never ends by itself
        self.open: dict[str, tuple[Any, Future]] = {}
        self.safety, self.charge = "", 1.0
        self._due_s = 0.0
        self._tf, self._fixed = TransformBroadcaster(node), StaticTransformBroadcaster(node)
        self._out = {
            name: publisher(node, name, kind)
            for name, kind in (
                ("map", GridMsg), ("global_costmap/costmap", GridMsg), ("odom", Odometry),
                ("objects", Detection3DArray), ("front/camera_info", CameraInfo),
                ("control_state", ControlState), ("safety_state", SafetyState), ("battery_state", BatteryState),
                ("said", String), ("scan", LaserScan),
            )
        }  # fmt: skip
        subscription(node, "cmd_vel_nav", TwistStamped, self._on_twist)
        self.finder = node.create_service(FindObject, "find_object", self._find)
        self._servers = [
            self._server(Explore, "explore", self._explored),
            self._server(NavigateToPose, "navigate_to_pose", self._driven),
            self._server(ExecuteInstruction, "execute_instruction", self._handled),
        ]
        spinner.add(fetch := FetchNode())
        self.fetch = fetch
        self.client = ActionClient(node, ExecuteInstruction, "fetch")
        self.feedback: list[str] = []
        self._map()

    # -- what it tells ------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """A moment: the robot moves by its twist, and its sensors say so."""
        if time.monotonic() < self._due_s:
            self.spinner.executor.spin_once(timeout_sec=0.005)
            return
        self._due_s = time.monotonic() + TURN_S
        stamp = now_ns(self.node)
        if self.pose is not None:
            v, w = self.twist
            self.pose = self.pose + np.array([v * np.cos(self.pose[2]), v * np.sin(self.pose[2]), w]) * TURN_S
            x, y, yaw = self.pose
            place = transform("map", "base_link", stamp, (x, y, 0.0), (0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)))
            self._tf.send([place])
        odometry = Odometry()
        odometry.twist.twist.linear.x, odometry.twist.twist.angular.z = self.twist.tolist()
        self._out["odom"].publish(odometry)
        scan = LaserScan(angle_min=-np.pi, angle_max=np.pi, angle_increment=np.pi / 2, range_min=0.05, range_max=12.0)
        scan.header.frame_id, scan.header.stamp, scan.ranges = "laser", to_msg(stamp), [self.ahead_m] * 5
        self._out["scan"].publish(scan)
        self._fixed.send([transform("base_link", "laser", 0, (0.0, 0.0, 0.2), (0.0, 0.0, 0.0, 1.0))])
        self._out["objects"].publish(self.objects())
        self._out["control_state"].publish(ControlState(gripper_width=[self.width_m]))
        self._out["safety_state"].publish(SafetyState(stopped=bool(self.safety), cause=self.safety))
        self._out["battery_state"].publish(BatteryState(percentage=self.charge))
        if self.camera:
            self._fixed.send(
                [transform("base_link", "front_optical_frame", 0, (0.0, 0.0, 0.9), (-0.5, 0.5, -0.5, 0.5))]
            )
            info = CameraInfo(width=320, height=240, k=[120.0, 0.0, 160.0, 0.0, 120.0, 120.0, 0.0, 0.0, 1.0])
            info.header.frame_id, info.header.stamp = "front_optical_frame", to_msg(stamp)
            self._out["front/camera_info"].publish(info)
        self.spinner.executor.spin_once(timeout_sec=0.005)

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"not within {timeout_s:g} s: {what}; {self.feedback[-3:]}, {self.errands}"
            )
            self.turn()

    def objects(self) -> Detection3DArray:
        out = Detection3DArray()
        if self.found and self.grasped_m != self.width_m:
            out.detections.append(self._a_mug(7, self.mug, self.sees))
        if self.blue_mug is not None:
            out.detections.append(self._a_mug(8, self.blue_mug, True))
        return out

    def _a_mug(self, number: int, place: tuple[float, float, float], seen: bool) -> Detection3D:
        one = Detection3D(id=str(number), results=[ObjectHypothesisWithPose()])
        one.results[0].hypothesis.class_id = "mug"
        centre = one.bbox.center.position
        centre.x, centre.y, centre.z = place
        one.header.stamp = to_msg(now_ns(self.node) if seen else 0)
        return one

    def _map(self) -> None:
        cells = np.zeros((100, 100), np.int8)
        cells[[0, -1]] = cells[:, [0, -1]] = 100
        cells[40:48, 40:52] = 100
        self._out["map"].publish(self.grid(cells))

    def grid(self, cells: np.ndarray, frame: str = "map") -> GridMsg:
        return floor_conversions.grid_msg(cells, 0.05, np.zeros(3), now_ns(self.node), frame)

    # -- what it is asked ---------------------------------------------------------------------------------------------

    def _server(self, action: Any, name: str, act: Callable[[Any], Any]) -> ActionServer:
        async def execute(handle):
            result = act(handle)
            if self.holds_on == name:
                done = Future()
                self.open[name] = (handle, done)
                await done
                handle.canceled()
                return action.Result()
            handle.succeed() if getattr(result, "success", True) else handle.abort()
            return result

        def cancel(handle) -> CancelResponse:
            opened = self.open.pop(name, None)
            if opened is not None:
                self.spinner.executor.create_task(lambda: opened[1].set_result(None))
            return CancelResponse.ACCEPT

        return ActionServer(self.node, action, name, execute, cancel_callback=cancel)

    def _explored(self, handle) -> Explore.Result:
        self.errands.append(f"explore: {handle.request.target}")
        self.found = True
        return Explore.Result(success=True)

    def _driven(self, handle) -> NavigateToPose.Result:
        self.goals.append(floor_conversions.flat(handle.request.pose.pose))
        if self.holds_on != "navigate_to_pose":
            self.pose = self.goals[-1].copy()
        return NavigateToPose.Result()

    def _handled(self, handle) -> ExecuteInstruction.Result:
        text = handle.request.instruction
        self.errands.append(text)
        self.width_m = self.grasped_m if text.startswith("pick") else 0.09
        if text.startswith("put") and self.pose is not None:
            x, y, yaw = self.pose
            far = 0.3 + self.kicked_m
            self.mug = (float(x + far * np.cos(yaw)), float(y + far * np.sin(yaw)), 0.0)
            if self.kicked_m:
                self.blue_mug = (float(x + 0.3 * np.cos(yaw)), float(y + 0.3 * np.sin(yaw)), 0.0)
        return ExecuteInstruction.Result(success=True)

    def _find(self, request: FindObject.Request, response: FindObject.Response) -> FindObject.Response:
        response.objects = self.objects()  # who asks asks for the red one
        response.objects.detections = [one for one in response.objects.detections if one.id == "7"]
        count = len(response.objects.detections)
        response.likelihood, response.confirmed = [0.9] * count, [True] * count
        response.success = count > 0
        return response

    def _on_twist(self, message: TwistStamped) -> None:
        self.twist = np.array([message.twist.linear.x, message.twist.angular.z])

    def say(self, text: str) -> None:
        self._out["said"].publish(String(data=text))

    # -- a goal -------------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        def known() -> bool:
            return self.fetch._skills is not None and self.fetch._around.ground() is not None

        self.until(lambda: self.client.server_is_ready() and (known() or not self.camera), "a node that is ready")

    def send(self, text: str):
        """Send a goal; its handle."""

        def hear(message) -> None:
            if not self.feedback or self.feedback[-1] != message.feedback.stage:
                self.feedback.append(message.feedback.stage)

        sending = self.client.send_goal_async(ExecuteInstruction.Goal(instruction=text), feedback_callback=hear)
        self.until(sending.done, "an answer to the goal")
        return sending.result()

    def result(self, handle) -> Any:
        getting = handle.get_result_async()
        self.until(getting.done, "a result")
        return getting.result()

    def carried_out(self, text: str) -> Any:
        self.ready()
        handle = self.send(text)
        assert handle.accepted
        return self.result(handle)


@pytest.fixture
def flat(spinner) -> PlayedFlat:
    return PlayedFlat(spinner)


def test_a_mug_is_searched_taken_and_brought_home(flat: PlayedFlat) -> None:
    ended = flat.carried_out("bring me the red mug")
    assert (ended.result.success, ended.result.error_code) == (True, ""), ended.result.message
    assert flat.errands == ["explore: the red mug", "pick up the red mug", "put it down"]
    home = flat.goals[-1]
    np.testing.assert_allclose(home, [0.6, 0.6, 0.0], atol=1e-3)
    for stage in ("explore", "approach", "recognise", "grasp", "check", "drive", "place", "confirm"):
        assert stage in flat.feedback
    assert not flat.twist.any() and flat.width_m == 0.09


def test_a_mug_that_is_not_seen_where_it_was_put_down_is_no_success(flat: PlayedFlat) -> None:
    """Not even where one of another colour stands: the map names both 'mug'."""
    flat.kicked_m = 2.0
    ended = flat.carried_out("bring me the red mug")
    assert (ended.result.success, ended.result.error_code) == (False, "unconfirmed"), ended.result.message
    assert not flat.twist.any()


def test_a_place_that_the_map_knows_is_driven_to(flat: PlayedFlat) -> None:
    flat.found = True
    ended = flat.carried_out("go to the red mug")
    assert ended.result.success, ended.result.message
    assert len(flat.goals) == 1 and flat.errands == []


def test_where_it_can_stand_is_told_by_who_drives_too(flat: PlayedFlat) -> None:
    """A planar lidar passes under a bed: places beside it were chosen into which no way led."""
    flat.ready()
    around, bed = flat.fetch._around, (30, 70)  # row, column
    before = around.ground()
    cells = np.zeros((100, 100), np.int8)
    cells[bed], cells[10, 10] = 100, 99
    flat._out["global_costmap/costmap"].publish(flat.grid(cells, "odom"))
    flat._out["global_costmap/costmap"].publish(flat.grid(cells))
    flat.until(lambda: around.ground().distance_m[bed] == 0.0, "the bed")
    now = around.ground()
    assert before.distance_m[bed] > 0.5 and now.distance_m[10, 10] > 0.3, "what is only near to something is free"
    assert not np.isfinite(now.way_m[bed]) and not now.opaque[bed], "but it can be looked over"


def test_words_that_nobody_understands_are_refused_at_once(flat: PlayedFlat) -> None:
    ended = flat.carried_out("colourless green ideas")
    assert ended.status == GoalStatus.STATUS_ABORTED
    assert ended.result.error_code == "instruction" and "; fix: " in ended.result.message


def test_a_wish_is_fulfilled(flat: PlayedFlat) -> None:
    ended = flat.carried_out("I am thirsty")
    assert ended.result.success, ended.result.message
    assert flat.errands == ["explore: the mug", "pick up the mug", "put it down"]


def test_of_two_tasks_none_is_left_out_silently(flat: PlayedFlat) -> None:
    """Regression: the first was carried out, and that was told as success."""
    ended = flat.carried_out("bring me the red mug, then go to the shelf")
    assert ended.result.error_code == "instruction" and "2 tasks" in ended.result.message
    assert flat.errands == [] and flat.goals == []


def test_a_robot_that_does_not_see_says_so(flat: PlayedFlat) -> None:
    flat.camera = False
    ended = flat.carried_out("bring me the red mug")
    assert ended.result.error_code == "not_ready" and "camera_info" in ended.result.message


def test_without_a_map_of_objects_nothing_begins(flat: PlayedFlat) -> None:
    flat.ready()
    flat.node.destroy_service(flat.finder)
    ended = flat.carried_out("bring me the red mug")
    assert ended.result.error_code == "not_ready" and "semantic_map_node" in ended.result.message
    assert flat.errands == [] and flat.goals == []


@pytest.mark.parametrize("action", ["explore", "navigate_to_pose", "execute_instruction"])
def test_a_cancelled_mission_cancels_what_runs(flat: PlayedFlat, action: str) -> None:
    flat.holds_on = action
    flat.ready()
    handle = flat.send("bring me the red mug")
    flat.until(lambda: action in flat.open, f"{action} at work")
    getting = handle.get_result_async()
    handle.cancel_goal_async()
    flat.until(getting.done, "the end")
    assert getting.result().result.error_code == "cancelled" and getting.result().status == GoalStatus.STATUS_CANCELED
    flat.until(lambda: action not in flat.open, "the action cancelled")
    assert not flat.twist.any()


def test_one_mission_at_a_time(flat: PlayedFlat) -> None:
    flat.holds_on = "explore"
    flat.ready()
    first = flat.send("bring me the red mug")
    flat.until(lambda: "explore" in flat.open, "a search")
    assert not flat.send("bring me the blue book").accepted
    flat.say("leave it")
    assert flat.result(first).result.error_code == "cancelled"


def test_stop_and_go_on(flat: PlayedFlat) -> None:
    flat.holds_on = "explore"
    flat.ready()
    handle = flat.send("bring me the red mug")
    flat.until(lambda: "explore" in flat.open, "a search")
    flat.say("stop")
    flat.until(lambda: "explore" not in flat.open and "paused" in flat.feedback, "a pause")
    flat.holds_on = None
    flat.say("go on")
    assert flat.result(handle).result.success


def test_a_latched_stop_ends_the_mission(flat: PlayedFlat) -> None:
    flat.holds_on = "explore"
    flat.ready()
    handle = flat.send("bring me the red mug")
    flat.until(lambda: "explore" in flat.open, "a search")
    flat.safety = "operator"
    result = flat.result(handle).result
    assert result.error_code == "safety_stop" and "operator" in result.message
    assert "explore" not in flat.open


def test_a_low_battery_brings_it_home(flat: PlayedFlat) -> None:
    flat.holds_on = "explore"
    flat.ready()
    handle = flat.send("bring me the red mug")
    flat.until(lambda: "explore" in flat.open, "a search")
    flat.charge = 0.1
    assert flat.result(handle).result.error_code == "battery_low"
    np.testing.assert_allclose(flat.goals[-1], [0.6, 0.6, 0.0], atol=1e-3)


def test_a_grasp_that_slips_is_tried_again_from_elsewhere(flat: PlayedFlat) -> None:
    flat.grasped_m = 0.0  # the fingers close on nothing
    flat.ready()
    handle = flat.send("bring me the red mug")
    flat.until(lambda: flat.errands.count("pick up the red mug") == 1, "a grasp")
    flat.grasped_m = 0.03
    assert flat.result(handle).result.success
    assert flat.errands.count("pick up the red mug") == 2


def test_lost_pose_is_told_and_given_up_only_later(flat: PlayedFlat) -> None:
    flat.holds_on = "explore"
    flat.ready()
    handle = flat.send("bring me the red mug")
    flat.until(lambda: "explore" in flat.open, "a search")
    pose, flat.pose = flat.pose, None
    flat.until(lambda: "explore" not in flat.open, "rest without a pose")
    flat.pose, flat.holds_on = pose, None
    assert flat.result(handle).result.success
