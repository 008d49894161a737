"""Semantic map. In: {camera}/image_raw, {camera}/depth/image_raw (registered to it), {camera}/camera_info, TF of the
camera in the map; map, for rooms; control_state, for what the hand carries. Out: objects (latched, after every look,
stamped as its newest view), semantic_map_node/markers.
Services: find_object, ~/save_map, ~/load_map.

The detector comes by name; without one the node doesn't start. A view whose place nobody tells is left out.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from vla_control.core.robot import load_robot_config
from vla_core.contract import CameraSpec
from vla_core.errors import ConfigError, InstructionError, MapError, ObservationError, TransformError, VlaError
from vla_core.types import NS, Float64
from vla_msgs.msg import ControlState
from vla_msgs.srv import FindObject
from vla_navigation import object_conversions as conversions
from vla_navigation.core.occupancy_grid import OccupancyGrid as Grid
from vla_navigation.core.semantic_map.find import Finder
from vla_navigation.core.semantic_map.map import SemanticMap, SemanticMapParameters
from vla_navigation.core.semantic_map.question import asked_for
from vla_navigation.core.semantic_map.rgbd_pairs import RgbdPairs
from vla_navigation.core.semantic_map.rooms import Rooms
from vla_navigation.core.semantic_map.views import Detection, View
from vla_navigation.core.task.lexicon import lexicon
from vla_navigation.core.task.meaning import Noun
from vla_navigation.floor_conversions import occupancy_grid
from vla_navigation.hand import Hand
from vla_navigation.sentences import embed
from vla_perception.conversions import camera_model, depth_image, raw_image
from vla_perception.core.camera import CameraModel
from vla_perception.core.detector.detection import FreeTextDetector
from vla_perception.core.detector.registry import DetectorOptions, make_detector
from vla_perception.core.resize import FitView
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_ns
from vla_ros.tf import TransformListener

_SCHEMA = Path(__file__).parent / "parameters" / "semantic_map_node.yaml"
_OLDEST_NS = 2 * NS  # views wait so long for their transforms
_SHOWN_S = 1.0


class SemanticMapNode(Node):
    """Takes views, keeps the map and answers questions; all callbacks run on one thread."""

    def __init__(self) -> None:
        super().__init__("semantic_map_node")
        self._p = declare(self, _SCHEMA, self._on_parameters)
        words, weights = lexicon("en"), self._p.detector_weights
        options = DetectorOptions(
            weights=Path(weights) if weights else None, classes=words.detectable,
            colours=tuple(sorted(set(words.colours.values()))),
        )  # fmt: skip
        self._detector = make_detector(self._p.detector, options)
        params = SemanticMapParameters(**{f.name: getattr(self._p, f.name) for f in fields(SemanticMapParameters)})
        self._map = SemanticMap(self._detector.classes, self._detector.colours, params)
        self._rooms = Rooms(self._map)
        self._finder = Finder(self._map, embed, self._rooms.room_of)
        embed(["anything"])  # loads the reader of words: the first question shall not wait for it
        self._pairs: dict[str, RgbdPairs[Image]] = {name: RgbdPairs(self._p.skew_s) for name in self._p.cameras}
        self._cameras: dict[str, CameraModel] = {}
        self._newest_ns, self._views, self._refused, self._trouble = -1, 0, 0, ""
        self._floor: Grid | None = None
        self._hand: Hand | None = None
        self._frames = TransformListener(self)
        self._objects = publisher(self, "objects", Detection3DArray)
        self._markers = publisher(self, "semantic_map_node/markers", MarkerArray)
        for name in self._p.cameras:
            subscription(self, f"{name}/image_raw", Image, partial(self._on_colour, name))
            subscription(self, f"{name}/depth/image_raw", Image, partial(self._on_depth, name))
            subscription(self, f"{name}/camera_info", CameraInfo, partial(self._on_info, name))
        subscription(self, "map", OccupancyGrid, self._on_floor)
        if self._p.robot:
            self._hand = Hand(load_robot_config(self._p.robot).grippers[0])
            subscription(self, "control_state", ControlState, self._hand.hear)
        self.create_service(FindObject, "find_object", self._on_find)
        self.create_service(Trigger, "~/save_map", self._on_save)
        self.create_service(Trigger, "~/load_map", self._on_load)
        self.create_timer(self._p.period_s, self._look)
        self.create_timer(_SHOWN_S, self._show)
        Diagnostics(self, self._status)

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_colour(self, camera: str, message: Image) -> None:
        self._pairs[camera].add_colour(to_ns(message.header.stamp), message)

    def _on_depth(self, camera: str, message: Image) -> None:
        self._pairs[camera].add_depth(to_ns(message.header.stamp), message)

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        try:
            self._cameras[camera] = camera_model(message)
        except ObservationError as error:
            self._refuse(error)

    def _on_floor(self, message: OccupancyGrid) -> None:
        try:
            self._floor = occupancy_grid(message)
            self._rooms.set_floor(self._floor)
        except MapError as error:
            self._refuse(error)

    def _look(self) -> None:
        """Take the newest view of every camera whose place is known, then tell what there is."""
        before = self._views
        for name, pairs in self._pairs.items():
            pair = pairs.newest()
            if pair is None or name not in self._cameras:
                continue
            stamp_ns, colour, depth = pair
            if stamp_ns < self._newest_ns - NS:
                self.get_logger().warning("the stamps of images went back: a new map begins")
                self._forget()
                return
            try:
                T = self._frames.tree.lookup(self._p.map_frame, depth.header.frame_id, stamp_ns)
            except TransformError as error:
                if now_ns(self) - stamp_ns > _OLDEST_NS:
                    pairs.use(stamp_ns)
                    self._refuse(error)
                continue
            pairs.use(stamp_ns)
            if stamp_ns >= self._newest_ns:  # else another camera's view was newer
                try:
                    self._take(self._cameras[name], stamp_ns, colour, depth, T)
                except ObservationError as error:
                    self._refuse(error)
        if self._views > before:
            things = list(self._map.objects.values())
            self._objects.publish(conversions.objects(self._map, things, self._newest_ns, self._p.map_frame))

    def _take(self, camera: CameraModel, stamp_ns: int, colour: Image, depth: Image, T: Float64) -> None:
        depth_m = depth_image(depth)
        sizes = {(colour.width, colour.height), (depth.width, depth.height), (camera.width, camera.height)}
        frames = {colour.header.frame_id, depth.header.frame_id}
        if len(sizes) > 1 or len(frames) > 1:
            got = f"colour, depth and camera_info of sizes {sorted(sizes)} in frames {sorted(frames)}"
            raise ObservationError(got, "one size and one frame", "register depth to colour in the driver")
        rgb = FitView(CameraSpec("view", colour.width, colour.height, "rgb8"))(raw_image(colour))
        seen = self._detector.detect(rgb)
        found = [Detection(one.box, one.score, one.classes, one.colours, getattr(one, "mask", None)) for one in seen]
        hand_m = None if self._hand is None else self._hand.place(self._frames.tree, self._p.map_frame, stamp_ns)
        self._map.update(View(stamp_ns, depth_m, camera.camera_matrix, T, self._p.range_m, hand_m), found)
        self._newest_ns = stamp_ns
        self._views += 1

    def _forget(self) -> None:
        self._map.clear()
        self._newest_ns = -1
        for pairs in self._pairs.values():
            pairs.clear()

    def _refuse(self, error: VlaError) -> None:
        self._refused += 1
        if str(error) != self._trouble:
            self.get_logger().warning(f"view left out: {error}")
        self._trouble = str(error)

    # -- questions and files ------------------------------------------------------------------------------------------

    def _on_find(self, request: FindObject.Request, response: FindObject.Response) -> FindObject.Response:
        try:
            noun, where = asked_for(request.text)
        except InstructionError as error:
            response.message = str(error)
            return response
        try:
            for name in (noun, *(relation.anchor for relation in where)):
                self._look_for(name)
        except ConfigError as error:
            response.message = str(error)
            return response
        asked = " ".join([f"the {noun}", *(str(relation) for relation in where)])
        found = self._finder.find(noun, where)
        return conversions.answer(self._map, found, asked, now_ns(self), self._p.map_frame)

    def _look_for(self, noun: Noun) -> None:
        """A noun beyond the lexicon, such as 'wrench', becomes a class of a detector that reads any."""
        if noun.kind == "unknown" and isinstance(self._detector, FreeTextDetector):
            self._detector.look_for(noun.name)
            self._map.widen(self._detector.classes)

    def _path(self) -> Path:
        if not self._p.map_path:
            raise ConfigError("no map_path", "a file ending in .npz", "set parameter map_path of semantic_map_node")
        return Path(self._p.map_path)

    def _on_save(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._map.save(self._path())
            response.success, response.message = True, f"saved {len(self._map.objects)} objects"
        except (VlaError, OSError) as error:
            response.message = str(error)
        return response

    def _on_load(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            loaded = SemanticMap.load(self._path(), self._map.params)
            if isinstance(self._detector, FreeTextDetector):  # what was asked for before is asked for again
                for name in loaded.classes:
                    self._detector.look_for(name)
                self._map.widen(self._detector.classes)
                loaded.widen(self._detector.classes)
            if (loaded.classes, loaded.colours) != (self._map.classes, self._map.colours):
                got = f"a map of {len(loaded.classes)} classes and {len(loaded.colours)} colours of another detector"
                raise ConfigError(got, f"those of '{self._p.detector}'", "load it with its detector")
            floor, self._map, self._rooms = self._floor, loaded, Rooms(loaded)
            if floor is not None:
                self._rooms.set_floor(floor)
            self._finder = Finder(loaded, embed, self._rooms.room_of)
            response.success, response.message = True, f"loaded {len(loaded.objects)} objects"
        except VlaError as error:
            response.message = str(error)
        return response

    # -- for people ---------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self._markers.get_subscription_count():
            self._markers.publish(conversions.markers(self._map, now_ns(self), self._p.map_frame))

    def _status(self) -> list[Status]:
        confirmed = sum(self._map.confirmed(thing) for thing in self._map.objects.values())
        values = {
            "objects": len(self._map.objects), "confirmed": confirmed, "views": self._views, "refused": self._refused,
            "detector": self._p.detector,
        }  # fmt: skip
        if self._views == 0:
            return [Status(Level.WARN, self._trouble or "no view yet", values)]
        return [Status(Level.OK, "mapping", values)]

    def _on_parameters(self, values: Parameters) -> None:
        self._p = values


def main() -> None:
    """Entry point."""
    sys.exit(run(SemanticMapNode))


if __name__ == "__main__":
    main()
