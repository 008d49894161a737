"""Runs a policy in a thread of its own: the newest observation wins, answers come as action chunks."""

from __future__ import annotations

import hashlib
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from vla_core.contract import Contract
from vla_core.errors import PolicyError, VlaError
from vla_core.strategies import A2C2
from vla_core.types import ActionChunk, Observation, Running
from vla_policy.core.drawing.correction import correction_of
from vla_policy.core.executed import check_reference, fitted
from vla_policy.core.policy import Policy, PolicyOutput, check_strategy
from vla_policy.core.schedule import ReplanSchedule

_REMEMBERED = 200  # inference times for the percentiles


@dataclass(frozen=True, slots=True)
class ReplannerStatistics:
    """Since start, but percentiles and rate over the last inferences.

    Attributes:
        chunks: Chunks made.
        rejected: Refused observations by error code.
        last_error: Sentence of the newest refusal, empty once a chunk was made again.
        inference_ms_p50, inference_ms_p95: Duration of `predict` [ms]; 0 before the first.
        rate_hz: Chunks per second of monotonic time; 0 before the second.
    """

    chunks: int
    rejected: dict[str, int]
    last_error: str
    inference_ms_p50: float
    inference_ms_p95: float
    rate_hz: float


def noise_seed(seed: int, stamp_ns: int) -> int:
    """Seed of the noise for one observation: the same run draws the same noise, whatever came in between."""
    digest = hashlib.blake2b(f"{seed}:{stamp_ns}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Replanner:
    """Owns the inference thread, and one for corrections (A2C2) beside it. `offer` and `replace` return at once."""

    def __init__(
        self,
        policy: Policy,
        contract: Contract,
        period_s: float,
        seed: int,
        publish: Callable[[ActionChunk], None],
        refuse: Callable[[VlaError], None],
    ) -> None:
        """Prepare; `start` begins.

        Args:
            policy: First policy.
            contract: Of observations and chunks.
            period_s: Time between answered observations, by capture stamp [s].
            seed: Of the sampling noise.
            publish: Called with every chunk, in the inference or the correction thread.
            refuse: Called once per kind of refusal until a chunk succeeds again, in the inference thread or in that of
                `follow` and `reject`.
        """
        self.contract, self._seed = contract, seed
        self._adopt(policy)
        self._publish, self._refuse = publish, refuse
        self._schedule = ReplanSchedule(period_s)
        self._newest: Observation | None = None
        self._to_correct: Observation | None = None
        self._running: Running | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: tuple[threading.Thread, ...] = ()
        self._sequence = 0
        self._rejected: Counter[str] = Counter()
        self._said: set[str] = set()
        self._last_error = ""
        self._inference_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._made_at: deque[float] = deque(maxlen=_REMEMBERED)

    def start(self) -> None:
        """Run one inference that doesn't count (it pays for lazy initialisation), then begin to answer."""
        warm_up(self.policy, self.contract)
        self._stopping = False
        runs = {"inference": self._run, "correction": self._run_corrections}
        self._threads = tuple(threading.Thread(target=run, name=name, daemon=True) for name, run in runs.items())
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the inference in progress and end the threads; pending observations are dropped."""
        with self._changed:
            self._stopping, self._newest, self._to_correct = True, None, None
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = ()

    def follow(self, running: Running) -> None:
        """Take note of what is being executed, for policies that continue it.

        A strategy that can't be served is refused as soon as it is chosen, and again by every answer that it costs.

        Raises:
            ObservationError: the steps are of another contract.
        """
        running = fitted(running, self.contract)
        with self._changed:
            chosen = self._running is None or running.strategy != self._running.strategy
            self._running, policy = running, self.policy
        if chosen:
            self._attempt(partial(self._check, policy, running.strategy))

    def offer(self, observation: Observation) -> None:
        """Take an observation if it is due; it replaces one that still waits. Under A2C2 all correct the last chunk."""
        with self._changed:
            if self._schedule.due(observation):
                self._newest = observation
            if self._corrects:
                self._to_correct = observation
            self._changed.notify_all()

    def replace(self, policy: Policy) -> None:
        """Answer with another policy from now on; an inference in progress still ends with the old one."""
        warm_up(policy, self.contract)
        with self._changed:
            self._adopt(policy)

    def reject(self, error: VlaError) -> None:
        """Count an observation that can't be answered; say so once per kind."""
        with self._changed:
            self._rejected[error.code] += 1
            self._last_error = str(error)
            known = self._last_error in self._said
            self._said.add(self._last_error)
        if not known:
            self._refuse(error)

    def statistics(self) -> ReplannerStatistics:
        """What happened so far."""
        with self._changed:
            times_ms = np.array(self._inference_s or [0.0]) * 1e3
            span_s = self._made_at[-1] - self._made_at[0] if len(self._made_at) > 1 else 0.0
            return ReplannerStatistics(
                chunks=self._sequence,
                rejected=dict(self._rejected),
                last_error=self._last_error,
                inference_ms_p50=float(np.percentile(times_ms, 50)),
                inference_ms_p95=float(np.percentile(times_ms, 95)),
                rate_hz=(len(self._made_at) - 1) / span_s if span_s else 0.0,
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._newest is None and not self._stopping:
                    self._changed.wait()
                if self._stopping or self._newest is None:
                    return
                observation, self._newest = self._newest, None
                if not self._schedule.due(observation):  # it came during the inference before, right after its own
                    continue
                policy, running = self.policy, self._running
            self._attempt(partial(self._answer, policy, observation, running))

    def _run_corrections(self) -> None:
        while True:
            with self._changed:
                while self._to_correct is None and not self._stopping:
                    self._changed.wait()
                if self._stopping or self._to_correct is None:
                    return
                observation, self._to_correct = self._to_correct, None
            self._attempt(partial(self._correct, observation))

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except VlaError as error:
            self.reject(error)
        except Exception as error:
            traceback.print_exc()  # a fault of ours: the thread stays alive, and everybody hears of it
            self.reject(PolicyError(f"{type(error).__name__}: {error}", "an inference without faults", "report it"))

    def _correct(self, observation: Observation) -> None:
        """Publish what is left of the last chunk, corrected by what is seen now."""
        with self._changed:
            correction, name = self._correction, self.policy.name
        corrected = None if correction is None else correction.correct(observation)
        if corrected is not None:
            self._publish(self._chunk(observation, corrected, 0.0, name))

    def _adopt(self, policy: Policy) -> None:
        self.policy = policy
        self._correction = correction_of(policy, self.contract)

    @property
    def _corrects(self) -> bool:
        return self._running is not None and self._running.strategy == A2C2

    def _hand_on(self, observation: Observation, output: PolicyOutput, inference_s: float, name: str) -> None:
        """Publish an answer, or keep it as what the next observations correct."""
        with self._changed:
            correction = self._correction if self._corrects else None
        if correction is None:
            self._publish(self._chunk(observation, output, inference_s, name))
        else:
            correction.take(output, observation.stamp_ns, observation.instruction)

    def _check(self, policy: Policy, strategy: str) -> None:
        check_reference(strategy, self.contract)
        check_strategy(strategy, policy.strategies, policy.name)

    def _answer(self, policy: Policy, observation: Observation, running: Running | None) -> None:
        self._check(policy, "" if running is None else running.strategy)
        began = time.monotonic()
        output = policy.predict(observation, noise_seed(self._seed, observation.stamp_ns), running)
        ended = time.monotonic()
        with self._changed:
            self._schedule.answered(observation)
            self._inference_s.append(ended - began)
            self._made_at.append(ended)
            self._last_error = ""
            self._said.clear()
        self._hand_on(observation, output, ended - began, policy.name)

    def _chunk(self, observation: Observation, output: PolicyOutput, inference_s: float, name: str) -> ActionChunk:
        with self._changed:
            self._sequence += 1
            sequence = self._sequence
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            sequence=sequence,
            policy=name,
            contract_hash=self.contract.hash,
            action_space=self.contract.action_space,
            action_names=self.contract.action_names,
            dt_s=self.contract.dt_s,
            actions=output.actions,
            inference_s=inference_s,
            progress=output.progress,
            success_estimate=output.success_estimate,
            subtask=output.subtask,
            instruction=observation.instruction,
        )


def warm_up(policy: Policy, contract: Contract) -> None:
    """One inference on a blank observation whose answer is thrown away.

    Raises:
        VlaError: the policy can't run.
    """
    names = contract.state_names
    state = np.zeros(len(names), np.float32)
    if any(block.key == "tool_pose" for block in contract.state):
        state[contract.state_slice("tool_pose").stop - 1] = 1.0  # identity quaternion
    blank = Observation(
        stamp_ns=0,
        instruction="go",
        contract_hash=contract.hash,
        view_names=contract.view_names,
        view_valid=np.ones(len(contract.cameras), np.bool_),
        rgb=np.zeros(contract.rgb_shape, np.uint8),
        state_names=names,
        state=state,
    )
    policy.predict(blank, 0)
