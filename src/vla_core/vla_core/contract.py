"""The contract: what an observation holds and what an action means, one file for record, train and serve."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_core.action_parts import SHORT, ActionPart, check_units, parse_parts, short_form_parts
from vla_core.errors import ContractError
from vla_core.files import config_path, load_yaml


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """One view: name, size [pixel] and the encoding that the policy is fed."""

    name: str
    width: int
    height: int
    encoding: str


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One block of the state vector: key, names (one per number) and unit."""

    key: str
    names: tuple[str, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Contract:
    """Parsed `config/contracts/*.yaml`.

    Attributes:
        action_space: The space of a contract in short form (an arm's space; grippers stand among its names), else the
            spaces of the listed parts, joined by '+'.
        listed_parts: Parts of a contract that lists them; empty in short form.
        hash: First 16 hex digits of the SHA-256 of the canonical JSON of the robot, observation and action sections.
    """

    name: str
    robot: str
    rate_hz: float
    max_skew_s: float
    max_age_s: float
    cameras: tuple[CameraSpec, ...]
    state: tuple[StateSpec, ...]
    action_space: str
    action_rate_hz: float
    horizon: int
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    hash: str
    listed_parts: tuple[ActionPart, ...] = ()

    @property
    def action_parts(self) -> tuple[ActionPart, ...]:
        """Every column of an action, by parts."""
        return self.listed_parts or short_form_parts(self.action_names)

    @property
    def view_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.cameras)

    @property
    def rgb_shape(self) -> tuple[int, int, int, int]:
        """Shape (V,H,W,3) of an observation's views; V may be 0."""
        width, height = (self.cameras[0].width, self.cameras[0].height) if self.cameras else (0, 0)
        return len(self.cameras), height, width, 3

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(n for s in self.state for n in s.names)

    @property
    def dt_s(self) -> float:
        return 1.0 / self.action_rate_hz

    def state_slice(self, key: str) -> slice:
        """Where block `key` lies in the state vector.

        Raises:
            ContractError: no such block.
        """
        start = 0
        for block in self.state:
            if block.key == key:
                return slice(start, start + len(block.names))
            start += len(block.names)
        known = [block.key for block in self.state]
        raise ContractError(f"state key '{key}'", f"one of {known}", f"add it to {self.name}.yaml")


def load_contract(name: str) -> Contract:
    """Load `config/contracts/<name>.yaml`, or the file when `name` is a path that ends in .yaml.

    Raises:
        UnknownNameError: no such contract.
        ContractError: a key is missing or has a wrong type or value.
    """
    path = config_path("contracts", name)
    return parse_contract(load_yaml(path), path)


def parse_contract(data: dict[str, Any], path: Path) -> Contract:
    """Turn the YAML mapping into a Contract; `path` is only used in messages."""
    try:
        observation, action = data["observation"], data["action"]
        hashed = {key: data[key] for key in ("robot", "observation", "action")}
        digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]
        contract = Contract(
            name=str(data["name"]),
            robot=str(data["robot"]),
            rate_hz=float(observation["rate_hz"]),
            max_skew_s=float(observation["max_skew_s"]),
            max_age_s=float(observation["max_age_s"]),
            cameras=tuple(
                CameraSpec(str(c["name"]), int(c["width"]), int(c["height"]), str(c["encoding"]))
                for c in observation["cameras"]
            ),
            state=tuple(StateSpec(str(s["key"]), tuple(s["names"]), str(s["unit"])) for s in observation["state"]),
            action_rate_hz=float(action["rate_hz"]),
            horizon=int(action["horizon"]),
            hash=digest,
            **_columns(action, f"mend {path}"),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ContractError(f"{path.name}: {reason}", "the keys of tabletop_panda.yaml", f"mend {path}") from error
    _check(contract, path)
    return contract


def _columns(action: dict[str, Any], fix: str) -> dict[str, Any]:
    """Space, names, units and parts of an action section."""
    if "parts" in action:
        if "space" in action or "names" in action:
            raise ContractError("an action with parts and a space or names beside", "one of the two", fix)
        parts, units = parse_parts(action["parts"], fix)
        return {
            "action_space": "+".join(part.space for part in parts),
            "action_names": tuple(str(name) for entry in action["parts"] for name in entry["names"]),
            "action_units": units,
            "listed_parts": parts,
        }
    if action["space"] not in SHORT:
        raise ContractError(f"action space '{action['space']}'", f"one of {', '.join(SHORT)}, or a list `parts`", fix)
    names, units = tuple(action["names"]), tuple(action["units"])
    if len(names) != len(units):
        raise ContractError(f"{len(names)} action names and {len(units)} units", "as many units as names", fix)
    for part in short_form_parts(names):
        if part.space not in (action["space"], "gripper"):
            raise ContractError(f"actions {list(names)} of space '{action['space']}'", f"those of {part.space}", fix)
        check_units(part, units, fix)
    return {"action_space": str(action["space"]), "action_names": names, "action_units": units}


def _check(contract: Contract, path: Path) -> None:
    fix = f"mend {path}"
    shortest = 1 if any(part.accumulates for part in contract.action_parts) else 2
    if contract.rate_hz <= 0 or contract.action_rate_hz <= 0 or contract.horizon < shortest:
        got = f"rates {contract.rate_hz} and {contract.action_rate_hz} Hz, a horizon of {contract.horizon}"
        raise ContractError(got, f"positive rates and a horizon of at least {shortest}", fix)
    sizes = {(c.width, c.height) for c in contract.cameras}
    if len(sizes) > 1:
        raise ContractError(f"camera sizes {sorted(sizes)}", "one size for all views", fix)
    if any(c.encoding != "rgb8" for c in contract.cameras):
        raise ContractError("a camera that isn't rgb8", "rgb8 views (raw topics may be bgr8 or rgb8)", fix)
