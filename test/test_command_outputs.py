# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Each kind of command, as a real subscriber of its type receives it."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import HOME  # noqa: E402, I100
from arm_harness import JOINTS  # noqa: E402
from arm_harness import robot  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402


def receive(output, message_type, count=80, **parameters):
    """Give so many commands of a swinging arm, which does not follow them."""
    received = []
    with robot(topic='', output=output, **parameters) as (arm, _):
        arm.observer.listen(message_type, '/arm/joint_command', RELIABLE, received.append)
        arm.wait_for('RUNNING')
        arm.observer.wait(lambda: len(received) >= count, f'{count} commands', arm.node)
        arm.call('hold')
        arm.wait_for('HOLD', 'operator')
        before = len(received)
        arm.observer.wait(lambda: len(received) >= before + 60, 'holds', arm.node)
    return received


def test_joint_trajectory():
    """One point each, a period from now on."""
    received = receive('joint_trajectory', JointTrajectory, command_rate='50.0')
    positions = np.array([message.points[0].positions for message in received])
    assert set(received[0].joint_names) == {*JOINTS, 'gripper'}
    for message in received:
        assert len(message.points) == 1
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
        start = message.points[0].time_from_start
        assert (start.sec, start.nanosec) == (0, 20_000_000)
    assert np.ptp(positions[:, :6], axis=0).max() > 0.01
    assert not np.array(received[-1].points[0].velocities).any()


def test_position_array():
    """In the order of the robot's joints."""
    received = receive('position_array', Float64MultiArray)
    positions = np.array([message.data for message in received])
    assert positions.shape[1] == 7
    np.testing.assert_allclose(positions[0, :6], HOME, atol=0.01)
    assert np.ptp(positions[:, :6], axis=0).max() > 0.01


def test_twist():
    """Along y in the base frame, at the speed of the dataset's deltas, and zero in a hold."""
    received = receive('twist', TwistStamped)
    speeds = np.array([[message.twist.linear.x, message.twist.linear.y, message.twist.linear.z,
                        message.twist.angular.x, message.twist.angular.y, message.twist.angular.z]
                       for message in received])
    assert {message.header.frame_id for message in received} == {'base_link'}
    stamps = [message.header.stamp.sec for message in received]
    assert stamps == sorted(stamps) and stamps[0] > 0
    # 10 mm in 0.2 s at most, along y only.
    assert 0.001 < np.abs(speeds[:, 1]).max() < 0.075
    assert np.abs(np.delete(speeds, 1, axis=1)).max() < 0.05
    assert not speeds[-1].any()
