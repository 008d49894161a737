"""Contracts: short form, lists of parts, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from vla_core.contract import Contract, load_contract, parse_contract
from vla_core.errors import ContractError
from vla_core.files import config_path, load_yaml, workspace_root

JOINTS = ("a", "b")
DELTA = {"relative_to": "previous_step", "reference": "commanded"}
TOOL = {"space": "tool_delta", "frame": "base", **DELTA, "names": ["dx", "dy", "dz", "rx", "ry", "rz"],
        "units": ["m", "m", "m", "rad", "rad", "rad"]}  # fmt: skip
GRIPPER = {"space": "gripper", "kind": "binary", "names": ["gripper"], "units": ["0 closed, 1 open"]}


def contract_with(*parts: dict[str, Any], **action: Any) -> Contract:
    """The tabletop contract with another action."""
    data = copy.deepcopy(load_yaml(config_path("contracts", "tabletop_panda")))
    data["action"] = {"rate_hz": 10, "horizon": 8, "parts": list(parts), **action}
    return parse_contract(data, Path("test.yaml"))


def test_hash_of_the_shipped_contract_is_what_the_shipped_weights_carry() -> None:
    """Another hash would make every weight file of this contract useless."""
    assert load_contract("tabletop_panda").hash == "d558c9e42c9b8551"


@pytest.mark.parametrize("name", sorted(p.stem for p in (workspace_root() / "config" / "contracts").glob("*.yaml")))
def test_columns_of_every_contract_belong_to_exactly_one_part(name: str) -> None:
    contract = load_contract(name)
    columns = sorted(column for part in contract.action_parts for column in part.columns)
    assert columns == list(range(len(contract.action_names)))
    for part in contract.action_parts:
        assert tuple(contract.action_names[column] for column in part.columns) == part.names


def test_short_form_splits_arm_and_grippers_by_name() -> None:
    contract = load_contract("tabletop_panda")
    assert [(part.space, part.columns) for part in contract.action_parts] == [
        ("tool_pose", (0, 1, 2, 3, 4, 5, 6)),
        ("gripper", (7,)),
    ]


def test_columns_are_found_by_name_in_whatever_order_they_stand() -> None:
    part = {**TOOL, "names": ["rx", "ry", "rz", "dx", "dy", "dz"], "units": ["rad", "rad", "rad", "m", "m", "m"]}
    contract = contract_with(GRIPPER, part)
    assert contract.action_names == ("gripper", "rx", "ry", "rz", "dx", "dy", "dz")
    assert contract.action_parts[1].columns == (4, 5, 6, 1, 2, 3)
    assert contract.action_space == "gripper+tool_delta"


def test_conventions_are_part_of_the_hash() -> None:
    """Weights trained on deltas from step to step must not run as deltas from the chunk's start."""
    hashes = {
        contract_with({**TOOL, key: value}).hash
        for key, value in [
            ("relative_to", "previous_step"), ("relative_to", "chunk_start"), ("reference", "measured"),
            ("frame", "tool"),
        ]
    }  # fmt: skip
    assert len(hashes) == 4


def test_a_single_step_is_a_chunk_only_where_steps_accumulate() -> None:
    assert contract_with(TOOL, horizon=1).horizon == 1
    with pytest.raises(ContractError, match="horizon of at least 2"):
        contract_with({**TOOL, "relative_to": "chunk_start"}, horizon=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "tool_twist"}, "action space 'tool_twist'; expected one of joint_position, "),
        ({"frame": "world"}, "frame 'world' of tool_delta; expected one of base, tool"),
        ({"relative_to": "start"}, "relative_to 'start' of tool_delta; expected one of previous_step, chunk_start"),
        ({"kind": "binary"}, r"tool_delta with \['frame', 'kind', 'reference', 'relative_to'\]; expected \['frame'"),
        ({"units": ["mm", "m", "m", "rad", "rad", "rad"]}, "unit 'mm' of tool_delta 'dx'; expected 'm'"),
        ({"units": ["m"]}, "6 names and 1 units of tool_delta"),
        ({"names": ["x", "dy", "dz", "rx", "ry", "rz"]}, "tool_delta with names .*; expected dx, dy, dz, rx, ry, rz"),
    ],
)
def test_a_part_that_is_wrong_is_refused_with_what_would_be_right(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        contract_with({**TOOL, **change})


def test_ambiguous_actions_are_refused() -> None:
    with pytest.raises(ContractError, match=r"\['gripper'\] more than once"):
        contract_with(TOOL, GRIPPER, GRIPPER)
    with pytest.raises(ContractError, match=r"gripper with names .*; expected one name"):
        contract_with({**GRIPPER, "names": ["left", "right"], "units": ["1", "1"]})
    with pytest.raises(ContractError, match="parts and a space or names beside"):
        contract_with(TOOL, space="tool_pose")
    with pytest.raises(ContractError, match=r"base_twist with names .*vy may be left out"):
        contract_with({"space": "base_twist", "names": ["vx"], "units": ["m/s"]})
