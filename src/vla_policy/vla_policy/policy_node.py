"""Stage 2/4. In: observation (<=30 Hz), executor_state. Out: action_chunk float32[T,A], one per `replan_period_s`.

Lifecycle node. Observations are taken in a short callback and answered in a thread of their own; the newest wins. What
can't be answered is refused with a sentence, counted and shown in /diagnostics, and nothing is published for it.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter

from vla_core.contract import load_contract
from vla_core.errors import ObservationError, PolicyError, VlaError
from vla_core.files import config_path, load_yaml
from vla_core.types import ActionChunk
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState
from vla_msgs.msg import Observation as ObservationMsg
from vla_policy import conversions
from vla_policy.core.policy import Policy, load_policy
from vla_policy.core.replanner import Replanner
from vla_ros import parameters, qos
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.lifecycle import LifecycleNode
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "policy_node.yaml"
_SETTLE_S = 0.2  # how often a finished change of policy is looked for


class PolicyNode(LifecycleNode):
    """Takes observations, publishes chunks."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        self._p = parameters.declare(self, _SCHEMA, self._on_parameters)
        self._chunks = qos.publisher(self, "action_chunk", ActionChunkMsg)
        qos.subscription(self, "observation", ObservationMsg, self._on_observation)
        qos.subscription(self, "executor_state", ExecutorState, self._on_executor)
        self._wanted = self._p.policy
        self._loader: threading.Thread | None = None
        self._change_error = ""
        # steady: a policy is also changed while simulated time stands still
        self.create_timer(_SETTLE_S, self._settle, clock=Clock(clock_type=ClockType.STEADY_TIME))
        Diagnostics(self, self._status)

    # -- life cycle ---------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        self._contract = load_contract(self._p.contract)
        self._frame = load_yaml(config_path("robots", self._contract.robot))["base_frame"]
        self._running = self._wanted
        policy = self.load(self._running)
        period_s, seed = self._p.replan_period_s, self._p.seed
        self._replanner = Replanner(policy, self._contract, period_s, seed, self._publish, self._refuse)

    def load(self, preset: str) -> Policy:
        """The policy of a preset.

        Raises:
            VlaError: it can't be loaded.
        """
        return load_policy(preset, self._contract, self._p.backend)

    def activate(self) -> None:
        self._replanner.start()

    def deactivate(self) -> None:
        """No chunk comes after this; the executor brakes by itself when the last one runs out."""
        self._replanner.stop()

    def cleanup(self) -> None:
        """A policy that is being loaded is for nobody any more."""
        self._loader = None

    # -- in and out ---------------------------------------------------------------------------------------------------

    def _on_observation(self, message: ObservationMsg) -> None:
        if not self.active:
            return
        try:
            self._replanner.offer(conversions.observation(message))
        except ObservationError as error:
            self._replanner.reject(error)

    def _on_executor(self, message: ExecutorState) -> None:
        if not self.active:
            return
        try:
            self._replanner.follow(conversions.running(message))
        except ObservationError as error:
            self._replanner.reject(error)

    def _publish(self, chunk: ActionChunk) -> None:
        self._chunks.publish(conversions.chunk_msg(chunk, self._frame))

    def _refuse(self, error: VlaError) -> None:
        self.get_logger().warning(f"no chunk: {error}")

    # -- change of policy ---------------------------------------------------------------------------------------------

    def _on_parameters(self, values: parameters.Parameters) -> None:
        self._wanted = values.policy

    def _settle(self) -> None:
        """Load what `policy` asks for in the background; when it can't be loaded, take the parameter back."""
        if not self.active or (self._loader is not None and self._loader.is_alive()):
            return
        if self._loader is not None:
            self._loader = None
            if self._change_error:
                self.set_parameters([Parameter("policy", value=self._running)])
        elif self._wanted != self._running:
            self._loader = threading.Thread(target=self._load, args=(self._wanted,), name="loader", daemon=True)
            self._loader.start()

    def _load(self, preset: str) -> None:
        try:
            policy = self.load(preset)
            if threading.current_thread() is not self._loader:
                return  # the node was cleaned up meanwhile
            self._replanner.replace(policy)
        except VlaError as error:
            self._refuse_change(preset, error)
        except Exception as error:  # a fault in a policy's own code must not look like a policy that is loaded
            traceback.print_exc()
            self._refuse_change(
                preset, PolicyError(f"{type(error).__name__}: {error}", "it to load", "mend the policy")
            )
        else:
            self._running, self._change_error = preset, ""
            self.get_logger().info(f"policy is now '{preset}'")

    def _refuse_change(self, preset: str, error: VlaError) -> None:
        self._change_error = f"policy '{preset}' not loaded: {error}"
        self.get_logger().error(self._change_error)

    # -- diagnostics --------------------------------------------------------------------------------------------------

    def _status(self) -> list[Status]:
        if not self.active:
            return [Status(Level.OK, "inactive")]
        s = self._replanner.statistics()
        problem = self._change_error or s.last_error
        values = {
            "policy": self._replanner.policy.name, "chunks": s.chunks, "rate_hz": s.rate_hz,
            "inference_ms_p50": s.inference_ms_p50, "inference_ms_p95": s.inference_ms_p95,
            "rejected": sum(s.rejected.values()), **{f"rejected_{code}": n for code, n in sorted(s.rejected.items())},
        }  # fmt: skip
        return [Status(Level.WARN if problem else Level.OK, problem or "answering", values)]


def main() -> None:
    """Entry point of the process."""
    code = run(PolicyNode)
    gc.collect()  # the node is part of cycles; only when it is gone the middleware removes its shared memory
    sys.stdout.flush()
    sys.stderr.flush()
    # all is tidied; Python's own end would walk all of torch for seconds and wait for a policy that loads
    os._exit(code)


if __name__ == "__main__":
    main()
