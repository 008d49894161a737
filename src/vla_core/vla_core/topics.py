"""Every topic of the stack, written once: type, rate, quality of service, staleness limit. Names are relative.

Nodes take their QoS from here, the README table is generated from here, and a test compares a running graph with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One arrow.

    Attributes:
        type: ROS interface type.
        owner: Node that publishes it ('driver' stands for camera and robot drivers or vla_sim, 'person' for RViz,
            'other' for a program started beside the stack: Nav2, FAST-LIVO2).
        rate_hz: Nominal rate; 0: on change.
        reliable: False means best effort.
        depth: Queue depth.
        latched: Transient local durability: late subscribers get the last message.
        max_age_s: Older than this is stale for its consumers; 0: no limit.
        only_with: What a robot must have for this arrow to exist ('base', 'navigation', 'detector', 'lidar',
            'lidar_3d', 'imu', 'battery', see `vla_bringup.graph.equipment`); empty: always there.
    """

    type: str
    owner: str
    rate_hz: float
    reliable: bool
    depth: int = 1
    latched: bool = False
    max_age_s: float = 0.0
    only_with: str = ""


TOPICS: dict[str, Topic] = {
    "{camera}/image_raw": Topic("sensor_msgs/msg/Image", "driver", 20, False, 2, max_age_s=0.25),
    "{camera}/depth/image_raw": Topic("sensor_msgs/msg/Image", "driver", 20, False, 2, max_age_s=0.25),
    "{camera}/camera_info": Topic("sensor_msgs/msg/CameraInfo", "driver", 20, False, 2),
    "joint_states": Topic("sensor_msgs/msg/JointState", "driver", 100, True, 10, max_age_s=0.1),
    "scan": Topic("sensor_msgs/msg/LaserScan", "driver", 10, False, 5, max_age_s=0.5, only_with="lidar"),
    "points": Topic("sensor_msgs/msg/PointCloud2", "driver", 10, False, 2, max_age_s=0.5, only_with="lidar_3d"),
    "imu": Topic("sensor_msgs/msg/Imu", "driver", 100, False, 10, max_age_s=0.1, only_with="imu"),
    "odom": Topic("nav_msgs/msg/Odometry", "driver", 50, True, 10, max_age_s=0.2, only_with="base"),
    "instruction": Topic("std_msgs/msg/String", "mission_node", 0, True, latched=True),
    "observation": Topic("vla_msgs/msg/Observation", "observation_node", 20, False, 2, max_age_s=0.3),
    "action_chunk": Topic("vla_msgs/msg/ActionChunk", "policy_node", 2.5, True, 4, max_age_s=1.0),
    "executor_state": Topic("vla_msgs/msg/ExecutorState", "executor_node", 20, False, 2, max_age_s=0.5),
    "joint_target": Topic("vla_msgs/msg/JointTarget", "executor_node", 50, False, 2),
    "executor_node/markers": Topic("visualization_msgs/msg/MarkerArray", "executor_node", 5, True, 1),
    "control_state": Topic("vla_msgs/msg/ControlState", "servo_node", 50, False, 2, max_age_s=0.2),
    "safety_state": Topic("vla_msgs/msg/SafetyState", "safety_monitor_node", 10, True, 1, latched=True, max_age_s=0.5),
    "base_target": Topic("geometry_msgs/msg/TwistStamped", "executor_node", 50, False, 2, only_with="base"),
    "cmd_vel_nav": Topic("geometry_msgs/msg/TwistStamped", "navigator_node", 10, False, 2, only_with="navigation"),
    "cmd_vel_nav_unstamped": Topic("geometry_msgs/msg/Twist", "other", 20, False, 2, only_with="navigation"),
    "cmd_vel": Topic("geometry_msgs/msg/TwistStamped", "base_node", 50, True, 1, only_with="base"),
    "cmd_vel_unstamped": Topic("geometry_msgs/msg/Twist", "base_node", 50, True, 1, only_with="base"),
    "aft_mapped_to_init": Topic("nav_msgs/msg/Odometry", "other", 10, False, 10, only_with="navigation"),
    "initialpose": Topic("geometry_msgs/msg/PoseWithCovarianceStamped", "person", 0, True, only_with="navigation"),
    "map": Topic("nav_msgs/msg/OccupancyGrid", "slam_node", 0, True, latched=True, only_with="navigation"),
    "battery_state": Topic("sensor_msgs/msg/BatteryState", "driver", 1, False, only_with="battery"),
    "said": Topic("std_msgs/msg/String", "person", 0, True, only_with="navigation"),
    "plan": Topic("nav_msgs/msg/Path", "navigator_node", 0, True, only_with="navigation"),
    "local_costmap/costmap": Topic(
        "nav_msgs/msg/OccupancyGrid", "navigator_node", 2, True, latched=True, only_with="navigation"
    ),
    "global_costmap/costmap": Topic(
        "nav_msgs/msg/OccupancyGrid", "navigator_node", 1, True, latched=True, only_with="navigation"
    ),
    "explorer_node/markers": Topic(
        "visualization_msgs/msg/MarkerArray", "explorer_node", 1, True, only_with="navigation"
    ),
    "explorer_node/seen": Topic("nav_msgs/msg/OccupancyGrid", "explorer_node", 1, True, only_with="navigation"),
    "objects": Topic(
        "vision_msgs/msg/Detection3DArray", "semantic_map_node", 2, True, latched=True, only_with="detector"
    ),
    "semantic_map_node/markers": Topic(
        "visualization_msgs/msg/MarkerArray", "semantic_map_node", 1, True, only_with="detector"
    ),
    "/diagnostics": Topic("diagnostic_msgs/msg/DiagnosticArray", "all", 1, True, 10),
    "/clock": Topic("rosgraph_msgs/msg/Clock", "driver", 100, False, 1),
    "/tf": Topic("tf2_msgs/msg/TFMessage", "driver", 50, True, 100),
    "/tf_static": Topic("tf2_msgs/msg/TFMessage", "driver", 0, True, 10, latched=True),
}


def topic(name: str) -> Topic:
    """Entry for a concrete name such as 'front/image_raw'.

    Raises:
        KeyError: the name stands nowhere in the table.
    """
    if name in TOPICS:
        return TOPICS[name]
    _, _, rest = name.partition("/")
    return TOPICS["{camera}/" + rest]
