"""The 50 tasks of Meta-World MT50: name, difficulty, instruction; and which seeds are whose.

Tasks: Yu et al. 2019, arXiv 1910.10897, in the order of Meta-World's own registry. Difficulty: Seo et al. 2022,
"Masked World Models for Visual Control", arXiv 2206.14244, appendix; SmolVLA and Evo-1 report by it. Instructions:
the sentences that Evo-1 (arXiv 2511.04555) is evaluated with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from vla_core.errors import UnknownNameError

Group = Literal["easy", "medium", "hard", "very_hard"]
GROUPS: tuple[Group, ...] = ("easy", "medium", "hard", "very_hard")

#: A seed places the objects and the goal, uniformly in the task's own box. Demonstrations draw from the first
#: range, evaluation from the second: no scene that is scored was trained on.
TRAINING_SEEDS = range(1_000_000)
EVALUATION_SEEDS = range(10_000_000, 2**62)


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        index: 0..49.
        name: Meta-World's, e.g. 'door-open-v3'.
        group: How hard it is.
        instruction: What a policy is told.
    """

    index: int
    name: str
    group: Group
    instruction: str


_TABLE: tuple[tuple[str, Group, str], ...] = (
    ("assembly", "hard", "Pick up a nut and place it onto a peg"),
    ("basketball", "medium", "Dunk the basketball into the basket"),
    ("bin-picking", "medium", "Grasp the puck from one bin and place it into another bin"),
    ("box-close", "medium", "Grasp the cover and close the box with it"),
    ("button-press-topdown", "easy", "Press a button from the top"),
    ("button-press-topdown-wall", "easy", "Bypass a wall and press a button from the top"),
    ("button-press", "easy", "Press a button"),
    ("button-press-wall", "easy", "Bypass a wall and press a button"),
    ("coffee-button", "easy", "Push a button on the coffee machine"),
    ("coffee-pull", "medium", "Pull a mug from a coffee machine"),
    ("coffee-push", "medium", "Push a mug under a coffee machine"),
    ("dial-turn", "easy", "Rotate a dial 180 degrees"),
    ("disassemble", "very_hard", "Pick a nut out of a peg"),
    ("door-close", "easy", "Close a door with a revolving joint"),
    ("door-lock", "easy", "Lock the door by rotating the lock clockwise"),
    ("door-open", "easy", "Open a door with a revolving joint"),
    ("door-unlock", "easy", "Unlock the door by rotating the lock counter-clockwise"),
    ("hand-insert", "hard", "Insert the gripper into a hole"),
    ("drawer-close", "easy", "Push and close a drawer"),
    ("drawer-open", "easy", "Open a drawer"),
    ("faucet-open", "easy", "Rotate the faucet counter-clockwise"),
    ("faucet-close", "easy", "Rotate the faucet clockwise"),
    ("hammer", "medium", "Hammer a screw on the wall"),
    ("handle-press-side", "easy", "Press a handle down sideways"),
    ("handle-press", "easy", "Press a handle down"),
    ("handle-pull-side", "easy", "Pull a handle up sideways"),
    ("handle-pull", "easy", "Pull a handle up"),
    ("lever-pull", "easy", "Pull a lever down 90 degrees"),
    ("peg-insert-side", "medium", "Insert a peg sideways"),
    ("pick-place-wall", "very_hard", "Pick a puck, bypass a wall and place the puck"),
    ("pick-out-of-hole", "hard", "Pick up a puck from a hole"),
    ("reach", "easy", "Reach a goal position"),
    ("push-back", "hard", "Push the puck back to a goal"),
    ("push", "hard", "Push the puck to a goal"),
    ("pick-place", "hard", "Pick and place a puck to a goal"),
    ("plate-slide", "easy", "Slide a plate into a cabinet"),
    ("plate-slide-side", "easy", "Slide a plate into a cabinet sideways"),
    ("plate-slide-back", "easy", "Get a plate from the cabinet"),
    ("plate-slide-back-side", "easy", "Get a plate from the cabinet sideways"),
    ("peg-unplug-side", "easy", "Unplug a peg sideways"),
    ("soccer", "medium", "Kick a soccer into the goal"),
    ("stick-push", "very_hard", "Grasp a stick and push a box using the stick"),
    ("stick-pull", "very_hard", "Grasp a stick and pull a box with the stick"),
    ("push-wall", "medium", "Bypass a wall and push a puck to a goal"),
    ("reach-wall", "easy", "Bypass a wall and reach a goal"),
    ("shelf-place", "very_hard", "Pick and place a puck onto a shelf"),
    ("sweep-into", "medium", "Sweep a puck into a hole"),
    ("sweep", "medium", "Sweep a puck off the table"),
    ("window-open", "easy", "Push and open a window"),
    ("window-close", "easy", "Push and close a window"),
)

TASKS: tuple[Task, ...] = tuple(Task(i, f"{name}-v3", group, text) for i, (name, group, text) in enumerate(_TABLE))


def select(names: Iterable[str]) -> tuple[Task, ...]:
    """Tasks by name or by group, in the table's order; all of them where nothing is named.

    Raises:
        UnknownNameError: neither a task nor a group.
    """
    wanted = set(names)
    known = {task.name for task in TASKS} | set(GROUPS)
    for name in sorted(wanted - known):
        raise UnknownNameError("Meta-World task or group", name, known)
    return tuple(task for task in TASKS if not wanted or {task.name, task.group} & wanted)
