"""What travels along the straight line, ROS-free. Arrays are read-only by convention: nobody writes into one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Observation:
    """Stage 1 -> 2.

    Attributes:
        stamp_ns: Capture time of the oldest source [ns, ROS clock].
        instruction: Natural language; empty means that there is no task.
        contract_hash: 16 hex digits.
        view_names: (V,) camera names in contract order.
        view_valid: bool (V,).
        rgb: uint8 (V,H,W,3), 0..255.
        state_names: (S,) in contract order.
        state: float32 (S,), units by contract.
    """

    stamp_ns: int
    instruction: str
    contract_hash: str
    view_names: tuple[str, ...]
    view_valid: NDArray[np.bool_]
    rgb: UInt8
    state_names: tuple[str, ...]
    state: Float32


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """Stage 2 -> 3.

    Attributes:
        stamp_ns: Stamp of the observation that this chunk answers [ns, ROS clock].
        sequence: Counts up per policy process, from 1.
        policy: Name of the policy preset.
        contract_hash: 16 hex digits.
        action_space: As in the contract (`vla_core.action_parts`).
        action_names: (A,) in contract order.
        dt_s: Time between steps [s]; step i is meant for stamp_ns + i * dt_s.
        actions: float32 (T,A), units by contract.
        inference_s: Measured duration of preprocess + model + postprocess [s].
        progress: Estimated task progress, 0..1.
        success_estimate: Probability that the instruction is carried out, 0..1.
        subtask: Text of the sub-task that is followed, may be empty.
        instruction: The instruction that this chunk answers, word for word as in the observation.
    """

    stamp_ns: int
    sequence: int
    policy: str
    contract_hash: str
    action_space: str
    action_names: tuple[str, ...]
    dt_s: float
    actions: Float32
    inference_s: float = 0.0
    progress: float = 0.0
    success_estimate: float = 0.0
    subtask: str = ""
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Stage 3 -> 2: what is being executed while the policy thinks, for policies that continue it.

    Attributes:
        strategy: How the executor combines chunks, and with it how the policy shall draw the next one.
        origin_ns: When step 0 is due [ns, ROS clock].
        dt_s: Time between steps [s].
        actions: float32 (R,A) steps in execution, by the contract, and the brake and hold that would follow; R = 0:
            none.
        delay_steps: How many steps of a new chunk will lie in the past or be committed when it takes effect: the most
            that it was for the last chunks, counted, never estimated from a latency, with a margin for jitter.
        fresh: How many of the steps are a policy's; the others are the brake.
    """

    strategy: str
    origin_ns: int
    dt_s: float
    actions: Float32
    delay_steps: int
    fresh: int


@dataclass(frozen=True, slots=True)
class RobotState:
    """Proprioception at one instant.

    Attributes:
        stamp_ns: Measurement time [ns, ROS clock].
        q_rad: float64 (J,) joint positions by the robot file's joint order.
        qd_rad_s: float64 (J,).
        tau_nm: float64 (J,) measured or commanded torque.
        gripper_width_m: float64 (G,) distance between the finger tips of each gripper [m].
    """

    stamp_ns: int
    q_rad: Float64
    qd_rad_s: Float64
    tau_nm: Float64
    gripper_width_m: Float64


@dataclass(frozen=True, slots=True)
class JointTarget:
    """Stage 3 -> 4.

    Attributes:
        stamp_ns: Instant that the target is meant for [ns, ROS clock].
        q_rad, qd_rad_s, qdd_rad_s2, tau_ff_nm: float64 (J,).
        gripper_width_m: float64 (G,) [m].
    """

    stamp_ns: int
    q_rad: Float64
    qd_rad_s: Float64
    qdd_rad_s2: Float64
    tau_ff_nm: Float64
    gripper_width_m: Float64
