"""The mission of a mobile manipulator, above the line. In: goals (action fetch), said (what is called out), map,
objects, TF, odom, control_state, safety_state, battery_state. Out: goals of explore, navigate_to_pose and
execute_instruction; cmd_vel_nav for the last decimetres; feedback and one result.

A new goal is refused while one runs: whoever wants another thing calls out, or cancels.
"""

from __future__ import annotations

import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import BatteryState, CameraInfo
from std_msgs.msg import String

from vla_control.core.robot import load_robot_config
from vla_core.errors import ConfigError, InstructionError, TransformError
from vla_core.types import Float64
from vla_msgs.action import ExecuteInstruction, Explore
from vla_msgs.msg import SafetyState
from vla_navigation import fetch_conversions
from vla_navigation.action_navigator import ActionNavigator
from vla_navigation.core.approach.base_poses import ApproachParameters, ApproachPlanner
from vla_navigation.core.approach.camera_cone import CameraCone
from vla_navigation.core.approach.facing import facing
from vla_navigation.core.approach.reach_map import ReachMap
from vla_navigation.core.approach.visual_servo import ServoParameters
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.fetch.mission import FetchMission, FetchOutcome
from vla_navigation.core.fetch.progress import STAGES, FetchParameters
from vla_navigation.core.fetch.skills import Candidate, Trouble
from vla_navigation.core.fetch.wish import wished
from vla_navigation.core.nav.robot_footprint import robot_footprint
from vla_navigation.core.skills.approach import Approach
from vla_navigation.core.skills.confirm import Confirm
from vla_navigation.core.skills.drive import Drive
from vla_navigation.core.skills.hand import Check, Recognise, Told
from vla_navigation.core.skills.informed import Informed
from vla_navigation.core.skills.look import Look
from vla_navigation.core.skills.rest import Rest
from vla_navigation.core.task.meaning import Meaning, Noun, Relation
from vla_navigation.core.task.understanding import interjection, understand
from vla_navigation.fetch_ports import ActionErrand, BaseWheels, Fingers, MapSurroundings
from vla_navigation.find_client import FindClient
from vla_navigation.reach_table import table_path
from vla_navigation.sentences import embed
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import subscription
from vla_ros.stamps import now_ns, to_ns

_SCHEMA = Path(__file__).parent / "parameters" / "fetch_node.yaml"
_ASK_S = 0.4  # between two questions to the map of objects


class RobotSkills:
    """The skills of this robot over ROS; see `core/fetch/skills.py`."""

    def __init__(self, node: Node, p: Any, around: MapSurroundings, camera: CameraCone) -> None:
        config, footprint = load_robot_config(p.robot), robot_footprint(p.robot)
        clearance_m = footprint.inscribed_m + p.approach_clearance_m
        self.around = around
        self.navigator = ActionNavigator(node, p.server_timeout_s, map_frame=p.map_frame)
        self.explorer = ActionErrand(node, Explore, "explore", "target", p.server_timeout_s)
        self.hand = ActionErrand(node, ExecuteInstruction, "execute_instruction", "instruction", p.server_timeout_s)
        self.trouble = Trouble()
        self.finder, self._least, self._p = FindClient(node, _ASK_S), p.least_likelihood, p
        self._clearance_m = clearance_m
        if config.base is None:
            raise ConfigError(f"robot '{p.robot}' without a base", "a section `base`", "choose another robot")
        margin_m = 0.5 * p.approach_clearance_m
        wheels = BaseWheels(node, config.base, footprint, around, margin_m)
        reach = ReachMap.load(table_path(p.robot))
        planner = ApproachPlanner(reach, camera, footprint.inscribed_m, _prefixed(ApproachParameters, "approach", p))
        servo = _prefixed(ServoParameters, "servo", p)
        self.explore = Informed(Told(self.explorer, _words), self.finder)
        look = Look(self.navigator, self.around, ExplorerParameters.from_config(), self._before)
        self.look = Informed(look, self.finder)
        self.approach = Approach(self.navigator, wheels, self.around, planner, reach, servo)
        self._thing: Noun | None = None
        self._asked = self._put = ""  # what the map is asked for before it is taken, and after it was put down
        self.recognise = Recognise(self.around, lambda thing: thing.id in self._fitting(self._asked))
        self.grasp = Told(self.hand, lambda goal: f"pick up the {fetch_conversions.called(goal, self._thing)}")
        self.check = Check(Fingers(node), *config.grippers[0].holding_m)
        self.place = Told(self.hand, lambda goal: "put it down" if goal is None else f"put it {goal}")
        self.confirm = Confirm(self.around, wheels, clearance_m, lambda thing: thing.id in self._fitting(self._put))
        self.drive = Drive(self.navigator, self._before)
        self.rest = Rest(self.navigator, (self.explorer, self.hand), wheels)

    def find(self, meaning: Meaning, excluded: frozenset[int]) -> Candidate | None:
        """The likeliest object for `meaning.thing` where `meaning.where` holds, but none of `excluded`."""
        answer = self.finder.answer(_words(meaning))
        return None if answer is None else fetch_conversions.likeliest(answer, excluded, self._least)

    def find_place(self, destination: Relation) -> Candidate | None:
        """Where something is to be put."""
        answer = self.finder.answer(_place_words(destination))
        return None if answer is None else fetch_conversions.likeliest(answer, frozenset(), self._least)

    def pose(self) -> tuple[float, float, float] | None:
        """(x, y, yaw) in the map frame [m, rad]; None while the robot doesn't know where it is."""
        pose = self.around.pose()
        return None if pose is None else (float(pose[0]), float(pose[1]), float(pose[2]))

    def says(self) -> Trouble:
        """What is wrong with the robot."""
        return self.trouble

    def begin(self, meaning: Meaning) -> None:
        """Another mission: ask the map what it knows already."""
        self._thing = meaning.thing
        place = meaning.destination if isinstance(meaning.destination, Relation) else None
        self._asked = "" if meaning.thing is None else _words(meaning)
        there = () if place is None else (place,)
        self._put = "" if meaning.thing is None else _words(replace(meaning, where=there))
        texts = [self._asked, self._put, "" if place is None else _place_words(place)]
        self.finder.begin([text for text in dict.fromkeys(texts) if text])

    def _fitting(self, words: str) -> frozenset[int]:
        """Ids of the objects that these words may mean."""
        return fetch_conversions.fitting(self.finder.answer(words), self._least)

    def close(self) -> None:
        """Let go of servers and of the navigator."""
        self.navigator.close()
        self.explorer.close()
        self.hand.close()

    def _before(self, goal: Candidate) -> Float64 | None:
        """Where to stand before an object: where the arm reaches it, or as near as there is room."""
        places = self.approach.places(goal)
        if places:
            return places[0].pose
        ground = self.around.ground()
        if ground is None:
            return None
        return facing(np.array(goal.position_m), ground, self._clearance_m, self._p.before_m)


class FetchNode(Node):
    """Serves one mission at a time; all callbacks run on one thread."""

    def __init__(self) -> None:
        super().__init__("fetch_node")
        self._p = declare(self, _SCHEMA, self._on_parameters)
        config, footprint = load_robot_config(self._p.robot), robot_footprint(self._p.robot)
        clearance_m = footprint.inscribed_m + self._p.approach_clearance_m
        self._base_frame = config.base_frame
        self._around = MapSurroundings(self, self._p.map_frame, config.base_frame, clearance_m, self._p.pose_stale_s)
        self._skills: RobotSkills | None = None  # once the camera is known
        self._unready = f"no {self._p.camera}/camera_info yet"
        self._running: tuple[FetchMission, ServerGoalHandle, Future] | None = None
        self._informed, self._begun_s = False, 0.0  # whether the map has told what it knows for this mission
        self._battery = 1.0
        self._stopped = ""
        self._ended: dict[str, int] = {}
        subscription(self, f"{self._p.camera}/camera_info", CameraInfo, self._on_camera)
        subscription(self, "said", String, self._on_said)
        subscription(self, "safety_state", SafetyState, self._on_safety)
        subscription(self, "battery_state", BatteryState, self._on_battery)
        self._server = ActionServer(
            self,
            ExecuteInstruction,
            "fetch",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        # steady: a mission can be cancelled also while simulated time stands still
        self.create_timer(self._p.tick_s, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        Diagnostics(self, self._status)

    def on_exit(self) -> None:
        """Let go of servers before the node goes."""
        if self._skills is not None:
            self._skills.close()
        self._server.destroy()

    def _on_goal(self, goal: ExecuteInstruction.Goal) -> GoalResponse:
        return GoalResponse.REJECT if self._running is not None else GoalResponse.ACCEPT

    async def _execute(self, goal: ServerGoalHandle) -> ExecuteInstruction.Result:
        """Carry out one goal; waits on a future, so the thread stays free for everything else."""
        text = goal.request.instruction.strip()
        if self._skills is None:
            message = f"got a goal with {self._unready}; expected a robot that sees; fix: start its camera, send again"
            return self._conclude(goal, fetch_conversions.refused("not_ready", message))
        try:
            tasks = self._understood(text)
            if len(tasks) > 1:
                raise InstructionError(f"{len(tasks)} tasks in '{text}'", "one", "send them one after the other")
        except InstructionError as error:
            return self._conclude(goal, fetch_conversions.refused(error.code, str(error)))
        (meaning,) = tasks
        self._skills.begin(meaning)
        self._skills.trouble = self._trouble()
        params = FetchParameters(**{f.name: getattr(self._p, f.name) for f in fields(FetchParameters)})
        if goal.request.timeout_s > 0.0:
            params = replace(params, timeout_s=float(goal.request.timeout_s))
        self._begun_s, done = time.monotonic(), Future()
        self._running = (FetchMission(meaning, self._skills, params, now_ns(self)), goal, done)
        self._informed = False
        self.get_logger().info(f"{text}: {meaning}")
        outcome: FetchOutcome = await done
        return self._conclude(goal, fetch_conversions.result(outcome))

    def _understood(self, text: str) -> tuple[Meaning, ...]:
        """The tasks of a text; a wish becomes the task that fulfils it.

        Raises:
            InstructionError: it is neither.
        """
        try:
            return understand(text)
        except InstructionError:
            if not text.isascii():
                raise  # the reader of sentences knows English
            known = {thing.name for thing in self._around.things()}
            return (wished(text, known, embed),)

    def _conclude(self, goal: ServerGoalHandle, result: ExecuteInstruction.Result) -> ExecuteInstruction.Result:
        code = result.error_code or "success"
        self._ended[code] = self._ended.get(code, 0) + 1
        self.get_logger().info(f"{code}: {result.message}")
        if result.success:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result

    def _on_tick(self) -> None:
        if self._running is None or self._skills is None:
            return
        mission, goal, done = self._running
        self._skills.trouble = self._trouble()
        if not self._informed:
            self._inform(done)
            return
        before, noted = mission.stage, len(mission.progress.notes)
        outcome = mission.tick(now_ns(self))
        goal.publish_feedback(fetch_conversions.feedback(mission))
        for note in mission.progress.notes[noted:]:
            self.get_logger().info(note)
        if mission.stage != before:
            self.get_logger().info(f"now {mission.stage}")
        if outcome is not None:
            self._running = None
            done.set_result(outcome)

    def _inform(self, done: Future) -> None:
        """A mission begins once the map has told what it knows already, and ends where there is no map of objects."""
        assert self._skills is not None
        self._informed = self._skills.finder.renewed()
        waited_s = time.monotonic() - self._begun_s
        if not self._informed and waited_s > self._p.server_timeout_s:
            got = f"got no answer of find_object for {self._p.server_timeout_s:g} s"
            message = f"{got}; expected a map of objects; fix: start semantic_map_node"
            self._running = None
            done.set_result(FetchOutcome("not_ready", message, STAGES[0], (), waited_s))

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        """Accept; the mission ends when the robot rests."""
        if self._running is not None and self._running[1].goal_id == goal.goal_id:
            self._running[0].cancel()
        return CancelResponse.ACCEPT

    def _on_said(self, message: String) -> None:
        call = interjection(message.data)
        if call is None:
            self.get_logger().warning(f"got '{message.data}'; expected 'stop', 'go on', 'leave it', 'not that one'")
        elif self._running is None:
            self.get_logger().info(f"got '{message.data}' while nothing is being done")
        else:
            self.get_logger().info(f"'{message.data}': {self._running[0].call(call)}")

    def _on_camera(self, message: CameraInfo) -> None:
        if self._skills is not None:
            return
        frame = message.header.frame_id
        try:
            T_base_camera = self._around.tf.tree.lookup(self._base_frame, frame, to_ns(message.header.stamp))
        except TransformError as error:
            self._unready = str(error)
            return
        cone = CameraCone(
            T_base_camera[:3, 3], T_base_camera[:3, :3], 0.5 * message.width / message.k[0],
            0.5 * message.height / message.k[4], self._p.camera_near_m, self._p.camera_far_m,
        )  # fmt: skip
        self._skills = RobotSkills(self, self._p, self._around, cone)

    def _on_safety(self, message: SafetyState) -> None:
        self._stopped = (message.cause or "no cause given") if message.stopped else ""

    def _on_battery(self, message: BatteryState) -> None:
        if np.isfinite(message.percentage):
            self._battery = float(message.percentage)

    def _trouble(self) -> Trouble:
        return Trouble(self._battery < self._p.battery_low, self._stopped)

    def _on_parameters(self, values: Parameters) -> None:
        self._p = values

    def _status(self) -> list[Status]:
        values: dict[str, Any] = {f"ended_{code}": count for code, count in sorted(self._ended.items())}
        values["battery"] = self._battery
        if self._skills is None:
            return [Status(Level.WARN, self._unready, values)]
        if self._running is None:
            return [Status(Level.OK, "idle", values)]
        mission = self._running[0]
        pose = self._around.pose()
        if pose is None:
            return [Status(Level.WARN, f"{mission.stage}, without a pose: {self._around.refused}", values)]
        return [Status(Level.OK, mission.stage, values | {"notes": "; ".join(mission.progress.notes)})]


def _words(meaning: Meaning) -> str:
    """What explorer and map are asked for."""
    return f"the {meaning.thing}" + "".join(f" {relation}" for relation in meaning.where)


def _place_words(place: Relation) -> str:
    """The same for where something shall go."""
    return f"the {place.anchor}"


def _prefixed(cls: Any, prefix: str, p: Any) -> Any:
    """A dataclass of the parameters `<prefix>_<field>`."""
    return cls(**{field.name: getattr(p, f"{prefix}_{field.name}") for field in fields(cls)})


def main() -> None:
    """Entry point."""
    sys.exit(run(FetchNode))


if __name__ == "__main__":
    main()
