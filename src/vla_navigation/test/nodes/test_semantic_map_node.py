"""semantic_map_node in a world of boxes, with a detector that reads the colours in which the test paints them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes_world import CAMERA, CLASSES, COLOURS, HEIGHT, WIDTH, Box, draw, likely, look
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.types import NS
from vla_msgs.srv import FindObject
from vla_navigation import fetch_conversions
from vla_navigation.core.semantic_map.question import asked_for
from vla_navigation.core.semantic_map.rgbd_pairs import RgbdPairs
from vla_navigation.core.semantic_map.views import Detection
from vla_navigation.semantic_map_node import SemanticMapNode
from vla_perception.conversions import depth_msg, image_msg
from vla_perception.core.detector.registry import DETECTORS, DetectorOptions, make_detector
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_msg, to_ns
from vla_ros.tf import TransformBroadcaster, transform

PARAMETERS = {"use_sim_time": "false", "detector": "painted", "period_s": "0.02"}
TABLE = Box("table", "white", (2.0, 0.0, 0.2), (0.8, 0.8, 0.4))
MUG = Box("mug", "red", (1.9, 0.1, 0.45), (0.08, 0.08, 0.1))
BLUE = Box("mug", "blue", (1.9, -0.25, 0.45), (0.08, 0.08, 0.1))
SINK = Box("sink", "white", (2.1, 0.3, 0.45), (0.2, 0.16, 0.1))
BOXES = [TABLE, MUG, BLUE, SINK]
AT = (2.0, 0.0, 0.4)
EYES = [(0.6, 0.0, 0.8), (1.0, -1.1, 0.8), (0.9, 1.1, 0.8)]


@DETECTORS.register("painted")
class Painted:
    """Red says which box a pixel shows: 10 times its number, from 1 on."""

    classes, colours = CLASSES, COLOURS

    def __init__(self, options: DetectorOptions) -> None:
        assert {"mug", "table"} <= set(options.classes) and "red" in options.colours, "what the instructions may name"

    def detect(self, image: np.ndarray) -> Sequence[Detection]:
        found = []
        for i, box in enumerate(BOXES):
            rows, columns = np.nonzero(image[..., 0] == 10 * (i + 1))
            if len(rows) >= 12:
                frame = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
                found.append(Detection(frame, 0.9, likely(CLASSES, box.name, 0.9), likely(COLOURS, box.colour, 0.9)))
        return found


class ReadsAnyWord(Painted):
    """A detector of free text: the box that `SINK` is it names 'wrench' once that was asked for."""

    def __init__(self, most: int = 1) -> None:
        self.classes, self._most = CLASSES, len(CLASSES) + most

    def look_for(self, phrase: str) -> None:
        if phrase not in self.classes:
            if len(self.classes) == self._most:
                raise ConfigError(f"'{phrase}' as one more class", "fewer", "ask for less")
            self.classes = (*self.classes, phrase)

    def detect(self, image: np.ndarray) -> Sequence[Detection]:
        found = []
        for one in super().detect(image):
            name = CLASSES[int(one.classes.argmax())]
            name = "wrench" if name == "sink" and "wrench" in self.classes else name
            found.append(Detection(one.box, one.score, likely(self.classes, name, 0.9), one.colours))
        return found


class Camera:
    """A camera that is carried about, and everybody who asks."""

    def __init__(self, spinner) -> None:
        self.spinner = spinner
        self.node = spinner.add(Node("camera"))
        self.colour, self.depth = (publisher(self.node, f"front/{name}image_raw", Image) for name in ("", "depth/"))
        self.info = publisher(self.node, "front/camera_info", CameraInfo)
        self.tf = TransformBroadcaster(self.node)
        self.objects: list[Detection3DArray] = []
        self.markers: list[MarkerArray] = []
        subscription(self.node, "objects", Detection3DArray, self.objects.append)
        subscription(self.node, "semantic_map_node/markers", MarkerArray, self.markers.append)
        self.ask = self.node.create_client(FindObject, "find_object")
        self.seen_by = spinner.add(SemanticMapNode())
        ends = (self.colour, self.depth, self.info)
        spinner.until(lambda: all(end.get_subscription_count() for end in ends), "the node's subscriptions")
        spinner.until(self.ask.service_is_ready, "find_object")

    def show(
        self, boxes: list[Box], eye: tuple[float, float, float], placed: bool = True, width: int = WIDTH,
        at: tuple[float, float, float] = AT,
    ) -> int:  # fmt: skip
        """Take a picture; returns its stamp."""
        pose, stamp_ns = look(eye, at), now_ns(self.node)
        depth_m, which = draw(boxes, pose)
        rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for i, box in enumerate(boxes):
            rgb[which == i] = (10 * (BOXES.index(box) + 1), 0, 0)
        if placed:
            quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
            self.tf.send([transform("map", "front_optical_frame", stamp_ns, pose[:3, 3], quaternion)])
        info = CameraInfo(width=width, height=HEIGHT, k=CAMERA.reshape(-1), d=array("d", []))
        info.header.frame_id, info.header.stamp = "front_optical_frame", to_msg(stamp_ns)
        self.info.publish(info)
        self.colour.publish(image_msg(rgb, stamp_ns, "front_optical_frame"))
        self.depth.publish(depth_msg(depth_m, stamp_ns, "front_optical_frame"))
        return stamp_ns

    def map(self, boxes: list[Box], eyes: Sequence[tuple[float, float, float]]) -> None:
        """Take a picture from each place, and wait until it is in the map."""
        for eye in eyes:
            self.wait(self.show(boxes, eye))

    def wait(self, stamp_ns: int) -> None:
        """Until that picture is in the map."""
        self.spinner.until(lambda: self.objects and to_ns(self.objects[-1].header.stamp) == stamp_ns, "objects")

    def find(self, text: str) -> FindObject.Response:
        future = self.ask.call_async(FindObject.Request(text=text))
        self.spinner.until(future.done, "an answer")
        return future.result()

    def call(self, name: str) -> Trigger.Response:
        client = self.node.create_client(Trigger, f"semantic_map_node/{name}")
        self.spinner.until(client.service_is_ready, name)
        future = client.call_async(Trigger.Request())
        self.spinner.until(future.done, name)
        return future.result()


@pytest.fixture
def camera(spinner) -> Camera:
    return Camera(spinner)


def middle(response: FindObject.Response, i: int = 0) -> np.ndarray:
    p = response.objects.detections[i].bbox.center.position
    return np.array([p.x, p.y, p.z])


def test_things_are_where_they_are_and_found_by_words(camera: Camera) -> None:
    camera.map(BOXES, EYES[:1])
    once = camera.find("the red mug")
    assert once.success and not once.confirmed[0], "seen from one place only"
    camera.map(BOXES, EYES[1:])
    found = camera.find("the red mug next to the sink")
    assert found.success and found.confirmed[0] and found.likelihood[0] > 0.5
    assert np.linalg.norm(middle(found) - MUG.middle_m) < 0.05
    hypothesis = found.objects.detections[0].results[0].hypothesis
    assert hypothesis.class_id == "mug" and 0.5 < hypothesis.score <= 1.0
    assert found.objects.header.frame_id == "map" and "mug" in found.message
    chinese = camera.find("水槽旁边的红色杯子")
    assert chinese.objects.detections[0].id == found.objects.detections[0].id
    assert not camera.find("the red bottle").success
    assert "fix: say it like" in camera.find("").message
    assert len(camera.objects[-1].detections) == len(BOXES)
    camera.spinner.until(lambda: camera.markers, "markers")
    assert {m.text for m in camera.markers[-1].markers if m.type == Marker.TEXT_VIEW_FACING} >= {"red mug", "blue mug"}


def test_regression_what_is_out_of_sight_is_not_told_as_seen(camera: Camera) -> None:
    """Every object had the stamp of the newest picture, so that 'seen again' held for whatever was in the map."""
    camera.map(BOXES, EYES)
    shown = to_ns(camera.objects[-1].header.stamp)
    things = [fetch_conversions.thing(one) for one in camera.objects[-1].detections]
    assert len(things) == len(BOXES) and {thing.seen_ns for thing in things} == {shown}
    x, y, z = EYES[0]
    later = camera.show(BOXES, EYES[0], at=(2.0 * x - AT[0], 2.0 * y - AT[1], z))
    camera.wait(later)
    for told in (camera.objects[-1], camera.find("the red mug").objects):
        assert told.detections and to_ns(told.header.stamp) >= later > shown
        assert {fetch_conversions.thing(one).seen_ns for one in told.detections} == {shown}


def test_objects_are_latched(camera: Camera) -> None:
    (end,) = camera.node.get_publishers_info_by_topic("/objects")
    assert end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_what_was_taken_away_goes(camera: Camera) -> None:
    camera.map(BOXES, EYES)
    assert camera.find("the red mug").success
    camera.map([TABLE, BLUE, SINK], [*EYES, *EYES, *EYES])
    assert not camera.find("the red mug").success and camera.find("the blue mug").success


def test_a_view_that_nobody_places_is_left_out_and_one_that_does_not_fit_too(camera: Camera) -> None:
    camera.show(BOXES, EYES[0], placed=False)
    refused = camera.seen_by._status
    camera.spinner.until(lambda: refused()[0].values["refused"] == 1, "the refusal")
    assert "no frame 'map' on /tf" in refused()[0].message and not camera.objects
    camera.show(BOXES, EYES[0], width=WIDTH + 1)
    camera.spinner.until(lambda: "one size and one frame" in refused()[0].message, "the refusal")
    camera.map(BOXES, EYES)


def test_a_saved_map_is_loaded(camera: Camera, tmp_path: Path) -> None:
    assert "no map_path" in camera.call("save_map").message
    camera.map(BOXES, EYES)
    path = tmp_path / "things.npz"
    camera.seen_by.set_parameters([Parameter("map_path", value=str(path))])
    assert not camera.call("load_map").success, "there is none yet"
    assert camera.call("save_map").success and path.is_file()
    camera.seen_by._forget()
    assert not camera.find("the red mug").success
    assert camera.call("load_map").success
    again = camera.find("the red mug")
    assert again.confirmed[0] and np.linalg.norm(middle(again) - MUG.middle_m) < 0.05


def test_a_noun_beyond_the_lexicon_becomes_a_class_of_a_detector_of_free_text(camera: Camera, tmp_path: Path) -> None:
    camera.seen_by._detector = ReadsAnyWord()
    camera.map(BOXES, EYES[:1])
    assert not camera.find("the wrench on the table").success, "nobody looked for it yet"
    camera.map(BOXES, [*EYES, *EYES])
    found = camera.find("the wrench on the table")
    assert found.success and found.confirmed[0] and np.linalg.norm(middle(found) - SINK.middle_m) < 0.05
    assert camera.find("the red mug").success, "what was known before is known still"
    assert "ask for less" in camera.find("the spanner").message
    camera.seen_by.set_parameters([Parameter("map_path", value=str(tmp_path / "things.npz"))])
    assert camera.call("save_map").success
    camera.seen_by._detector = ReadsAnyWord()
    loaded = camera.call("load_map")
    assert loaded.success, loaded.message
    assert camera.find("the wrench on the table").confirmed[0], "a map brings back what was asked for"


def test_without_a_detector_there_is_no_map() -> None:
    with pytest.raises(ConfigError, match=r"no detector.*set parameter detector"):
        make_detector("", DetectorOptions())
    with pytest.raises(UnknownNameError, match=r"detector 'yolo'; expected one of: .*painted"):
        make_detector("yolo", DetectorOptions())


@pytest.mark.parametrize(
    "text", ["the red mug next to the sink", "find the red mug next to the sink", "水槽旁边的红色杯子"]
)
def test_a_question_needs_no_verb(text: str) -> None:
    noun, where = asked_for(text)
    assert (noun.name, noun.colour) == ("mug", "red") and [r.anchor.name for r in where] == ["sink"]


def test_pairs_are_of_one_moment_and_used_once() -> None:
    pairs: RgbdPairs[str] = RgbdPairs(0.02)
    pairs.add_colour(1 * NS, "c1")
    pairs.add_depth(2 * NS, "d2")
    assert pairs.newest() is None
    pairs.add_colour(2 * NS + 10_000_000, "c2")
    assert pairs.newest() == (2 * NS, "c2", "d2")
    pairs.use(2 * NS)
    assert pairs.newest() is None
    pairs.add_depth(1 * NS, "d1")
    assert pairs.newest() is None, "older than one that was used"
