"""Things go wrong while a robot fetches something: every mission ends with a clear and true code and a safe robot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vla_bringup.faults.missions import MISSION_FAULTS, MissionFault, MissionOutcome, Step, play
from vla_navigation.core.fetch.progress import CODES, STAGES
from vla_sim.core.flat.faults import FAULTS

GOOD = MissionOutcome(("done",), "not_found", "a sentence", True, 0.5, 0.0, 60.0)
ABSENT = MISSION_FAULTS[0]


def test_every_fault_names_what_there_is() -> None:
    assert len({fault.name for fault in MISSION_FAULTS}) == len(MISSION_FAULTS)
    for fault in MISSION_FAULTS:
        assert fault.stage in STAGES[1:], "the first is over before the mission tells anything"
        assert fault.codes and fault.codes <= set(CODES)
        for step in fault.steps:
            assert (step.inject in FAULTS) != bool(step.say)
    undo = {"doors_open"}  # nobody opens doors again
    assert {step.inject for fault in MISSION_FAULTS for step in fault.steps} - {""} == set(FAULTS) - undo


@pytest.mark.parametrize(
    "changed",
    [{"done": ()}, {"code": ""}, {"code": "timeout"}, {"truthful": False}, {"rest_s": None}, {"hardest_n": 5.1}],
    ids=str,
)
def test_a_mission_that_ends_otherwise_is_not_as_expected(changed: dict[str, object]) -> None:
    assert ABSENT.steps == (Step(0.0, "target_gone"),)
    assert GOOD.as_expected(ABSENT)
    assert not replace(GOOD, **changed).as_expected(ABSENT)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("fault", MISSION_FAULTS, ids=lambda fault: fault.name)
def test_the_mission_ends_with_a_clear_code_and_a_safe_robot(fault: MissionFault, tmp_path: Path) -> None:
    outcome = play(fault, tmp_path, print)
    assert outcome.as_expected(fault), outcome
