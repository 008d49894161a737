"""Messages of the sensors to drive by: what the core gave, by the conventions of REP-103, REP-117 and REP-145."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import PointField

from vla_ros.stamps import to_ns
from vla_sim import conversions
from vla_sim.core.flat.imu import ImuConfig
from vla_sim.core.flat.lidar import LidarConfig
from vla_sim.core.flat.odometry import Odometry

STAMP = 12_345_678_901
PLANAR = LidarConfig("laser", "laser", 10.0, [0.0], 8, (0.05, 12.0), 0.01, 0.0)


def test_a_scan_keeps_ranges_and_says_in_which_direction_each_was_taken() -> None:
    ranges = np.arange(1, 9, dtype=np.float32)[None]
    ranges[0, 3] = np.inf
    message = conversions.scan(STAMP, PLANAR, ranges)
    assert message.header.frame_id == "laser" and to_ns(message.header.stamp) == STAMP
    np.testing.assert_array_equal(message.ranges, ranges[0])
    angles = message.angle_min + message.angle_increment * np.arange(8)
    np.testing.assert_allclose(angles, -np.pi + 2 * np.pi * np.arange(8) / 8, atol=1e-6)
    assert message.angle_max == pytest.approx(angles[-1], abs=1e-6)
    assert (message.range_min, message.range_max) == pytest.approx((0.05, 12.0))
    assert (message.scan_time, message.time_increment) == (pytest.approx(0.1), 0.0)


def test_a_cloud_holds_every_point_with_its_ring_where_its_fields_say() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    rings = np.array([0, 0, 3, 15, 15], np.uint16)
    message = conversions.PointClouds("lidar")(STAMP, points, rings)
    assert message.header.frame_id == "lidar" and to_ns(message.header.stamp) == STAMP
    assert (message.width, message.height, message.is_dense) == (5, 1, True)
    assert message.row_step == 5 * message.point_step == len(message.data)
    kinds = {PointField.FLOAT32: np.float32, PointField.UINT16: np.uint16}
    raw = np.frombuffer(message.data, np.uint8).reshape(5, message.point_step)
    found = {
        field.name: raw[:, field.offset : field.offset + np.dtype(kinds[field.datatype]).itemsize]
        .copy()
        .view(kinds[field.datatype])[:, 0]
        for field in message.fields
    }
    assert list(found) == ["x", "y", "z", "ring", "time"]
    np.testing.assert_array_equal(np.stack([found[axis] for axis in "xyz"], 1), points)
    np.testing.assert_array_equal(found["ring"], rings)
    np.testing.assert_array_equal(found["time"], 0.0)
    assert len(conversions.PointClouds("lidar")(STAMP, points[:0], rings[:0]).data) == 0


def test_imu_tells_that_it_knows_no_orientation() -> None:
    config = ImuConfig("imu", "imu", 100.0, 0.002, 0.003, 0.03, 0.05)
    message = conversions.imu(STAMP, config, np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 9.8]))
    assert message.header.frame_id == "imu" and message.orientation_covariance[0] == -1.0
    assert (message.angular_velocity.z, message.linear_acceleration.x) == (0.3, 1.0)
    np.testing.assert_allclose(np.reshape(message.angular_velocity_covariance, (3, 3)), np.eye(3) * 0.002**2)
    np.testing.assert_allclose(np.reshape(message.linear_acceleration_covariance, (3, 3)), np.eye(3) * 0.03**2)


def test_odometry_and_its_transform_are_the_same_pose() -> None:
    covariance = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]])
    twist = np.array([[4.0, 0.5], [0.5, 5.0]])
    state = Odometry(1.5, -2.0, 2.5, 0.3, -0.4, covariance, twist)
    message = conversions.odometry(STAMP, state, "odom", "base_link")
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
    turned = message.pose.pose.orientation
    assert 2 * np.arctan2(turned.z, turned.w) == pytest.approx(2.5)
    assert (message.twist.twist.linear.x, message.twist.twist.angular.z) == (0.3, -0.4)
    pose = np.reshape(message.pose.covariance, (6, 6))
    np.testing.assert_array_equal(pose[np.ix_([0, 1, 5], [0, 1, 5])], covariance)
    assert (np.diag(pose)[2:5] > 1e5).all(), "wheels tell nothing about height, roll and pitch"
    np.testing.assert_array_equal(np.reshape(message.twist.covariance, (6, 6))[np.ix_([0, 5], [0, 5])], twist)
    same = conversions.odometry_transform(message)
    assert (same.header.frame_id, same.child_frame_id) == ("odom", "base_link")
    assert to_ns(same.header.stamp) == STAMP == to_ns(message.header.stamp)
    assert (same.transform.translation.x, same.transform.translation.y) == (1.5, -2.0)
    assert same.transform.rotation == turned
