"""The inference thread: the newest observation wins, refusals are counted and said once, faults don't end it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from toy_demonstrations import observation

from vla_core.contract import Contract
from vla_core.errors import ObservationError, VlaError
from vla_core.types import NS, ActionChunk, Float32, Observation, Running
from vla_policy.conversions import chunk_msg
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.replanner import Replanner, noise_seed
from vla_policy.core.schedule import ReplanSchedule


class Slow:
    """A policy that answers when it is let."""

    strategies: frozenset[str] = frozenset()

    def __init__(self, contract: Contract, name: str = "slow") -> None:
        self.contract_hash, self.name = contract.hash, name
        self.begun: queue.Queue[Observation] = queue.Queue()
        self.go = threading.Semaphore(1)  # one for the warm-up
        self.error: Exception | None = None
        self._actions = np.zeros((contract.horizon, len(contract.action_names)), np.float32)
        self._actions[:, contract.action_names.index("qw")] = 1.0

    def predict(self, seen: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        if seen.stamp_ns:
            self.begun.put(seen)
        assert self.go.acquire(timeout=20)
        if self.error is not None and seen.stamp_ns:
            raise self.error
        return PolicyOutput(self._actions, 0.0, 0.0)


class Bench:
    def __init__(self, contract: Contract) -> None:
        self.policy = Slow(contract)
        self.chunks: queue.Queue[ActionChunk] = queue.Queue()
        self.errors: queue.Queue[VlaError] = queue.Queue()
        self.replanner = Replanner(self.policy, contract, 0.4, 0, self.chunks.put, self.errors.put)
        self.seen = observation(contract)

    def offer(self, time_s: float, instruction: str = "") -> None:
        changes = {"instruction": instruction} if instruction else {}
        self.replanner.offer(replace(self.seen, stamp_ns=round(time_s * NS), **changes))

    def answered(self) -> float:
        """Stamp of the next chunk [s]."""
        self.policy.go.release()
        return self.chunks.get(timeout=20).stamp_ns / NS


@pytest.fixture
def bench(contract: Contract) -> Iterator[Bench]:
    made = Bench(contract)
    made.replanner.start()
    yield made
    made.policy.go.release(10)
    made.replanner.stop()


def test_the_newest_observation_wins(bench: Bench) -> None:
    bench.offer(1.0)
    bench.policy.begun.get(timeout=20)
    for k in range(2, 6):  # while the first one is being answered
        bench.offer(float(k))
    assert bench.answered() == 1.0 and bench.answered() == 5.0
    assert bench.chunks.empty() and bench.replanner.statistics().chunks == 2


def test_slow_inference_does_not_halve_the_period(bench: Bench) -> None:
    """Regression: an observation that came 50 ms after the one in progress was answered too."""
    bench.offer(1.0)
    bench.policy.begun.get(timeout=20)
    bench.offer(1.05)
    assert bench.answered() == 1.0
    bench.offer(1.1)
    bench.offer(1.4)
    assert bench.answered() == 1.4


def test_a_chunk_carries_the_stamp_it_answers_and_how_long_it_took(bench: Bench, contract: Contract) -> None:
    bench.offer(3.25)
    bench.policy.begun.get(timeout=20)
    bench.policy.go.release()
    chunk = bench.chunks.get(timeout=20)
    assert (chunk.stamp_ns, chunk.sequence, chunk.policy) == (round(3.25 * NS), 1, "slow")
    assert chunk.contract_hash == contract.hash and chunk.inference_s > 0.0


def test_a_chunk_carries_the_instruction_it_answers(bench: Bench) -> None:
    """Even when another one has come while the policy was thinking."""
    bench.offer(1.0, "press the button")
    bench.policy.begun.get(timeout=20)
    bench.offer(2.0, "open the drawer")
    bench.policy.go.release(2)
    answers = [bench.chunks.get(timeout=20) for _ in range(2)]
    assert [chunk.instruction for chunk in answers] == ["press the button", "open the drawer"]
    assert [chunk_msg(chunk, "base").instruction for chunk in answers] == ["press the button", "open the drawer"]


def test_one_refusal_is_said_once_and_counted_always(bench: Bench) -> None:
    bench.policy.error = ObservationError("a dark image", "light", "lift the lid")
    for k in range(1, 4):
        bench.offer(float(k))
        bench.policy.begun.get(timeout=20)
        bench.policy.go.release()
        while bench.replanner.statistics().rejected.get("observation", 0) < k:
            threading.Event().wait(0.001)
    assert bench.errors.qsize() == 1 and "dark image" in bench.replanner.statistics().last_error
    bench.policy.error = None
    bench.offer(9.0)
    assert bench.answered() == 9.0
    assert bench.replanner.statistics().last_error == ""


def test_a_fault_in_a_policy_does_not_end_the_thread(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.policy.error = ZeroDivisionError("in a kernel")
    bench.offer(1.0)
    bench.policy.go.release()
    assert "ZeroDivisionError: in a kernel" in str(bench.errors.get(timeout=20))
    bench.policy.error = None
    bench.offer(2.0)
    assert bench.answered() == 2.0
    assert "in a kernel" in capfd.readouterr().err


def test_another_policy_takes_over_between_two_answers(bench: Bench, contract: Contract) -> None:
    bench.offer(1.0)
    bench.policy.begun.get(timeout=20)
    bench.replanner.replace(Slow(contract, "other"))
    assert bench.answered() == 1.0
    bench.offer(2.0)
    other = bench.replanner.policy
    assert isinstance(other, Slow)
    other.go.release()
    assert bench.chunks.get(timeout=20).policy == "other"


def test_a_stopped_one_is_silent_until_it_is_started_again(bench: Bench) -> None:
    bench.replanner.stop()
    bench.policy.go.release(2)  # the second warm-up and one answer
    bench.offer(1.0)
    assert bench.chunks.empty() and bench.policy.begun.empty()
    bench.replanner.start()
    assert bench.chunks.get(timeout=20).stamp_ns == NS


def test_noise_depends_on_seed_and_stamp_alone() -> None:
    seeds = {noise_seed(seed, stamp) for seed in range(10) for stamp in range(0, 10 * NS, NS)}
    assert len(seeds) == 100 and min(seeds) >= 0 and noise_seed(3, 7) == noise_seed(3, 7)


def test_schedule_goes_by_stamps(contract: Contract) -> None:
    schedule, seen = ReplanSchedule(0.4), observation(contract)

    def due(time_s: float, instruction: str = "a") -> bool:
        now = replace(seen, stamp_ns=round(time_s * NS), instruction=instruction)
        if schedule.due(now):
            schedule.answered(now)
            return True
        return False

    assert [due(t) for t in (1.0, 1.2, 1.399, 1.4, 1.79)] == [True, False, True, False, False]
    assert due(1.45, "b"), "a new instruction is answered at once"
    assert due(0.1, "b"), "a world that was reset starts anew"


class Correcting(Slow):
    """Its corrector adds 0.25 to everything."""

    strategies = frozenset({"a2c2"})

    def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
        return actions + np.float32(0.25)


def corrected_by(bench: Bench) -> None:
    bench.replanner.follow(Running("a2c2", 0, 0.05, np.zeros((0, 8), np.float32), 0, 0))


def test_while_a_policy_thinks_new_observations_correct_its_last_chunk(bench: Bench, contract: Contract) -> None:
    """A2C2: the chunk itself is never published, only what is left of it by the newest observation."""
    policy = Correcting(contract)
    bench.replanner.replace(policy)
    corrected_by(bench)
    bench.offer(1.0)
    assert policy.begun.get(timeout=20).stamp_ns == NS and bench.chunks.empty()
    policy.go.release()
    bench.offer(1.4)  # the next inference: when it begins, the first one has ended
    policy.begun.get(timeout=20)
    late_ns = round((1.0 + 3 * contract.dt_s) * NS)
    bench.offer(late_ns / NS)
    chunk = bench.chunks.get(timeout=20)
    while chunk.stamp_ns != late_ns:  # that for 1.4 s may come before
        chunk = bench.chunks.get(timeout=20)
    policy.go.release()
    assert len(chunk.actions) == contract.horizon - 3 and np.all(chunk.actions[:, :3] == 0.25)
    assert chunk.policy == "slow" and chunk.instruction


def test_a_policy_that_cannot_correct_says_so(bench: Bench) -> None:
    corrected_by(bench)
    bench.offer(1.0)
    bench.policy.go.release()
    assert "'a2c2'" in str(bench.errors.get(timeout=20)) and bench.chunks.empty()
