"""Does a LeRobot data set hold what a contract asks for? Columns are matched by name, and units where it names them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_policy.training.lerobot_format import ACTION, IMAGES, OBSERVATION_STATE, DatasetError, Feature
from vla_policy.training.lerobot_reader import LeRobotDataset

#: Labels of our own demonstrations are features of their own, with names that LeRobot's policies take no notice of.
LABEL = "label."
#: What a column may hold where the data set doesn't name units: beyond it, it is another unit (degrees, millimetres).
_PLAUSIBLE = {"rad": 4 * np.pi, "m": 50.0, "m and quaternion xyzw": 50.0, "1": 1.01, "0 closed .. 1 open": 1.05,
              "0 closed, 1 open": 1.05}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """How a data set's columns become a contract's.

    Attributes:
        state: Columns of 'observation.state' (S,) in the contract's order.
        action: Columns of 'action' (A,) in the contract's order.
        chunks: 'label.chunk' where every frame bears a chunk of its own, else 'action': the frames that follow.
    """

    state: NDArray[np.int64]
    action: NDArray[np.int64]
    chunks: str


def state_units(contract: Contract) -> list[str]:
    """Unit of every column of the state."""
    return [block.unit for block in contract.state for _ in block.names]


def match_contract(dataset: LeRobotDataset, contract: Contract) -> Match:
    """Find the contract's cameras, states and actions in a data set.

    Raises:
        DatasetError: a camera or column is missing, or sizes, units, rates or values don't fit.
    """
    name = dataset.folder.name
    for camera in contract.cameras:
        feature = _feature(dataset, IMAGES + camera.name)
        if feature.size(IMAGES + camera.name) != (camera.height, camera.width):
            height, width = feature.size(IMAGES + camera.name)
            got = f"{IMAGES}{camera.name} of {width} x {height} in {name}"
            fix = f"resize the pictures, or mend the camera in {contract.name}.yaml"
            raise DatasetError(got, f"{camera.width} x {camera.height} pixels", fix)
    state = _columns(dataset, OBSERVATION_STATE, contract.state_names, state_units(contract), contract)
    action = _columns(dataset, ACTION, contract.action_names, list(contract.action_units), contract)
    return Match(state, action, _chunks(dataset, contract))


def _feature(dataset: LeRobotDataset, key: str) -> Feature:
    if key not in dataset.features:
        known = ", ".join(sorted(dataset.features))
        fix = f"name it '{key}', or choose a contract without it"
        raise DatasetError(f"{dataset.folder.name} with features {known}", f"'{key}' among them", fix)
    return dataset.features[key]


def _columns(
    dataset: LeRobotDataset, key: str, names: tuple[str, ...], units: list[str], contract: Contract
) -> NDArray[np.int64]:
    """Where each name stands, after its unit or else its values were checked."""
    feature = _feature(dataset, key)
    absent = [name for name in names if name not in feature.names]
    if absent or len({*feature.names}) != len(feature.names) or feature.shape != (len(feature.names),):
        got = f"{key} {feature.shape} of {dataset.folder.name} with names {list(feature.names)}"
        fix = f"name its columns so in meta/info.json, or mend {contract.name}.yaml"
        raise DatasetError(got, f"each of {list(names)} once", fix)
    order = np.array([feature.names.index(name) for name in names], np.int64)
    values = dataset.column(key).reshape(len(dataset), -1)[:, order]
    if not np.isfinite(values).all():
        raise DatasetError(f"NaN or infinity in {key}", "finite numbers", "write the data set again")
    told = feature.info.get("units")
    for column, (name, unit) in enumerate(zip(names, units, strict=True)):
        fix = f"convert it, or mend the unit in {contract.name}.yaml"
        if told is not None:
            if str(told[order[column]]) != unit:
                raise DatasetError(f"{key} '{name}' in '{told[order[column]]}'", f"'{unit}'", fix)
        elif unit in _PLAUSIBLE and np.abs(values[:, column]).max(initial=0.0) > _PLAUSIBLE[unit]:
            low, high = values[:, column].min(), values[:, column].max()
            raise DatasetError(f"{key} '{name}' from {low:.4g} to {high:.4g}", f"'{unit}'", fix)
    return order


def _chunks(dataset: LeRobotDataset, contract: Contract) -> str:
    chunk = dataset.features.get(LABEL + "chunk")
    shape = (contract.horizon, len(contract.action_names))
    if chunk is not None and chunk.shape == shape and chunk.info.get("rate_hz") == contract.action_rate_hz:
        return LABEL + "chunk"
    if dataset.fps != contract.action_rate_hz:
        got = f"{dataset.folder.name} with {dataset.fps:g} frames per second"
        if chunk is not None:
            got += f" and {LABEL}chunk {chunk.shape} at {chunk.info.get('rate_hz')} Hz"
        expected = f"{contract.action_rate_hz:g}, the rate of the actions: a chunk's steps are the frames that follow"
        fix = f"resample it, or use a contract with actions at {dataset.fps:g} Hz"
        raise DatasetError(got, expected, fix)
    return ACTION
