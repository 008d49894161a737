"""All parts of a contract's action together: chunks to absolute rows and back, for one robot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vla_control.core.action_spaces import mode as mode_space
from vla_control.core.action_spaces.base_twist import AXES, BaseTwist
from vla_control.core.action_spaces.gripper import Gripper, GripperSteps
from vla_control.core.action_spaces.joint_delta import JointDelta
from vla_control.core.action_spaces.joint_position import JointPosition
from vla_control.core.action_spaces.mode import Mode
from vla_control.core.action_spaces.space import Active, Reference, Space
from vla_control.core.action_spaces.terminate import ENDS_FROM, Terminate
from vla_control.core.action_spaces.tool_delta import ToolDelta
from vla_control.core.action_spaces.tool_pose import ToolPose
from vla_control.core.robot import RobotConfig
from vla_core.action_parts import ARM_SPACES, COMMANDED, ActionPart
from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_core.types import Float64


class ActionSpaces:
    """Translates between a contract's actions and absolute rows.

    Attributes:
        algebra: Of absolute rows.
        reference: Which state of the robot `absolute` needs: 'commanded', 'measured', or '' for none.
        accumulates: Whether T steps lead through T + 1 rows.
    """

    def __init__(self, contract: Contract, config: RobotConfig, gripper_mode: str) -> None:
        """Find the parts.

        Raises:
            ConfigError: the contract doesn't fit the robot: joints, grippers or base.
        """
        self._contract, self._width = contract, len(contract.action_names)
        self._spaces: list[Space] = []
        self.arm: Space | None = None
        self.base: BaseTwist | None = None
        self._mode = self._terminate = -1
        for part in contract.action_parts:
            self._add(part, config, gripper_mode)
        parts = [space.part for space in self._spaces]
        self.accumulates = any(part.accumulates for part in parts)
        wanted = {part.reference for part in parts if part.reference}
        if not wanted and (self._mode >= 0 or self._terminate >= 0):  # where a part that doesn't move stays
            wanted = {COMMANDED}
        if len(wanted) > 1:
            got = f"contract '{contract.name}' with references {sorted(wanted)}"
            raise ConfigError(got, "one for all parts", "choose one")
        self.reference = next(iter(wanted), "")
        self._lay_out(config)

    def check(self, actions: Float64) -> None:
        """Look at actions (T,A) part by part.

        Raises:
            ChunkError: a value that can't be meant.
        """
        for space in self._spaces:
            space.check(actions[:, space.part.columns])

    def absolute(self, actions: Float64, reference: Reference | None) -> Float64:
        """Absolute rows (T,B), or (T+1,B) where steps accumulate, of a contract's actions (T,A).

        Args:
            reference: At the chunk's capture stamp; None where `self.reference` is ''.
        """
        if not self.reference:
            return actions
        assert reference is not None
        arm_active, base_active = self._active(actions)
        rows = np.zeros((len(actions) + self.accumulates, len(self.algebra.names)))
        for space, columns in zip(self._spaces, self._columns, strict=True):
            active = base_active if space is self.base else arm_active
            found = space.absolute(actions[:, space.part.columns], active, reference)
            rows[: len(found), columns] = found
            if len(found) < len(rows):
                rows[-1, columns] = space.beyond(found)
        return rows

    def by_contract(self, rows: Float64, reference: Reference | None) -> Float64:
        """The inverse of `absolute`: actions (T,A), with every step active."""
        if not self.reference:
            return rows
        assert reference is not None
        actions = np.zeros((len(rows) - self.accumulates, self._width))
        for space, columns in zip(self._spaces, self._columns, strict=True):
            found = space.relative(rows[:, columns], reference)
            actions[:, space.part.columns] = found[: len(actions)]
        return actions

    def end(self, rows: Float64) -> int | None:
        """Row at which the policy ends the task, None if it doesn't."""
        over = np.zeros(len(rows), dtype=bool)
        for space, columns in zip(self._spaces, self._columns, strict=True):
            if isinstance(space, Mode):
                over |= rows[:, columns[0]] == mode_space.TERMINATE
            elif isinstance(space, Terminate):
                over |= rows[:, columns[0]] >= ENDS_FROM
        return int(np.argmax(over)) if over.any() else None

    def arm_values(self, rows: Float64) -> Float64:
        """Columns (R,m) of the arm: joints in the robot's order, or the tool's pose; m = 0 without an arm part."""
        return rows[:, self._arm_columns]

    def held(self, rows: Float64, count: int) -> Float64:
        """Rows (R,B) with the last one repeated up to `count`, in which the base rests."""
        out = np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])
        if self.base is not None:
            out[len(rows) :, self._columns[self._spaces.index(self.base)]] = 0.0
        return out

    def with_arm(self, rows: Float64, values: Float64) -> Float64:
        """Rows (R,B) with other values (R,m) for the arm."""
        out = rows.copy()
        out[:, self._arm_columns] = values
        return out

    def gripper_steps(self, rows: Float64, opening: Float64, force: Float64) -> GripperSteps:
        """What the grippers shall do, (R,G); one that no part moves stays.

        Args:
            opening, force: (G,) what they were last told.
        """
        steps = GripperSteps(np.tile(opening, (len(rows), 1)), np.tile(force, (len(rows), 1)))
        for space, columns in zip(self._spaces, self._columns, strict=True):
            if isinstance(space, Gripper):
                k = space.index
                one = space.steps(rows[:, columns[0]], float(opening[k]), float(force[k]))
                steps.opening[:, k], steps.force[:, k] = one.opening, one.force
        return steps

    def twists(self, rows: Float64) -> Float64:
        """Velocity of the base (R,3): vx, vy [m/s], wz [rad/s]; 0 without a base part."""
        if self.base is None:
            return np.zeros((len(rows), len(AXES)))
        return self.base.twists(rows[:, self._columns[self._spaces.index(self.base)]])

    def _add(self, part: ActionPart, config: RobotConfig, gripper_mode: str) -> None:
        makers: dict[str, Callable[[], Space]] = {
            "joint_position": lambda: JointPosition(part, config.joints),
            "joint_delta": lambda: JointDelta(part, config.joints),
            "tool_pose": lambda: ToolPose(part),
            "tool_delta": lambda: ToolDelta(part),
            "base_twist": lambda: BaseTwist(part),
            "gripper": lambda: Gripper(part, grippers.index(part.names[0]), gripper_mode == "binary"),
            "mode": lambda: Mode(part),
            "terminate": lambda: Terminate(part),
        }
        grippers = [gripper.name for gripper in config.grippers]
        self._check_part(part, config, grippers)
        space = makers[part.space]()
        if part.space in ARM_SPACES:
            self._refuse_second(self.arm, part)
            self.arm = space
        elif isinstance(space, BaseTwist):
            self._refuse_second(self.base, part)
            self.base = space
        elif isinstance(space, Mode):
            self._mode = part.columns[0]
        elif isinstance(space, Terminate):
            self._terminate = part.columns[0]
        self._spaces.append(space)

    def _lay_out(self, config: RobotConfig) -> None:
        """Columns of absolute rows: those of the contract where nothing changes, else part after part."""
        names, parts = list(self._contract.action_names), [space.part for space in self._spaces]
        if self.reference:
            names, parts = [], []
            for space in self._spaces:
                part, start = space.absolute_part, len(names)
                parts.append(replace(part, columns=tuple(range(start, start + len(part.names)))))
                names += part.names
        self._columns = [list(part.columns) for part in parts]
        self.algebra = ActionAlgebra(names, tuple(parts))
        self._arm_columns: list[int] = []
        if self.arm is not None:
            part, columns = self.arm.absolute_part, self._columns[self._spaces.index(self.arm)]
            in_joints = part.space == "joint_position"
            self._arm_columns = [columns[part.names.index(j)] for j in config.joints] if in_joints else columns

    def _active(self, actions: Float64) -> tuple[Active, Active]:
        """Steps in which the arm moves, and in which the base does (T,)."""
        going = np.ones(len(actions), dtype=bool)
        if self._terminate >= 0:
            going &= np.cumsum(actions[:, self._terminate] >= ENDS_FROM) == 0
        if self._mode < 0:
            return going, going
        modes = np.round(actions[:, self._mode])
        going &= np.cumsum(modes == mode_space.TERMINATE) == 0
        return going & (modes == mode_space.ARM), going & (modes == mode_space.BASE)

    def _check_part(self, part: ActionPart, config: RobotConfig, grippers: list[str]) -> None:
        """Compare one part with the robot."""
        name, fix = f"contract '{self._contract.name}'", "choose matching files"
        if part.space.startswith("joint") and sorted(part.names) != sorted(config.joints):
            missing, unknown = set(config.joints) - set(part.names), set(part.names) - set(config.joints)
            got = f"{name} without actions {sorted(missing)}, with unknown {sorted(unknown)}"
            raise ConfigError(got, f"the joints of '{config.name}': {list(config.joints)}", fix)
        if part.space.startswith("tool") and len(config.arms) > 1:
            got = f"{name} with {part.space} for '{config.name}', which has {len(config.arms)} arms"
            raise ConfigError(got, "joint_position or joint_delta", fix)
        if part.space == "gripper" and part.names[0] not in grippers:
            raise ConfigError(f"{name} with gripper '{part.names[0]}'", f"one of {grippers} of '{config.name}'", fix)
        if part.space != "base_twist":
            return
        if config.base is None:
            got = f"{name} with a base_twist for '{config.name}', which has no base"
            raise ConfigError(got, "a robot with a section `base`", fix)
        sideways = [axis for axis in part.names if axis not in config.base.axes]
        if sideways:
            got = f"{name} with {sideways} for the {config.base.drive} base of '{config.name}'"
            raise ConfigError(got, f"among {list(config.base.axes)}", fix)

    def _refuse_second(self, first: Space | None, part: ActionPart) -> None:
        if first is not None:
            got = f"contract '{self._contract.name}' with {first.part.space} and {part.space}"
            raise ConfigError(got, "one part that moves the arm, and one that moves the base", "remove one")
