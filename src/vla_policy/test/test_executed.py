"""What the executor says is running: as a message, against the contract, and on its way through policy_node."""

from __future__ import annotations

import queue
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_policy_node import message as observation_msg
from toy_demonstrations import observation

from vla_core import strategies
from vla_core.contract import Contract, load_contract
from vla_core.errors import ObservationError, PolicyError, VlaError
from vla_core.files import workspace_root
from vla_core.types import NS, ActionChunk, Observation, Running
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState
from vla_msgs.msg import Observation as ObservationMsg
from vla_policy import conversions
from vla_policy.core.drawing.continuation import continuation
from vla_policy.core.executed import check_reference, fitted
from vla_policy.core.policy import Policy, PolicyOutput
from vla_policy.core.processors import JointsRelative
from vla_policy.core.replanner import Replanner
from vla_policy.policy_node import PolicyNode
from vla_ros import qos, stamps
from vla_ros.testing import Spinner, private_ros

FROM_START = load_contract("pi0_panda")


class Noting:
    """Continues the running motion by its word only: it notes what it is told, and answers with a chunk at rest."""

    name = "noting"

    def __init__(self, contract: Contract, *served: str) -> None:
        self.contract_hash, self.strategies = contract.hash, frozenset(served)
        self.told: queue.Queue[Running | None] = queue.Queue()
        self._actions = np.zeros((contract.horizon, len(contract.action_names)), np.float32)

    def predict(self, seen: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        if seen.stamp_ns:  # else the warm-up
            self.told.put(running)
        return PolicyOutput(self._actions, 0.0, 0.0)


def state_of(running: Running, contract: Contract) -> ExecutorState:
    """The message that an executor makes of it."""
    return ExecutorState(
        strategy=running.strategy,
        action_names=list(contract.action_names),
        running_origin=stamps.to_msg(running.origin_ns),
        dt_s=running.dt_s,
        running=array("f", running.actions.tobytes()),
        running_fresh=running.fresh,
        delay_steps=running.delay_steps,
    )


def motion(contract: Contract, strategy: str = "rtc_prefix", origin_ns: int = NS) -> Running:
    """A whole chunk and a brake of two steps."""
    shape = contract.horizon + 2, len(contract.action_names)
    actions = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Running(strategy, origin_ns, contract.dt_s, actions, 3, contract.horizon)


def same(found: Running | None, expected: Running) -> bool:
    return found is not None and all(
        np.array_equal(getattr(found, field.name), getattr(expected, field.name)) for field in fields(Running)
    )


# -- the message -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"action_names": []}, "88 values of 0 actions in executor_state; expected a whole number of steps"),
        ({"action_names": ["x", "y", "z"]}, "88 values of 3 actions in executor_state; expected a whole number"),
        ({"running": array("f", [0.0, np.nan] * 44)}, "steps with NaN or infinity in executor_state; expected finite"),
        ({"running": array("f", [0.0, np.inf] * 44)}, "steps with NaN or infinity in executor_state; expected finite"),
        ({"dt_s": 0.0}, r"0\.0 s between steps in executor_state; expected a time above 0"),
        ({"dt_s": -0.05}, r"-0\.05\d* s between steps in executor_state; expected a time above 0"),
        ({"dt_s": float("nan")}, "nan s between steps in executor_state; expected a time above 0"),
        ({"dt_s": float("inf")}, "inf s between steps in executor_state; expected a time above 0"),
        ({"running_fresh": 12}, "12 of 11 steps from a policy in executor_state; expected at most 11"),
        ({"strategy": "rtc"}, "strategy 'rtc' in executor_state; expected one of synchronous, naive_async, "),
        ({"strategy": ""}, "strategy '' in executor_state; expected one of synchronous, naive_async, "),
    ],
    ids="no_names odd_count NaN infinity no_time negative_time NaN_time endless_time too_fresh unknown unnamed".split(),
)
def test_a_malformed_state_is_refused_in_one_sentence(
    contract: Contract, change: dict[str, Any], sentence: str
) -> None:
    """Regression: all but the first two passed: the policy drew freely, or took NaN and steps that weren't there."""
    message = state_of(motion(contract), contract)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ObservationError, match=f"^got {sentence}.*; fix: run executor and policy of one version$"):
        conversions.running(message)


def test_an_executor_at_rest_tells_of_no_steps(contract: Contract) -> None:
    rest = Running("naive_async", 0, contract.dt_s, np.zeros((0, len(contract.action_names)), np.float32), 0, 0)
    assert same(fitted(conversions.running(state_of(rest, contract)), contract), rest)


# -- the contract ------------------------------------------------------------------------------------------------------


@example(rate_hz=50, horizon=100, late=10, delay=5)  # ALOHA's
@given(rate_hz=st.integers(1, 100), horizon=st.integers(2, 100), late=st.integers(0, 99), delay=st.integers(0, 120))
def test_what_is_continued_is_the_same_as_in_one_process(rate_hz: int, horizon: int, late: int, delay: int) -> None:
    """Regression: by the message's float32 the last of many steps lay beyond the chunk's end and was left out."""
    contract = replace(FROM_START, action_rate_hz=float(rate_hz), horizon=horizon, listed_parts=())
    told = replace(motion(contract, "rtc_guided"), delay_steps=delay)
    seen = observation_of(contract, NS + round(late * contract.dt_s * NS))
    transform = JointsRelative(contract.state_slice("joint_position"))
    here = continuation(told, seen, contract, transform, 0)
    there = continuation(fitted(conversions.running(state_of(told, contract)), contract), seen, contract, transform, 0)
    over = late > horizon - 1 and (delay == 0 or late > horizon + 1)  # a brake is continued as far as it is committed
    assert (here is None) == (there is None) == over
    assert here is None or (np.array_equal(here.actions, there.actions) and here.delay_steps == there.delay_steps)


def observation_of(contract: Contract, stamp_ns: int) -> Observation:
    state = np.zeros(len(contract.state_names), np.float32)
    rgb, valid = np.zeros(contract.rgb_shape, np.uint8), np.ones(len(contract.cameras), np.bool_)
    return Observation(stamp_ns, "go", contract.hash, contract.view_names, valid, rgb, contract.state_names, state)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"dt_s": 0.02}, r"steps of 8 actions every 0\.02 s"),
        ({"actions": np.zeros((3, 7), np.float32)}, r"steps of 7 actions every 0\.05 s"),
    ],
    ids=["rate", "width"],
)
def test_steps_of_another_contract_are_refused(contract: Contract, change: dict[str, Any], got: str) -> None:
    """Regression: those of another width came to light as 'an inference without faults; fix: report it'."""
    replanner = Replanner(Noting(contract, "rtc_prefix"), contract, 0.4, 0, lambda chunk: None, lambda error: None)
    with pytest.raises(
        ObservationError, match=rf"got {got} in execution; expected 8 actions every 0\.05 s, as contrac"
    ):
        replanner.follow(replace(motion(contract), **change))


@pytest.mark.parametrize("strategy", strategies.OF_POLICY)
def test_what_counts_from_a_chunks_start_is_not_continued(strategy: str) -> None:
    """Two chunks count from two places, and where the running one began isn't told."""
    with pytest.raises(
        PolicyError, match=f"'{strategy}' under contract 'pi0_panda', whose joint_delta counts from the"
    ):
        check_reference(strategy, FROM_START)
    for name in ("tabletop_panda", "aloha", "libero_panda", "openvla_panda", "rt1_mobile_panda"):
        check_reference(strategy, load_contract(name))
    told, transform = motion(FROM_START, strategy), JointsRelative(FROM_START.state_slice("joint_position"))
    if strategy in ("rtc_guided", "rtc_prefix", "bid"):
        with pytest.raises(PolicyError, match="nobody tells where a chunk began"):
            continuation(told, observation_of(FROM_START, NS), FROM_START, transform, 10)


@pytest.mark.parametrize("strategy", strategies.OF_EXECUTOR)
def test_what_the_executor_does_alone_suits_every_contract(strategy: str) -> None:
    check_reference(strategy, FROM_START)


@pytest.mark.parametrize(
    ("made_for", "strategy", "sentence"),
    [
        (FROM_START, "rtc_guided", "whose joint_delta counts from the chunk's start; expected actions that are abso"),
        (load_contract("tabletop_panda"), "rtc_prefix", "with policy 'noting', which serves rtc_guided; expected"),
    ],
    ids=["contract", "policy"],
)
def test_a_strategy_is_refused_when_it_is_chosen(made_for: Contract, strategy: str, sentence: str) -> None:
    """Not with the first observation only; once per choice, however often executor_state tells it."""
    errors: list[VlaError] = []
    replanner = Replanner(Noting(made_for, "rtc_guided"), made_for, 0.4, 0, lambda chunk: None, errors.append)
    replanner.follow(motion(made_for, "naive_async"))
    assert not errors
    for _ in range(3):
        replanner.follow(motion(made_for, strategy))
    assert len(errors) == 1 and isinstance(errors[0], PolicyError)
    assert sentence in str(errors[0]) and f"'{strategy}'" in str(errors[0])
    assert replanner.statistics().rejected == {"policy": 1}


def test_no_chunk_is_drawn_for_a_strategy_that_was_refused() -> None:
    chunks: queue.Queue[ActionChunk] = queue.Queue()
    policy = Noting(FROM_START, "rtc_guided")
    replanner = Replanner(policy, FROM_START, 0.4, 0, chunks.put, lambda error: None)
    replanner.start()
    replanner.follow(motion(FROM_START, "rtc_guided"))
    replanner.offer(observation_of(FROM_START, NS))
    deadline = time.monotonic() + 60.0
    while replanner.statistics().rejected["policy"] < 2:
        assert time.monotonic() < deadline, "the observation was refused too"
        time.sleep(0.001)
    assert policy.told.empty() and chunks.empty()
    replanner.follow(motion(FROM_START, "naive_async"))
    replanner.offer(observation_of(FROM_START, 2 * NS))
    assert chunks.get(timeout=60).stamp_ns == 2 * NS
    replanner.stop()


# -- the node ----------------------------------------------------------------------------------------------------------


class Line:
    """policy_node with a policy that notes what it is told, and an executor and a camera beside it."""

    def __init__(self, contract: Contract, spinner: Spinner, policy: Policy) -> None:
        class Node(PolicyNode):
            def load(self, preset: str) -> Policy:
                return policy

        self.contract, self.spinner, self.seen = contract, spinner, observation(contract)
        self.node = spinner.add(Node())
        self.chunks: list[ActionChunkMsg] = []
        qos.subscription(self.node, "action_chunk", ActionChunkMsg, self.chunks.append)
        self._states = qos.publisher(self.node, "executor_state", ExecutorState)
        self._observations = qos.publisher(self.node, "observation", ObservationMsg)

    def tell(self, message: ExecutorState, until: Callable[[], object], what: str) -> None:
        """Publish a state again and again, as an executor does, until something happened."""

        def once() -> object:
            self._states.publish(message)
            return until()

        self.spinner.until(once, what)

    def show(self, stamp_ns: int) -> None:
        """Publish an observation until it is answered."""
        shown = observation_msg(replace(self.seen, stamp_ns=stamp_ns))

        def once() -> object:
            self._observations.publish(shown)
            return self.chunks and stamps.to_ns(self.chunks[-1].header.stamp) == stamp_ns

        self.spinner.until(once, "a chunk")

    @property
    def problem(self) -> str:
        """What stands in its diagnostics."""
        return self.node._status()[0].message


@pytest.fixture
def line(contract: Contract, contract_file: Any) -> Iterator[tuple[Line, Noting]]:
    values = workspace_root() / "config" / "policy.yaml"
    policy = Noting(contract, "rtc_prefix")
    with private_ros(["--ros-args", "--params-file", str(values), "-p", f"contract:={contract_file}"]):
        spinner = Spinner()
        yield Line(contract, spinner, policy), policy
        spinner.close()


def test_the_policy_is_told_what_the_executor_says(line: tuple[Line, Noting], contract: Contract) -> None:
    """Across the middleware bit for bit what one process hands over, refusals in words, and the newest state counts."""
    there, policy = line
    there.show(NS)
    assert policy.told.get(timeout=60) is None, "nobody has said that anything runs"

    told = motion(contract, origin_ns=NS + 123_456_789)
    there.tell(state_of(told, contract), lambda: there.node._replanner._running is not None, "the state")
    there.show(2 * NS)
    assert same(policy.told.get(timeout=60), told)

    bad = state_of(told, contract)
    bad.running_fresh = 1000
    there.tell(bad, lambda: there.problem != "answering", "a refusal")
    assert there.problem.startswith("got 1000 of 11 steps from a policy in executor_state; expected at most 11; fix: ")

    unserved = state_of(replace(told, strategy="bid"), contract)
    there.tell(unserved, lambda: "'bid'" in there.problem, "another refusal")
    assert "strategy 'bid' with policy 'noting', which serves rtc_prefix; expected one that it serves" in there.problem
