"""The picture of what a mobile robot came to know, and who listens for it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid as GridMsg
from rclpy.node import Node
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from vla_bringup.core.floor_picture import FloorRecord, SeenThing, write_floor_picture
from vla_bringup.floor_watch import FloorWatch
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_ros.qos import publisher
from vla_ros.testing import Spinner, private_ros
from vla_ros.tf import StaticTransformBroadcaster, TransformBroadcaster, transform

CELLS = np.full((40, 60), -1, np.int8)
CELLS[5:35, 5:55], CELLS[5, 5:55], CELLS[20, 5:30] = 0, 100, 100


def test_a_picture_shows_map_way_and_things(tmp_path) -> None:
    record = FloorRecord(OccupancyGrid(0.05, np.zeros(3), CELLS))
    bare, full = tmp_path / "bare.png", tmp_path / "full.png"
    assert write_floor_picture(bare, record, "bring me the red mug")
    record.things = [SeenThing("mug", 1.5, 1.2, 0.9)]
    record.way = [np.array([0.5 + 0.1 * i, 0.6, 0.0]) for i in range(10)]
    assert write_floor_picture(full, record, "把红色的杯子拿给我")
    images = [cv2.imread(str(path)).astype(int) for path in (bare, full)]
    colourful = [int((np.ptp(image, axis=2) > 60).sum()) for image in images]
    assert colourful[0] == 0 and colourful[1] > 500
    assert all((image.max(2) < 60).sum() > 1000 for image in images), "walls are dark"


def test_without_a_map_there_is_no_picture(tmp_path) -> None:
    assert not write_floor_picture(tmp_path / "map.png", FloorRecord(), "x") and not list(tmp_path.iterdir())


@pytest.fixture
def spinner() -> Iterator[Spinner]:
    with private_ros([]):
        made = Spinner()
        yield made
        made.close()


def test_it_is_listened_for(spinner: Spinner) -> None:
    robot = spinner.add(Node("robot"))
    watch = FloorWatch(spinner.add(Node("watcher")), "base_link")
    maps, objects = publisher(robot, "map", GridMsg), publisher(robot, "objects", Detection3DArray)
    moving, fixed = TransformBroadcaster(robot), StaticTransformBroadcaster(robot)
    fixed.send([transform("map", "odom", 0, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))])
    grid = GridMsg(data=array("b", CELLS.tobytes()))
    grid.info.resolution, grid.info.width, grid.info.height = 0.05, 60, 40
    maps.publish(grid)
    spinner.until(lambda: watch.record.grid is not None, "the map")
    assert watch.record.way == [], "nobody knows where the robot is"
    one = Detection3D(results=[ObjectHypothesisWithPose()])
    one.results[0].hypothesis.class_id, one.results[0].hypothesis.score = "mug", 0.8
    one.bbox.center.position.x = 1.5

    def said() -> bool:
        moving.send([transform("odom", "base_link", 10**9, (0.5, 0.25, 0.0), (0.0, 0.0, 0.0, 1.0))])
        objects.publish(Detection3DArray(detections=[one, Detection3D()]))
        return bool(watch.record.way)

    spinner.until(said, "a place on the way")
    np.testing.assert_allclose(watch.record.way[-1], [1.5, 0.25, 0.0], atol=1e-6)
    assert watch.record.things == [SeenThing("mug", 1.5, 0.0, 0.8)]
