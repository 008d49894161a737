"""What the detector of the flats tells apart fits the words of instructions, and its detections fit the map."""

from __future__ import annotations

import numpy as np

from vla_core.types import Float64
from vla_navigation.core.semantic_map.map import SemanticMap, SemanticMapParameters
from vla_navigation.core.semantic_map.views import Detection, View
from vla_navigation.core.task.lexicon import lexicon
from vla_perception.core.detector.detection import Detected
from vla_sim.core.detection.shards import VOCABULARY
from vla_sim.core.flat.views import ViewMaker, class_index

PARAMS = SemanticMapParameters(0.3, 0.15, 0.3, 0.7, 2, 0.2, 1.5, 0.4, 0.1)


def test_every_class_and_colour_is_a_word_of_the_instructions() -> None:
    """Regression: the flats call it dining_table, people and the map 'dining table'."""
    words = lexicon("en")
    assert set(VOCABULARY.classes) <= {name for name, _ in words.nouns.values()}
    assert set(VOCABULARY.colours) <= set(words.colours.values())


def test_detections_of_views_become_objects_where_the_things_are() -> None:
    """Boxes of the labels, depth as the camera senses it; the camera's pose is the true one."""
    maker = ViewMaker()
    made, seen = SemanticMap(VOCABULARY.classes, VOCABULARY.colours, PARAMS), set()
    for i, view in enumerate(maker.draw(11, front=14, wrist=0, more=16)):
        found = []
        for label in view.labels:
            if label.clear and label.colour and label.pixels >= 60:
                classes, colours = np.zeros(len(VOCABULARY.classes)), np.zeros(len(VOCABULARY.colours))
                classes[class_index(label.name)] = colours[VOCABULARY.colours.index(label.colour)] = 1.0
                one = Detected(label.box, 0.9, classes.astype(np.float32), colours.astype(np.float32))
                found.append(Detection(one.box, one.score, one.classes, one.colours))
                seen.add((label.name, label.colour))
        cameras = maker._cameras
        pose = camera_pose(maker)
        made.update(View(i, cameras.depth("front"), cameras.intrinsics("front"), pose, 6.0), found)
    world = maker.world
    truth = {(t.category, t.colour): world.data.body(f"thing{i}").xpos for i, t in enumerate(world.plan.things)}
    right = 0
    for thing in made.objects.values():
        name = VOCABULARY.classes[int(thing.class_probability.argmax())]
        colour = VOCABULARY.colours[int(thing.colour_probability.argmax())]
        right += bool(np.linalg.norm(thing.position_m - truth[name, colour]) < 0.15)
    maker.close()
    assert len(seen) >= 3 and right >= 0.7 * len(seen)


def camera_pose(maker: ViewMaker) -> Float64:
    """Optical frame of the front camera (z ahead, x right, y down) in the flat, float64 (4,4)."""
    camera, pose = maker.world.data.camera("front"), np.eye(4)
    pose[:3, :3] = camera.xmat.reshape(3, 3) * [1.0, -1.0, -1.0]
    pose[:3, 3] = camera.xpos
    return pose
