"""The robot and the contract that the tests of this package share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract, load_contract

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def contract() -> Contract:
    return load_contract("tabletop_panda")


@pytest.fixture(scope="session")
def robot() -> RobotModel:
    return RobotModel.load("panda")
