"""Messages to core types and back; the only place of this package where both are known, beside `markers`."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Twist, TwistStamped, Vector3, Wrench
from sensor_msgs.msg import JointState

from vla_control.core.executor_status import ExecutorStatus
from vla_control.core.monitor import SOURCES, Verdict
from vla_control.core.robot import RobotConfig
from vla_core.errors import ChunkError
from vla_core.records import LIMITS, MODES
from vla_core.types import ActionChunk, Float64, JointTarget
from vla_msgs.msg import ActionChunk as ActionChunkMsg
from vla_msgs.msg import ControlState, ExecutorState, SafetyState
from vla_msgs.msg import JointTarget as JointTargetMsg
from vla_ros import stamps


def chunk(message: ActionChunkMsg) -> ActionChunk:
    """Chunk whose actions are a view of the message.

    Raises:
        ChunkError: the number of actions isn't horizon times the number of names.
    """
    values = np.asarray(message.actions, np.float32)
    shape = (int(message.horizon), len(message.action_names))
    if values.size != shape[0] * shape[1] or values.size == 0:
        got = f"{values.size} actions for a horizon of {shape[0]} and {shape[1]} names"
        raise ChunkError(got, "horizon x names of them, and at least one", "fill horizon, action_names and actions")
    return ActionChunk(
        stamp_ns=stamps.to_ns(message.header.stamp),
        sequence=int(message.sequence),
        policy=message.policy,
        contract_hash=message.contract_hash,
        action_space=message.action_space,
        action_names=tuple(message.action_names),
        dt_s=float(message.dt_s),
        actions=values.reshape(shape),
        inference_s=float(message.inference_s),
        progress=float(message.progress),
        success_estimate=float(message.success_estimate),
        subtask=message.subtask,
        instruction=message.instruction,
    )


def executor_state(status: ExecutorStatus, base_frame: str) -> ExecutorState:
    """State of the executor."""
    running = status.running
    message = ExecutorState(
        mode=status.mode,
        strategy=status.strategy,
        sequence=status.sequence,
        answers=stamps.to_msg(status.answers_ns),
        steps_consumed=status.steps_consumed,
        steps_left=status.steps_left,
        committed_s=status.committed_s,
        action_names=list(status.action_names),
        committed=array("f", status.committed.tobytes()),
        running_origin=stamps.to_msg(running.origin_ns),
        dt_s=running.dt_s,
        running=array("f", running.actions.tobytes()),
        running_fresh=running.fresh,
        delay_steps=running.delay_steps,
        seam_jump_rad=float(np.abs(status.seam_rad).max()),
        starved_s=status.starved_s,
        chunks_accepted=status.chunks_accepted,
        chunks_rejected=status.chunks_rejected,
        last_error=status.last_error,
    )
    message.header.stamp, message.header.frame_id = stamps.to_msg(status.stamp_ns), base_frame
    return message


def joint_target(target: JointTarget, names: Sequence[str], base_frame: str) -> JointTargetMsg:
    """Target of the joints."""
    message = JointTargetMsg(
        names=list(names),
        position=_doubles(target.q_rad),
        velocity=_doubles(target.qd_rad_s),
        acceleration=_doubles(target.qdd_rad_s2),
        effort=_doubles(target.tau_ff_nm),
        gripper_width=_doubles(target.gripper_width_m),
    )
    message.header.stamp, message.header.frame_id = stamps.to_msg(target.stamp_ns), base_frame
    return message


def control_state(status: np.ndarray, config: RobotConfig) -> ControlState:
    """State of the servo from a STATUS record, shape (1,)."""
    row, j = status[0], len(config.joints)
    x, y, z, qx, qy, qz, qw = (float(v) for v in row["tool_pose"])
    force, torque = ([float(v) for v in part] for part in (row["wrench"][:3], row["wrench"][3:]))
    acting = int(row["limits_acting"])
    message = ControlState(
        mode=MODES[int(row["mode"])],
        names=list(config.joints),
        position=_doubles(row["q"][:j]),
        velocity=_doubles(row["qd"][:j]),
        position_target=_doubles(row["q_target"][:j]),
        effort=_doubles(row["tau"][:j]),
        tool_pose=Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw)),
        tracking_error_m=float(row["error_m"]),
        tracking_error_rad=float(row["error_rad"]),
        external_wrench=Wrench(force=_vector(force), torque=_vector(torque)),
        gripper_width=_doubles(row["gripper_width"][: len(config.grippers)]),
        limits_acting=[name for bit, name in enumerate(LIMITS) if acting >> bit & 1],
        limit_counts=array("Q", row["limit_counts"][: len(LIMITS)].astype(np.uint64).tobytes()),
        limit_names=list(LIMITS),
        joint_share=float(row["joint_share"]),
        stiffness=float(row["stiffness"]),
        max_jerk=float(row["max_jerk"]),
        tick_us_p50=float(row["tick_us_p50"]),
        tick_us_p99=float(row["tick_us_p99"]),
        wake_us_p99=float(row["wake_us_p99"]),
        overruns=int(row["overruns"]),
        answers=stamps.to_msg(int(row["answers_ns"])),
    )
    message.header.stamp, message.header.frame_id = stamps.to_msg(int(row["stamp_ns"])), config.base_frame
    return message


def safety_state(verdict: Verdict, now_ns: int) -> SafetyState:
    """State of the watch."""
    message = SafetyState(
        stopped=verdict.stopped,
        cause=verdict.cause,
        warnings=list(verdict.warnings),
        sources=list(SOURCES),
        age_s=array("f", verdict.age_s),
    )
    message.header.stamp = stamps.to_msg(now_ns)
    return message


def twist(values: Float64, stamp_ns: int, frame: str) -> TwistStamped:
    """Velocity (3,) of the base, vx, vy [m/s], wz [rad/s], in its own frame."""
    vx, vy, wz = (float(value) for value in values)
    message = TwistStamped(twist=Twist(linear=Vector3(x=vx, y=vy), angular=Vector3(z=wz)))
    message.header.stamp, message.header.frame_id = stamps.to_msg(stamp_ns), frame
    return message


def axes(message: TwistStamped) -> Float64:
    """Velocity (3,) of a base, vx, vy [m/s], wz [rad/s]; what a base on a floor can't do is left out."""
    return np.array([message.twist.linear.x, message.twist.linear.y, message.twist.angular.z])


def joints_finite(message: JointState) -> bool:
    """Whether positions and velocities are numbers; effort may be unknown to a driver."""
    return all(map(math.isfinite, message.position)) and all(map(math.isfinite, message.velocity))


def _doubles(values: Any) -> array[float]:
    return array("d", np.ascontiguousarray(values, np.float64).tobytes())


def _vector(values: Sequence[float]) -> Vector3:
    x, y, z = values
    return Vector3(x=x, y=y, z=z)
