"""The records of the shared-memory link between hardware, servo, executor and safety monitor (stages 3 and 4).

Every record is a structured dtype of shape (1,); joints and grippers beyond the robot's own count are unused.
Times are on the ROS clock [ns] unless a name says `monotonic`.
"""

from __future__ import annotations

import numpy as np

MAX_JOINTS = 16
MAX_GRIPPERS = 4
MAX_KNOTS = 512
JOINTS = (np.float64, MAX_JOINTS)
GRIPPERS = (np.float64, MAX_GRIPPERS)

#: Hardware -> servo, every tick.
STATE = np.dtype(
    [
        ("tick", np.int64),
        ("stamp_ns", np.int64),
        ("epoch_ns", np.int64),  # stamp of the last reset (the robot may have jumped): older plans are void
        ("q", *JOINTS),
        ("qd", *JOINTS),
        ("tau", *JOINTS),  # [N*m] that the actuators give: measured, or commanded where nothing measures it
        ("gripper_width", *GRIPPERS),  # [m]
        ("torque_limit", *JOINTS),  # [N*m], what the actuators give at most; the servo starts only within it
        ("gripper_force_limit", *GRIPPERS),  # [N]
        ("lockstep", np.int32),  # 1: the hardware waits for the command of this tick
    ],
    align=True,
)

#: Servo -> hardware, every tick.
COMMAND = np.dtype(
    [
        ("tick", np.int64),  # the state's tick that this answers
        ("stamp_ns", np.int64),
        ("tau", *JOINTS),  # [N*m], zero for an arm of interface 'position'
        ("q", *JOINTS),  # [rad], what an arm of interface 'position' is to follow
        ("gripper_width", *GRIPPERS),  # [m]
        ("gripper_force", *GRIPPERS),  # [N]
    ],
    align=True,
)

#: Executor -> servo: a joint trajectory as equidistant knots. It always ends at rest, so the servo comes to a
#: jerk-limited hold by itself whatever dies upstream.
PLAN = np.dtype(
    [
        ("sequence", np.int64),  # ActionChunk.sequence, 0: none
        ("answers_ns", np.int64),  # stamp of the observation that the newest chunk answers
        ("start_ns", np.int64),  # time of knot 0
        ("fresh_until_ns", np.int64),  # from here on the motion is the braking tail: starved
        ("knot_dt_s", np.float64),
        ("count", np.int32),
        ("q", np.float64, (MAX_KNOTS, MAX_JOINTS)),
        ("qd", np.float64, (MAX_KNOTS, MAX_JOINTS)),
        ("qdd", np.float64, (MAX_KNOTS, MAX_JOINTS)),
        ("gripper_width", np.float64, (MAX_KNOTS, MAX_GRIPPERS)),  # [m]
        ("gripper_force", np.float64, (MAX_KNOTS, MAX_GRIPPERS)),  # [N], what the gripper may use to get there
    ],
    align=True,
)

#: Servo -> everybody: what ControlState is made of.
STATUS = np.dtype(
    [
        ("tick", np.int64),
        ("stamp_ns", np.int64),
        ("monotonic_ns", np.int64),
        ("mode", np.int32),  # index into MODES
        ("starved", np.int32),
        ("q", *JOINTS),
        ("qd", *JOINTS),
        ("q_target", *JOINTS),
        ("qd_target", *JOINTS),
        ("qdd_target", *JOINTS),
        ("tau", *JOINTS),
        ("tool_pose", np.float64, 7),  # of the first arm: x y z qx qy qz qw, base frame
        ("wrench", np.float64, 6),  # estimated external force and torque at the tool pressed hardest, base frame
        ("error_m", np.float64),  # largest distance of a tool from its target, and below the largest rotation
        ("error_rad", np.float64),
        ("gripper_width", *GRIPPERS),  # [m]
        ("gripper_target", *GRIPPERS),
        ("limits_acting", np.uint64),  # bit i: LIMITS[i] changed this tick's command
        ("limit_counts", np.uint64, 32),  # room for more than there are LIMITS
        ("max_jerk", np.float64),
        ("tick_us_p50", np.float64),
        ("tick_us_p99", np.float64),
        ("wake_us_p99", np.float64),
        ("overruns", np.uint64),
        ("answers_ns", np.int64),  # observation that the motion in execution answers
        ("applied_monotonic_ns", np.int64),  # when its first torque left
        ("starved_s", np.float64),
        ("joint_share", np.float64),  # 0: operational-space impedance, 1: joint impedance, between: the blend
        ("stiffness", np.float64),  # present factor on every stiffness of the configuration
    ],
    align=True,
)

#: servo_node -> servo loop: how the arm is to feel, and what it carries. May change at any time.
SETTINGS = np.dtype(
    [
        ("compliance", np.int32),  # index into COMPLIANCE
        ("stiffness", np.float64),  # factor on every stiffness of the configuration
        ("force", np.float64),  # factor on the force and torque clamps
        ("payload_kg", np.float64),  # carried beside the gripper itself
        ("payload_com", np.float64, 3),  # its centre of mass in the tool frame [m]
    ],
    align=True,
)

#: Safety monitor -> servo. The servo stops when `stop` is set or when the heartbeat ages.
SAFETY = np.dtype([("stop", np.int32), ("beat", np.int64), ("monotonic_ns", np.int64)], align=True)

#: Camera process -> recorder: when the newest images were captured, to measure image-to-torque latency.
CAPTURES = np.dtype([("next", np.int64), ("stamp_ns", np.int64, 256), ("monotonic_ns", np.int64, 256)], align=True)

COMPLIANCE = ("operational_space", "joint")
MODES = ("hold", "track", "stop")
#: What may change a tick's command; each is counted. joint_acceleration and tool_speed, and joint_velocity where the
#: plan is too fast, slow the target down on its way. From 'workspace' on they brake the arm (mode 'stop'): it would get
#: to where it must not be, an external force, states not finite for longer than a moment, states that are missing or
#: leave a gap, and a stop that was asked for.
LIMITS = (
    "joint_position",
    "joint_velocity",
    "joint_torque",
    "torque_rate",
    "error_clamp",
    "force_clamp",
    "singularity",
    "joint_acceleration",
    "tool_speed",
    "workspace",
    "self_collision",
    "scene_collision",
    "contact_force",
    "non_finite_input",
    "stale_state",
    "safety_stop",
)
