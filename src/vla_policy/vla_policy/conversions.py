"""Messages to core types and back; the only place of this package where both are known."""

from __future__ import annotations

import math
from array import array

import numpy as np

from vla_core import strategies
from vla_core.errors import ObservationError
from vla_core.types import ActionChunk, Observation, Running
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ExecutorState
from vla_msgs.msg import Observation as ObservationMsg
from vla_ros import stamps


def observation(message: ObservationMsg) -> Observation:
    """Observation whose pixels and state are views of the message; whether it fits a contract is for the policy to say.

    Raises:
        ObservationError: sizes contradict each other.
    """
    shape = (len(message.view_names), int(message.height), int(message.width), 3)
    rgb = np.asarray(message.rgb, np.uint8)
    if rgb.size != np.prod(shape) or len(message.view_valid) != shape[0]:
        got = f"{rgb.size} bytes and {len(message.view_valid)} flags for views of shape {shape}"
        raise ObservationError(got, "V*H*W*3 bytes and V flags", "mend the publisher of the observation")
    return Observation(
        stamp_ns=stamps.to_ns(message.header.stamp),
        instruction=message.instruction,
        contract_hash=message.contract_hash,
        view_names=tuple(message.view_names),
        view_valid=np.array(message.view_valid, np.bool_),
        rgb=rgb.reshape(shape),
        state_names=tuple(message.state_names),
        state=np.asarray(message.state, np.float32),
    )


def running(message: ExecutorState) -> Running:
    """What is being executed; whether it fits a contract is for the replanner to say.

    Raises:
        ObservationError: the message contradicts itself, or names a strategy that nobody knows.
    """
    width, actions = len(message.action_names), np.asarray(message.running, np.float32)
    if width == 0 or actions.size % width:
        raise _unlike(f"{actions.size} values of {width} actions", "a whole number of steps")
    steps, dt_s = actions.size // width, float(message.dt_s)
    if not np.isfinite(actions).all():
        raise _unlike("steps with NaN or infinity", "finite numbers")
    if not 0.0 < dt_s < math.inf:
        raise _unlike(f"{dt_s} s between steps", "a time above 0")
    if message.running_fresh > steps:
        raise _unlike(f"{message.running_fresh} of {steps} steps from a policy", f"at most {steps}")
    if message.strategy not in strategies.ALL:
        raise _unlike(f"strategy '{message.strategy}'", f"one of {', '.join(strategies.ALL)}")
    return Running(
        strategy=message.strategy,
        origin_ns=stamps.to_ns(message.running_origin),
        dt_s=dt_s,
        actions=actions.reshape(steps, width),
        delay_steps=int(message.delay_steps),
        fresh=int(message.running_fresh),
    )


def _unlike(got: str, expected: str) -> ObservationError:
    return ObservationError(f"{got} in executor_state", expected, "run executor and policy of one version")


def chunk_msg(chunk: ActionChunk, frame: str) -> ActionChunkMsg:
    """ActionChunk message, stamped with the observation that it answers; `frame` is the robot's base."""
    message = ActionChunkMsg(
        instruction=chunk.instruction,
        sequence=chunk.sequence,
        policy=chunk.policy,
        contract_hash=chunk.contract_hash,
        action_space=chunk.action_space,
        action_names=list(chunk.action_names),
        dt_s=chunk.dt_s,
        horizon=chunk.actions.shape[0],
        actions=array("f", np.ascontiguousarray(chunk.actions, np.float32).tobytes()),
        inference_s=chunk.inference_s,
        progress=chunk.progress,
        success_estimate=chunk.success_estimate,
        subtask=chunk.subtask,
    )
    message.header.stamp, message.header.frame_id = stamps.to_msg(chunk.stamp_ns), frame
    return message
