"""The 10 tasks of LIBERO-Spatial: Liu et al. 2023, arXiv 2306.03310, in the order of LIBERO's own registry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vla_core.errors import UnknownNameError

#: Initial states that LIBERO has of each task.
INITIAL_STATES = range(50)


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        index: 0..9.
        place: Where the bowl stands that is wanted; only this differs.
        group: The suite.
    """

    index: int
    place: str
    group: str = "libero_spatial"

    @property
    def instruction(self) -> str:
        """What a policy is told."""
        return f"pick up the black bowl {self.place} and place it on the plate"

    @property
    def name(self) -> str:
        """LIBERO's."""
        return self.instruction.replace(" ", "_")


_PLACES = (
    "between the plate and the ramekin",
    "next to the ramekin",
    "from table center",
    "on the cookie box",
    "in the top drawer of the wooden cabinet",
    "on the ramekin",
    "next to the cookie box",
    "on the stove",
    "next to the plate",
    "on the wooden cabinet",
)
TASKS: tuple[Task, ...] = tuple(Task(i, place) for i, place in enumerate(_PLACES))


def select(names: Iterable[str]) -> tuple[Task, ...]:
    """Tasks by name or number, in the table's order; all of them where nothing is named.

    Raises:
        UnknownNameError: no such task.
    """
    wanted = set(names)
    known = [key for task in TASKS for key in (str(task.index), task.name)]
    for name in sorted(wanted - set(known)):
        raise UnknownNameError("task of LIBERO-Spatial", name, known)
    return tuple(task for task in TASKS if not wanted or {task.name, str(task.index)} & wanted)
