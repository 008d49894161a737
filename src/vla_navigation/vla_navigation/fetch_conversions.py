"""Objects of the semantic map as messages and as what a mission takes; the end and the course of a mission."""

from __future__ import annotations

import numpy as np
from vision_msgs.msg import Detection3D

from vla_msgs.action import ExecuteInstruction
from vla_msgs.srv import FindObject
from vla_navigation.core.fetch.mission import FetchMission, FetchOutcome
from vla_navigation.core.fetch.progress import STAGES
from vla_navigation.core.fetch.skills import Candidate
from vla_navigation.core.skills.ports import Thing
from vla_navigation.core.task.meaning import Noun
from vla_ros.stamps import to_ns


def thing(message: Detection3D) -> Thing:
    """An object of `objects`; its stamp is that of the picture in which it was seen last."""
    centre = message.bbox.center.position
    return Thing(
        int(message.id), _name(message), np.array([centre.x, centre.y, centre.z]), to_ns(message.header.stamp)
    )  # fmt: skip


def likeliest(answer: FindObject.Response, excluded: frozenset[int], least: float) -> Candidate | None:
    """The likeliest object of an answer that isn't excluded, if it is as likely as `least`."""
    rows = zip(answer.objects.detections, answer.likelihood, answer.confirmed, strict=True)
    for message, likelihood, confirmed in rows:
        if int(message.id) not in excluded and likelihood >= least:
            centre = message.bbox.center.position
            return Candidate(int(message.id), _name(message), (centre.x, centre.y, centre.z), bool(confirmed))
    return None


def fitting(answer: FindObject.Response | None, least: float) -> frozenset[int]:
    """Ids of the objects of an answer that are as likely as `least`; none without an answer."""
    if answer is None:
        return frozenset()
    rows = zip(answer.objects.detections, answer.likelihood, strict=True)
    return frozenset(int(message.id) for message, likelihood in rows if likelihood >= least)


def called(candidate: Candidate, asked: Noun | None) -> str:
    """What the policy is told of an object: as the map names it, in the colour that was asked for."""
    colour = asked.colour if asked is not None and asked.name == candidate.name else ""
    return f"{colour} {candidate.name}".strip()


def result(outcome: FetchOutcome) -> ExecuteInstruction.Result:
    """How a mission ended."""
    return ExecuteInstruction.Result(
        success=outcome.success, error_code=outcome.code, message=outcome.message, duration_s=outcome.duration_s,
        success_estimate=float(outcome.success), first_motion_s=-1.0,
    )  # fmt: skip


def refused(code: str, message: str) -> ExecuteInstruction.Result:
    """A goal that was never begun."""
    return ExecuteInstruction.Result(error_code=code, message=message, first_motion_s=-1.0)


def feedback(mission: FetchMission) -> ExecuteInstruction.Feedback:
    """Where a mission stands: its step, and the furthest so far as a share of all."""
    progress = mission.progress
    share = STAGES.index(progress.furthest) / (len(STAGES) - 1)
    return ExecuteInstruction.Feedback(stage=mission.stage, progress=share, subtask=str(progress.meaning))


def _name(message: Detection3D) -> str:
    return str(message.results[0].hypothesis.class_id) if message.results else ""
