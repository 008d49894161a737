"""Objects of the semantic map as messages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from vla_msgs.srv import FindObject
from vla_navigation.core.semantic_map.find import Found
from vla_navigation.core.semantic_map.instance import Instance
from vla_navigation.core.semantic_map.map import SemanticMap
from vla_ros import stamps

_LEAST = 0.05  # probability of a class that is told


def objects(map: SemanticMap, things: Sequence[Instance], stamp_ns: int, frame: str) -> Detection3DArray:
    """Objects in `frame`: `id`, box along its axes, and probabilities of classes, each times that of existence.

    The stamp of each is that of the last picture that shows it; `stamp_ns` is that of the whole.
    """
    message = Detection3DArray(detections=[_object(map, thing, frame) for thing in things])
    message.header.frame_id, message.header.stamp = frame, stamps.to_msg(stamp_ns)
    return message


def _object(map: SemanticMap, thing: Instance, frame: str) -> Detection3D:
    message = Detection3D(id=str(thing.id))
    message.header.frame_id, message.header.stamp = frame, stamps.to_msg(thing.last_ns)
    low, high = thing.extent_m
    message.bbox.center = _pose(thing)
    size = message.bbox.size
    size.x, size.y, size.z = (high - low).tolist()
    share = thing.class_probability
    for k in np.argsort(-share):
        if share[k] >= _LEAST:
            told = ObjectHypothesisWithPose()
            told.hypothesis.class_id, told.hypothesis.score = map.classes[k], thing.existence * float(share[k])
            told.pose.pose = message.bbox.center
            message.results.append(told)
    return message


def answer(map: SemanticMap, found: Sequence[Found], asked: str, stamp_ns: int, frame: str) -> FindObject.Response:
    """What was found, the likeliest first."""
    response = FindObject.Response(
        success=bool(found),
        objects=objects(map, [one.thing for one in found], stamp_ns, frame),
        likelihood=[float(one.likelihood) for one in found],
        confirmed=[bool(one.confirmed) for one in found],
    )
    if not found:
        seen = f"{len(map.objects)} objects, none of which fits {asked}"
        response.message = f"got {seen}; expected one; fix: explore, or say it in other words"
        return response
    best = found[0]
    x, y, _ = best.thing.position_m
    sure = "confirmed" if best.confirmed else "not confirmed"
    response.message = f"{asked}: object {best.thing.id} at ({x:.2f}, {y:.2f}) m, {best.likelihood:.2f}, {sure}"
    return response


def markers(map: SemanticMap, stamp_ns: int, frame: str) -> MarkerArray:
    """A box and its name per object, solid once confirmed; all others of before are taken away."""
    shown = [Marker(ns="objects", action=Marker.DELETEALL)]
    for thing in map.objects.values():
        sure, (low, high) = map.confirmed(thing), thing.extent_m
        box = Marker(ns="objects", id=thing.id, type=Marker.CUBE, pose=_pose(thing))
        box.scale.x, box.scale.y, box.scale.z = np.maximum(high - low, 0.01).tolist()
        box.color = ColorRGBA(r=0.1, g=0.7, b=0.2, a=0.8) if sure else ColorRGBA(r=0.9, g=0.7, b=0.1, a=0.4)
        colour, name = (
            names[int(share.argmax())] if len(names) else ""
            for names, share in ((map.colours, thing.colour_probability), (map.classes, thing.class_probability))
        )
        text = Marker(ns="names", id=thing.id, type=Marker.TEXT_VIEW_FACING, pose=_pose(thing))
        text.pose.position.z = float(high[2]) + 0.05
        text.text, text.scale.z, text.color = f"{colour} {name}".strip(), 0.06, ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        shown += [box, text]
    for marker in shown:
        marker.header.frame_id, marker.header.stamp = frame, stamps.to_msg(stamp_ns)
    return MarkerArray(markers=shown)


def _pose(thing: Instance) -> Pose:
    x, y, z = thing.position_m.tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
