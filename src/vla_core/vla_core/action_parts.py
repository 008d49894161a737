"""What the columns of an action mean: a contract's action is a list of parts, each in one action space.

| space | columns | meaning of step i |
|---|---|---|
| joint_position | one per joint | where the joints are to be |
| joint_delta | one per joint | how far the joints move |
| tool_pose | x y z qx qy qz qw | where the tool is to be, base frame |
| tool_delta | dx dy dz rx ry rz | how far the tool moves; the rotation is a rotation vector |
| base_twist | vx vy wz, or vx wz | velocity of the mobile base during the step, in its own frame |
| gripper | one | opening, effort or open/closed, by `kind` |
| mode | one | 0: the arm moves, 1: the base moves, 2: the policy ends the task (RT-1) |
| terminate | one | from 0.5 on the policy ends the task |

Absolute step i is due at t0 + i dt, t0 the capture stamp. Deltas say what they are relative to:

- `relative_to: chunk_start` (pi0, UMI): step i is the way from the reference to where the arm is to be at t0 + i dt.
- `relative_to: previous_step` (RT-1, OpenVLA): step i is the way from t0 + i dt to t0 + (i+1) dt, so T steps lead
  through T + 1 places, the first of them the reference.

The reference is the arm at t0: where it was `commanded` to be, or where it was `measured`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from vla_core.errors import ContractError

MODES = ("arm", "base", "terminate")
GRIPPER_KINDS = ("position", "effort", "binary")
PREVIOUS_STEP, CHUNK_START = "previous_step", "chunk_start"
COMMANDED, MEASURED = "commanded", "measured"
BASE_FRAME, TOOL_FRAME = "base", "tool"
GRIPPER = "gripper"

_RELATIVE = {"relative_to": (PREVIOUS_STEP, CHUNK_START), "reference": (COMMANDED, MEASURED)}


@dataclass(frozen=True, slots=True)
class SpaceRule:
    """What a part of one space must look like.

    Attributes:
        names: Its columns; empty: the contract names them.
        units: Unit of each of `names`, or one for all columns; empty: free text.
        optional: Those of `names` that may be missing.
        single: Exactly one column.
        options: Further keys of the part and what each may be.
    """

    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    single: bool = False
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


RULES: Mapping[str, SpaceRule] = MappingProxyType(
    {
        "joint_position": SpaceRule(units=("rad",)),
        "joint_delta": SpaceRule(units=("rad",), options=_RELATIVE),
        "tool_pose": SpaceRule(("x", "y", "z", "qx", "qy", "qz", "qw"), ("m", "m", "m", "1", "1", "1", "1")),
        "tool_delta": SpaceRule(
            ("dx", "dy", "dz", "rx", "ry", "rz"),
            ("m", "m", "m", "rad", "rad", "rad"),
            options={"frame": (BASE_FRAME, TOOL_FRAME), **_RELATIVE},
        ),
        "base_twist": SpaceRule(("vx", "vy", "wz"), ("m/s", "m/s", "rad/s"), optional=("vy",)),
        "gripper": SpaceRule(single=True, options={"kind": GRIPPER_KINDS}),
        "mode": SpaceRule(single=True),
        "terminate": SpaceRule(single=True),
    }
)
#: Spaces that need no more than names, so that a contract may give them without a list of parts.
SHORT = ("tool_pose", "joint_position")
ARM_SPACES = ("joint_position", "joint_delta", "tool_pose", "tool_delta")


@dataclass(frozen=True, slots=True)
class ActionPart:
    """Columns of an action that belong together.

    Attributes:
        space: Key of RULES.
        columns: Where they stand in the action; in the order of the rule's names where it has names.
        names: (len(columns),) theirs.
        kind: Of a gripper, one of GRIPPER_KINDS; else empty.
        frame: Axes and origin of a tool_delta: the robot's base, or the tool that moves; else empty.
        relative_to, reference: Of deltas, see above; else empty.
    """

    space: str
    columns: tuple[int, ...]
    names: tuple[str, ...]
    kind: str = ""
    frame: str = ""
    relative_to: str = ""
    reference: str = ""

    @property
    def accumulates(self) -> bool:
        """Whether each step goes on from where the one before ends."""
        return self.relative_to == PREVIOUS_STEP


def short_form_parts(names: Sequence[str]) -> tuple[ActionPart, ...]:
    """Parts of a contract that only names its columns: an arm, and grippers `gripper` or `<arm>_gripper`."""
    grippers = [i for i, name in enumerate(names) if name == GRIPPER or name.endswith("_" + GRIPPER)]
    arm = [i for i in range(len(names)) if i not in grippers]
    pose = RULES["tool_pose"].names
    if set(pose) == {names[i] for i in arm}:
        parts = [ActionPart("tool_pose", tuple(names.index(name) for name in pose), pose)]
    else:
        parts = [ActionPart("joint_position", tuple(arm), tuple(names[i] for i in arm))] if arm else []
    return (*parts, *(ActionPart(GRIPPER, (i,), (names[i],), kind="position") for i in grippers))


def parse_parts(entries: Sequence[Mapping[str, Any]], fix: str) -> tuple[tuple[ActionPart, ...], tuple[str, ...]]:
    """Parts of a contract's list, and the unit of every column; columns follow each other in the list's order.

    Args:
        entries: YAML mappings with `space`, `names`, `units` and what the space needs beside.
        fix: What a message tells to mend.

    Raises:
        ContractError: an unknown space or option, wrong names or units, or a column name that stands twice.
    """
    parts: list[ActionPart] = []
    units: list[str] = []
    for entry in entries:
        parts.append(_parse(entry, len(units), fix))
        units += [str(unit) for unit in entry["units"]]
    names = [str(name) for entry in entries for name in entry["names"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContractError(f"action names {twice} more than once", "one column per name", fix)
    return tuple(parts), tuple(units)


def check_units(part: ActionPart, units: Sequence[str], fix: str) -> None:
    """Raise ContractError when a column of `part` has another unit than its space; `units` are those of the action."""
    rule = RULES[part.space]
    if not rule.units:
        return
    for name, column in zip(part.names, part.columns, strict=True):
        wanted = rule.units[rule.names.index(name)] if rule.names else rule.units[0]
        if units[column] != wanted:
            raise ContractError(f"unit '{units[column]}' of {part.space} '{name}'", f"'{wanted}'", fix)


def _parse(entry: Mapping[str, Any], start: int, fix: str) -> ActionPart:
    space = str(entry["space"])
    if space not in RULES:
        raise ContractError(f"action space '{space}'", f"one of {', '.join(RULES)}", fix)
    rule = RULES[space]
    names, units = (tuple(str(text) for text in entry[key]) for key in ("names", "units"))
    if len(names) != len(units):
        raise ContractError(f"{len(names)} names and {len(units)} units of {space}", "as many units as names", fix)
    _check_names(space, rule, names, fix)
    options = {str(key): str(entry[key]) for key in entry if key not in ("space", "names", "units")}
    if set(options) != set(rule.options):
        raise ContractError(f"{space} with {sorted(options)}", f"{sorted(rule.options) or 'nothing beside'}", fix)
    for key, value in options.items():
        if value not in rule.options[key]:
            raise ContractError(f"{key} '{value}' of {space}", f"one of {', '.join(rule.options[key])}", fix)
    ordered = [name for name in rule.names if name in names] or list(names)
    columns = tuple(start + names.index(name) for name in ordered)
    part = ActionPart(space, columns, tuple(ordered), **options)
    check_units(part, ("",) * start + units, fix)
    return part


def _check_names(space: str, rule: SpaceRule, names: tuple[str, ...], fix: str) -> None:
    wrong = set(names) - set(rule.names) if rule.names else set()
    missing = set(rule.names) - set(rule.optional) - set(names)
    if wrong or missing or not names or (rule.single and len(names) != 1):
        text = ", ".join(rule.names) + (f" ({', '.join(rule.optional)} may be left out)" if rule.optional else "")
        expected = text or ("one name" if rule.single else "at least one name")
        raise ContractError(f"{space} with names {list(names)}", expected, fix)
