"""Exploration. In: map, stamps of observation or objects (when a picture was looked at), TF of base and camera.
Action: explore. Out: goals of navigate_to_pose to whoever serves it, explorer_node/markers, explorer_node/seen.

With a target the map of objects is asked (find_object) once per second, and the search ends with the first candidate
that wasn't known before; until then, furniture that is known hints at where to look first. What the camera has seen is
kept from one search to the next.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import fields
from pathlib import Path
from typing import Any

from nav_msgs.msg import OccupancyGrid as GridMsg
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from vla_core.errors import MapError, TransformError
from vla_core.frames import planar
from vla_core.types import NS, Float64
from vla_msgs.action import Explore
from vla_msgs.msg import Observation
from vla_msgs.srv import FindObject
from vla_navigation import exploration_conversions as conversions
from vla_navigation.action_navigator import ActionNavigator
from vla_navigation.core.explore.explorer import Explorer
from vla_navigation.core.explore.hints import hints
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.prior import HintPrior, NoPrior
from vla_navigation.core.explore.search import Outcome, Search, SearchLimits
from vla_navigation.find_client import FindClient
from vla_navigation.floor_conversions import occupancy_grid
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, of_serialized
from vla_ros.tf import TransformListener

_SCHEMA = Path(__file__).parent / "parameters" / "explorer_node.yaml"
_SHOWN_S, _ASK_S = 1.0, 1.0  # between two pictures for people; between two questions to the map of objects
_LOOKS, _OLDEST_NS = 50, 2 * NS  # pictures that wait for their transforms, and how long
_LOOKED_AT = {"observation": Observation, "objects": Detection3DArray}


class ExplorerNode(Node):
    """Serves one search at a time; all callbacks run on one thread."""

    def __init__(self) -> None:
        super().__init__("explorer_node")
        self._p = declare(self, _SCHEMA, self._on_parameters)
        self._params = ExplorerParameters(**{f.name: getattr(self._p, f.name) for f in fields(ExplorerParameters)})
        self._explorer: Explorer | None = None
        self._renewed, self._decided_ns = False, -NS
        self._looks: deque[int] = deque(maxlen=_LOOKS)
        self._running: tuple[Search, ServerGoalHandle, Future] | None = None
        self._candidate = ""  # what find_object says of one that wasn't known when the search began
        self._known: set[str] | None = None  # ids that were
        self._begun_ns = -1
        self._heard: FindObject.Response | None = None  # the newest answer of the map of objects
        self._objects: bytes | None = None  # the newest message, as it came
        self._trouble, self._looked, self._unplaced = "", 0, 0
        self._ended: dict[str, int] = {}
        self._frames = TransformListener(self)
        self._navigator = ActionNavigator(self, self._p.server_timeout_s, map_frame=self._p.map_frame)
        subscription(self, "map", GridMsg, self._on_map)
        # raw: the stamp is all that counts here
        subscription(self, self._p.looked_at, _LOOKED_AT[self._p.looked_at], self._on_look, raw=True)
        self._markers = publisher(self, "explorer_node/markers", MarkerArray)
        self._seen = publisher(self, "explorer_node/seen", GridMsg)
        self._finder = FindClient(self, _ASK_S)
        self._server = ActionServer(
            self, Explore, "explore", self._explore, goal_callback=self._on_goal, cancel_callback=self._on_cancel
        )
        self.create_timer(self._p.step_s, self._on_step)
        self.create_timer(_SHOWN_S, self._show)
        Diagnostics(self, self._status)

    def on_exit(self) -> None:
        """Cancel the drive; let go of server and client before the node goes."""
        self._server.destroy()
        self._navigator.close()

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_map(self, message: GridMsg) -> None:
        try:
            grid = occupancy_grid(message)
            if self._explorer is None:
                self._explorer = Explorer(grid, self._params)
            else:
                self._explorer.set_map(grid)
            self._renewed = True
        except (MapError, TransformError) as error:
            self._trouble = str(error)
            self.get_logger().error(f"map refused: {error}")

    def _on_look(self, data: bytes) -> None:
        self._looks.append(of_serialized(data))
        self._objects = data if self._p.looked_at == "objects" else None

    def _look(self) -> None:
        """Mark what the pictures show whose place is known by now."""
        tree, frames = self._frames.tree, (self._p.map_frame, self._p.camera_frame)
        while self._looks and self._explorer is not None:
            stamp_ns = self._looks[0]
            try:
                newest = tree.newest_ns(*frames)
                if newest is not None and newest < stamp_ns and now_ns(self) - stamp_ns < _OLDEST_NS:
                    return  # it may still come
                T = tree.lookup(*frames, stamp_ns)
            except TransformError as error:
                self._trouble = str(error)
                self._unplaced += 1
                self._looks.popleft()
                continue
            self._looks.popleft()
            self._explorer.observe(conversions.camera_pose(T))
            self._looked += 1
            self._renewed = True

    def _pose(self) -> Float64 | None:
        """Of the base now (3,); None when nobody tells it."""
        frames, tree = (self._p.map_frame, self._p.base_frame), self._frames.tree
        try:
            newest = tree.newest_ns(*frames)
            stamp_ns = now_ns(self) if newest is None else newest
            fresh = now_ns(self) - stamp_ns <= self._p.stale_s * NS
            return planar(tree.lookup(*frames, stamp_ns)) if fresh else None
        except TransformError as error:
            self._trouble = str(error)
            return None

    # -- action -------------------------------------------------------------------------------------------------------

    def _on_goal(self, _goal: Any) -> GoalResponse:
        if self._explorer is None:
            self.get_logger().warning("search rejected: got no map; expected one on the topic map; fix: start SLAM")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _explore(self, handle: ServerGoalHandle) -> Explore.Result:
        """Search; waits on a future, so the thread stays free for everything else."""
        if self._running is not None:
            self._settle(self._running[0].cancel("a new search"))
        assert self._explorer is not None
        now_s, target = now_ns(self) / NS, handle.request.target.strip()
        limits = SearchLimits(
            float(handle.request.timeout_s) or self._p.default_timeout_s, self._p.lost_patience_s,
            self._p.failed_drives, self._p.drive_recoveries,
        )  # fmt: skip
        self._candidate, self._known, self._heard = "", None, None
        self._begun_ns = now_ns(self)
        self._finder.begin([target] if target else [])
        self._explorer.set_prior(NoPrior())
        done = Future()
        self._running = (Search(self._explorer, self._navigator, target, limits, now_s), handle, done)
        outcome: Outcome = await done
        code = outcome.error_code or "success"
        self._ended[code] = self._ended.get(code, 0) + 1
        self.get_logger().info(f"{code}: {outcome.message}")
        if outcome.success:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return conversions.explored(outcome, self._explorer.layer)

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """Accept; the goal ends in the next turn, when its state says that it is being cancelled."""
        if self._running is not None and self._running[1].goal_id == handle.goal_id:
            search = self._running[0]
            self.executor.create_task(lambda: self._settle(search.cancel("a request to cancel")))
        return CancelResponse.ACCEPT

    def _settle(self, outcome: Outcome | None) -> None:
        """If there is an outcome: let `_explore` return."""
        if outcome is not None and self._running is not None:
            _, _, done = self._running
            self._running = None
            done.set_result(outcome)

    def _on_step(self) -> None:
        self._look()
        if self._running is None:
            return
        search, handle, _ = self._running
        now = now_ns(self)
        if handle.request.target.strip():
            self._ask(handle.request.target, now)
        renewed = self._renewed and not 0 <= now - self._decided_ns < self._p.decide_s * NS
        if renewed:
            self._renewed, self._decided_ns = False, now
        outcome = search.step(now / NS, self._pose(), renewed, self._candidate)
        if outcome is None:
            assert self._explorer is not None
            handle.publish_feedback(conversions.searching(search, self._explorer.layer, now, self._p.map_frame))
        self._settle(outcome)

    def _ask(self, target: str, now: int) -> None:
        """Whether the map of objects has a candidate that it didn't have when the search began."""
        found = self._finder.answer(target)
        if found is not None and found is not self._heard:
            self._heard = found
            ids = {one.id for one in found.objects.detections}
            if self._known is None:
                self._known = ids
            elif ids - self._known:
                self._candidate = found.message
            self._hint(target)
        assert self._running is not None
        waited_s = (now - self._begun_ns) / NS
        if self._known is None and waited_s > self._p.server_timeout_s:
            got = f"got no answer of find_object for {self._p.server_timeout_s:g} s"
            message = f"{got}; expected one, as a target is named; fix: start semantic_map_node, or name no target"
            self._running[0].cancel(message)
            self._settle(Outcome(False, "blocked", message))

    def _hint(self, target: str) -> None:
        """Look first where the furniture that is known by now says that the target may be."""
        if self._objects is not None and self._explorer is not None:
            pieces = conversions.pieces(deserialize_message(self._objects, Detection3DArray))
            self._explorer.set_prior(HintPrior(hints(target, pieces)))

    # -- for people ---------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self._explorer is None:
            return
        now, layer = now_ns(self), self._explorer.layer
        if self._seen.get_subscription_count():
            self._seen.publish(conversions.seen_msg(layer, now, self._p.map_frame))
        if self._markers.get_subscription_count():
            view = None if self._running is None else self._running[0].view
            frontiers = self._explorer.frontiers()
            self._markers.publish(conversions.markers(frontiers, view, layer.frame, now, self._p.map_frame))

    def _status(self) -> list[Status]:
        values: dict[str, object] = {f"ended_{code}": count for code, count in sorted(self._ended.items())}
        values |= {"looked": self._looked, "unplaced": self._unplaced}
        if self._explorer is None:
            return [Status(Level.WARN, "no map yet", values)]
        values["seen_share"] = self._explorer.layer.coverage()
        if self._running is None:
            return [Status(Level.OK, "idle", values)]
        if self._looked == 0:
            return [Status(Level.WARN, f"no picture could be placed yet: {self._trouble or 'none came'}", values)]
        return [Status(Level.OK, "searching", values | {"left_m": self._left_m()})]

    def _left_m(self) -> float:
        left_m = self._navigator.feedback().distance_remaining_m
        return left_m if math.isfinite(left_m) else -1.0

    def _on_parameters(self, values: Parameters) -> None:
        self._p = values


def main() -> None:
    """Entry point."""
    sys.exit(run(ExplorerNode))


if __name__ == "__main__":
    main()
