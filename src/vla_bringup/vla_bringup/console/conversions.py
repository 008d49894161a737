"""Messages to what the console shows; the only place of this package where the two meet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from vla_bringup.console.panel import Panel
from vla_bringup.core.floor_picture import SeenThing
from vla_core.types import Float64
from vla_msgs.action import ExecuteInstruction
from vla_msgs.msg import ActionChunk, ControlState, ExecutorState, Observation, SafetyState
from vla_ros.stamps import to_ns

NOWHERE: Float64 = np.zeros((0, 3))


def joint_positions(message: JointState) -> dict[str, float]:
    """Joint → position [rad, m]."""
    return dict(zip(message.name, message.position, strict=True))


def paths(message: MarkerArray) -> dict[str, Float64]:
    """Name → points (N,3) [m]; a deleted marker has none."""
    return {m.ns: _points(m) if m.action == Marker.ADD else NOWHERE for m in message.markers}


def _points(marker: Marker) -> Float64:
    return np.array([(p.x, p.y, p.z) for p in marker.points], np.float64).reshape(-1, 3)


def way(message: Path) -> Float64:
    """Points (N,2) [m] of a plan."""
    return np.array([(p.pose.position.x, p.pose.position.y) for p in message.poses], np.float64).reshape(-1, 2)


def things(message: Detection3DArray) -> list[SeenThing]:
    """Objects of a semantic map, each by its likeliest class."""
    return [
        SeenThing(
            str(one.results[0].hypothesis.class_id), float(one.bbox.center.position.x),
            float(one.bbox.center.position.y), float(one.results[0].hypothesis.score),
        )
        for one in message.detections
        if one.results
    ]  # fmt: skip


def truth_objects(message: String) -> dict[str, dict[str, Any]]:
    """Objects of the simulator's ground truth, see vla_sim.core.truth."""
    objects: dict[str, dict[str, Any]] = json.loads(message.data)["objects"]
    return objects


def take_observation(panel: Panel, message: Observation, now_ns: int) -> None:
    """Age of an observation on arrival."""
    panel.observation_age_ms = (now_ns - to_ns(message.header.stamp)) / 1e6


def take_chunk(panel: Panel, message: ActionChunk, now_ns: int) -> None:
    """Latencies of a chunk, and what the policy thinks of its task."""
    panel.subtask, panel.progress = message.subtask, float(message.progress)
    panel.success_estimate = float(message.success_estimate)
    panel.inference_ms.append(1e3 * float(message.inference_s))
    panel.image_to_chunk_ms.append((now_ns - to_ns(message.header.stamp)) / 1e6)


def take_executor(panel: Panel, message: ExecutorState) -> None:
    """State of the executor."""
    panel.executor, panel.steps_left = message.mode, int(message.steps_left)
    panel.starved_s, panel.chunks_rejected = float(message.starved_s), int(message.chunks_rejected)
    panel.last_error = message.last_error


def take_control(panel: Panel, message: ControlState) -> None:
    """State of the servo."""
    panel.servo, panel.tracking_error_mm = message.mode, 1e3 * message.tracking_error_m
    force = message.external_wrench.force
    panel.contact_force_n = float(np.linalg.norm([force.x, force.y, force.z]))
    panel.tick_us, panel.wake_us_p99 = (message.tick_us_p50, message.tick_us_p99), message.wake_us_p99
    panel.overruns = int(message.overruns)
    panel.limits_acting = tuple(message.limits_acting)
    panel.limit_counts = dict(zip(message.limit_names, (int(n) for n in message.limit_counts), strict=True))


def take_safety(panel: Panel, message: SafetyState) -> None:
    """State of the safety monitor."""
    panel.stopped = (message.cause or "no cause given") if message.stopped else None
    panel.warnings = tuple(message.warnings)


def take_feedback(panel: Panel, message: ExecuteInstruction.Feedback) -> None:
    """Stage of a mission that was sent from here."""
    panel.stage = message.stage


def take_diagnostics(panel: Panel, message: DiagnosticArray) -> None:
    """The simulator's real-time factor, if it is among them."""
    for status in message.status:
        if status.name.endswith("sim_node"):
            panel.real_time_factor = next((float(v.value) for v in status.values if v.key == "real_time_factor"), None)
