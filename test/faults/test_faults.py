"""Every fault of docs/faults.md, injected for real into a running graph."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from vla_bringup.faults.fault import Fault
from vla_bringup.faults.rigs import Rigs
from vla_bringup.faults.table import FAULTS
from vla_bringup.faults.trial import run
from vla_bringup.graph import GraphOptions, simulated_graph
from vla_bringup.runner import SHM
from vla_core.errors import SetupError


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))
        rigs = Rigs(tmp_path_factory.mktemp("faults"))
        yield rigs
        rigs.close()
    assert list(SHM.glob(f"vla_f{os.getpid()}x*")) == []


def parameters() -> list[object]:
    return [pytest.param(f, id=f.name, marks=[pytest.mark.slow] if f.slow else []) for f in FAULTS]


@pytest.mark.parametrize("fault", parameters())
def test_fault_is_answered_reported_once_and_recovered_from(rigs: Rigs, fault: Fault) -> None:
    try:
        outcome = run(fault, rigs)
    except SetupError as error:
        pytest.skip(str(error))
    assert outcome.violations == (), "the robot was not safe throughout"
    reports = {told: count for told, count in zip(fault.told, outcome.told, strict=True) if count != 1}
    assert reports == {}, "not exactly once"
    assert outcome.repeated == (), "told again and again"
    assert outcome.recovered


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


def test_every_process_of_the_graph_is_killed_by_a_fault() -> None:
    processes = {node.name for node in simulated_graph(GraphOptions()).nodes}
    assert {fault.kills for fault in FAULTS} - {""} == processes
