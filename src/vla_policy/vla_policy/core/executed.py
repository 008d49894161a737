"""What the executor says about the motion in execution, against the contract: whoever continues it needs both."""

from __future__ import annotations

from dataclasses import replace

from vla_core.action_parts import CHUNK_START
from vla_core.contract import Contract
from vla_core.errors import ObservationError, PolicyError
from vla_core.strategies import OF_POLICY
from vla_core.types import Running

_DT_SLACK = 1e-3


def fitted(running: Running, contract: Contract) -> Running:
    """The steps in execution on the contract's own clock.

    A message knows the time between steps to seven digits. By those, step 90 of an ALOHA chunk lies beyond the chunk's
    end, and the new chunk would be given one step less than in one process.

    Args:
        running: As told, perhaps by another process.
        contract: Of the chunk that is to continue it.

    Raises:
        ObservationError: the steps are of another contract.
    """
    width = len(contract.action_names)
    alike = abs(running.dt_s - contract.dt_s) <= _DT_SLACK * contract.dt_s
    if running.actions.shape[1] != width or not alike:
        got = f"steps of {running.actions.shape[1]} actions every {running.dt_s:.6g} s in execution"
        expected = f"{width} actions every {contract.dt_s:.6g} s, as contract {contract.name} has them"
        raise ObservationError(got, expected, "start all nodes with one contract")
    return replace(running, dt_s=contract.dt_s)


def from_chunk_start(contract: Contract) -> tuple[str, ...]:
    """Spaces of the contract's actions that count from where the arm was at their chunk's observation.

    Which place that was, nobody tells: the steps in execution can't be brought to another observation.
    """
    return tuple(part.space for part in contract.action_parts if part.relative_to == CHUNK_START)


def check_reference(strategy: str, contract: Contract) -> None:
    """Refuse a strategy for which the policy would have to know where the running chunk began.

    Args:
        strategy: Of the executor.
        contract: Of its chunks.

    Raises:
        PolicyError: the contract's steps can't be continued by another chunk.
    """
    spaces = from_chunk_start(contract)
    if strategy in OF_POLICY and spaces:
        got = f"strategy '{strategy}' under contract '{contract.name}', whose {' and '.join(spaces)} counts from the"
        expected = "actions that are absolute or relative to the previous step, since nobody tells where a chunk began"
        fix = "choose a strategy of the executor alone in config/control.yaml, or another contract"
        raise PolicyError(f"{got} chunk's start", expected, fix)
