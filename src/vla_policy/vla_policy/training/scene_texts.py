"""What can be said about a labelled frame: the sub-task that comes next, and answers to questions about the scene.

Teaches small backbones to speak (pi0.5's sub-tasks, RT-2's and knowledge insulation's co-training). Simulated labels
are read while training only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_HELD_M, _NEAR_M, _OVER_M = (
    0.04,
    0.06,
    0.045,
)  # tool to what it holds, or is about to; thing to where it belongs (level)
_SIDE_M, _FAR_M = 0.08, 0.52  # left and right of the middle (y); near and far from the base (x)
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
_SHAPES = ("cube", "cylinder", "ball", "bowl")
DONE = "done"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's labels.

    Attributes:
        family: Of the task.
        names: Of the things on the table. xyz: (K,3) [m]. visible: (K,) in any view.
        roles: (4,) index into names of object, its place, second object, its place; -1 where there is none.
        tool: (3,) [m].
        closed: The gripper is told to close.
        success: The instruction is carried out.
    """

    family: str
    names: tuple[str, ...]
    xyz: NDArray[Any]
    visible: NDArray[Any]
    roles: NDArray[Any]
    tool: NDArray[Any]
    closed: bool
    success: bool

    @classmethod
    def of(cls, labels: Arrays, row: int, object_names: Sequence[str], families: Sequence[str], tool: slice) -> Frame:
        """One row of `training.dataset.Dataset.labels`; `tool` is where the tool pose lies in the state vector."""
        index = labels["obj_name"][row]
        there = index >= 0
        xyz = labels["obj_xyz"][row][there]
        used = labels["role_used"][row].astype(bool)
        gap = np.linalg.norm(labels["role_xyz"][row][:, None] - xyz, axis=-1)
        return cls(
            family=families[int(labels["family"][row])],
            names=tuple(object_names[i] for i in index[there]),
            xyz=xyz,
            visible=labels["obj_visible"][row].max(0)[there].astype(bool),
            roles=np.where(used, np.nan_to_num(gap, nan=np.inf).argmin(1), -1),
            tool=labels["raw_state"][row][tool][:3],
            closed=bool(labels["chunk"][row][0, -1] < 0.0),
            success=bool(labels["success"][row]),
        )

    def distance_m(self, thing: int) -> float:
        """From the tool."""
        return float(np.linalg.norm(self.xyz[thing] - self.tool))


def subtask(frame: Frame) -> str:
    """What is done next, in words."""
    if frame.success:
        return DONE
    thing, place = int(frame.roles[0]), int(frame.roles[1])
    if frame.family == "sort" and _belongs(frame, thing, place):
        thing, place = int(frame.roles[2]), int(frame.roles[3])
    name = frame.names[thing]
    if frame.distance_m(thing) > _NEAR_M:
        return f"reach the {name}"
    match frame.family:
        case "press_button":
            return f"press the {name}"
        case "open_drawer":
            return f"pull the {name}"
        case "close_drawer" | "push":
            return f"push the {name}"
    over = place >= 0 and _over(frame, thing, place)
    if not _held(frame, thing):
        return f"{'release' if over else 'grasp'} the {name}"
    if place < 0:
        return f"lift the {name}"
    return f"{'lower' if over else 'carry'} the {name} to the {frame.names[place]}"


def _held(frame: Frame, thing: int) -> bool:
    return frame.closed and frame.distance_m(thing) < _HELD_M


def _over(frame: Frame, thing: int, place: int) -> bool:
    return bool(np.linalg.norm((frame.xyz[thing] - frame.xyz[place])[:2]) < _OVER_M)


def _belongs(frame: Frame, thing: int, place: int) -> bool:
    return _over(frame, thing, place) and not _held(frame, thing) and frame.distance_m(thing) > _NEAR_M


def question(frame: Frame, known: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """A question about what is in view, and its answer; half of the things asked for are there.

    Args:
        frame: Whose.
        known: All names that may be asked for.
        rng: Chooses.
    """
    seen = np.flatnonzero(frame.visible)
    name = frame.names[int(rng.choice(seen))] if len(seen) else str(rng.choice(known))
    match int(rng.integers(5)):
        case 0:
            asked = name if rng.random() < 0.5 else str(rng.choice(known))
            there = any(frame.names[i] == asked for i in seen)
            return f"is there a {asked}", "yes" if there else "no"
        case 1 if len(seen):
            return f"where is the {name}", _where(frame.xyz[frame.names.index(name)])
        case 2 if len(seen) > 1:
            thing = frame.names.index(name)
            gaps = [
                (float(np.linalg.norm(frame.xyz[i] - frame.xyz[thing])), frame.names[i]) for i in seen if i != thing
            ]
            return f"what is closest to the {name}", min(gaps)[1]
        case 3 if len(seen):
            return "what is closest to the gripper", min((frame.distance_m(i), frame.names[i]) for i in seen)[1]
        case _:
            shape = str(rng.choice(_SHAPES))
            return f"how many {shape}s are there", _NUMBERS[sum(frame.names[i].endswith(shape) for i in seen)]


def _where(xyz: NDArray[Any]) -> str:
    side = "left" if xyz[1] > _SIDE_M else "right" if xyz[1] < -_SIDE_M else "middle"
    return f"{'far' if xyz[0] > _FAR_M else 'near'} {side}"


def all_questions(known: Sequence[str]) -> list[str]:
    """Every question that `question` may ask."""
    named = [f"{ask} {name}" for name in known for ask in ("is there a", "where is the", "what is closest to the")]
    return [*named, "what is closest to the gripper", *(f"how many {shape}s are there" for shape in _SHAPES)]


def all_texts(known: Sequence[str]) -> list[str]:
    """Texts that hold every word of answers and sub-tasks."""
    verbs = "reach grasp release press pull push lift carry lower the to yes no near far left middle right"
    return [verbs, DONE, *_NUMBERS, *known]
