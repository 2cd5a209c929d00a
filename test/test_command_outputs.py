# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Commands of each output, as a subscriber receives them, meet the rules of their controller."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import HOME  # noqa: E402, I100
from arm_harness import JOINTS  # noqa: E402
from arm_harness import robot  # noqa: E402
from controller_rules import array_refusal  # noqa: E402
from controller_rules import points  # noqa: E402
from controller_rules import TrajectoryController  # noqa: E402
from controller_rules import twist_refusal  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402
from vla_ros.robot.description import load_robot  # noqa: E402

#: A deep queue, like a controller's: no message is lost while this process is busy.
DEEP = QoSProfile(depth=1000)
ARM, GRIPPER = '/arm/joint_command', '/gripper/joint_command'
UPDATE = 0.002


class Listener:
    """The messages of a topic, and the times at which they were sent."""

    def __init__(self, arm, message_type, topic):
        self.messages = []
        self.times = []
        arm.observer.listen_with_info(message_type, topic, DEEP, self.take)

    def take(self, message, info):
        """Keep a message with the time of its sending, in s of the system's clock."""
        self.times.append(1e-9 * info['source_timestamp'])
        self.messages.append(message)


def receive(output, message_type, gripper_type=None, count=120, **parameters):
    """Return the commands for an arm that does not follow them, first moving and then held."""
    with robot(topic='', output=output, **parameters) as (arm, _):
        received = Listener(arm, message_type, ARM)
        grippers = Listener(arm, gripper_type, GRIPPER) if gripper_type else None
        arm.wait_for('RUNNING')
        arm.observer.wait(lambda: len(received.messages) >= count, f'{count} commands', arm.node)
        arm.call('hold')
        arm.wait_for('HOLD', 'operator')
        before = len(received.messages)
        arm.observer.wait(lambda: len(received.messages) >= before + 60, 'holds', arm.node)
    return received, grippers


def follow(listener, joints, release, start):
    """Replay messages in time to a controller; return its commands and rejections."""
    controller = TrajectoryController(joints, release, start)
    pending = list(zip(listener.times, map(points, listener.messages)))
    commands, refusals = [], []
    for now in np.arange(listener.times[0], listener.times[-1] + 0.5, UPDATE).tolist():
        while pending and pending[0][0] <= now:
            refusals.append(controller.take(pending.pop(0)[1], now))
        commands.append(controller.update(now))
    return [np.array(rows) for rows in zip(*filter(None, commands))], refusals


def assert_smooth(commands, limits):
    """Check the commands of the hardware against the robot's limits."""
    speeds = np.diff(commands[0], axis=0) / UPDATE
    assert (np.abs(speeds) <= 1.02 * limits.velocity[:speeds.shape[1]]).all()
    steps = np.abs(np.diff(commands[1], axis=0))
    # The jerk of a new plan acts for as long as its message took, 20 ms on a busy machine.
    allowed = UPDATE * limits.acceleration + 0.5 * limits.jerk * 0.02 ** 2
    assert (steps <= 2.0 * allowed[:speeds.shape[1]]).all(), steps.max(axis=0)


@pytest.mark.parametrize('rate, lead, releases', [
    ('100.0', '0.0', ('humble', 'jazzy', 'lyrical')), ('25.0', '0.02', ('lyrical', 'rolling'))])
def test_trajectories_are_accepted_by_the_controllers_of_every_release(rate, lead, releases):
    """The controllers of the arm and of the gripper both end at rest."""
    arm, gripper = receive('joint_trajectory', JointTrajectory, JointTrajectory,
                           command_rate=rate, trajectory__lead=lead)
    limits = load_robot('six_axis_arm').limits
    for release in releases:
        commands, refusals = follow(arm, JOINTS, release, HOME)
        assert len(refusals) == len(arm.messages) and not any(refusals), set(refusals)
        assert_smooth(commands, limits)
        assert np.ptp(commands[0], axis=0).max() > 0.01
        assert not commands[1][-1].any()
        _, refusals = follow(gripper, ['gripper'], release, [0.04])
        assert refusals and not any(refusals), set(refusals)
    assert {message.header.frame_id for message in arm.messages} >= {''}, 'a hold has no frame'


def test_a_controller_of_arm_and_gripper_gets_one_message():
    arm, gripper = receive('joint_trajectory', JointTrajectory, JointTrajectory,
                           gripper__output='together')
    _, refusals = follow(arm, [*JOINTS, 'gripper'], 'jazzy', [*HOME, 0.04])
    assert refusals and not any(refusals), set(refusals)
    assert not gripper.messages


def test_an_emergency_stop_sends_one_braking_trajectory():
    with robot(topic='', output='joint_trajectory', trajectory__lookahead='2.0') as (arm, _):
        received = Listener(arm, JointTrajectory, ARM)
        arm.wait_for('RUNNING')

        def is_moving():
            return received.messages and np.abs(received.messages[-1].points[0].velocities
                                                ).max() > 0.02

        arm.observer.wait(is_moving, 'motion', arm.node)
        arm.press()
        pressed = time.time()
        arm.wait_for('ESTOP')
        arm.observer.wait(lambda: time.time() - received.times[-1] > 0.3, 'silence', arm.node)
        stop, late = points(received.messages[-1]), received.times[-1] - pressed
    # Milliseconds, and what a busy machine takes; the trajectory before goes on for two seconds.
    assert late < 0.5, f'{late:.3f} s after the press'
    assert_brakes(stop)


def test_the_first_trajectory_of_a_hold_brakes():
    with robot(topic='', output='joint_trajectory', trajectory__lookahead='2.0') as (arm, _):
        received = Listener(arm, JointTrajectory, ARM)
        arm.wait_for('RUNNING')
        arm.observer.wait(lambda: len(received.messages) > 50, 'commands', arm.node)
        arm.call('hold')
        arm.wait_for('HOLD', 'operator')
        arm.observer.wait(
            lambda: not any(message.header.frame_id for message in received.messages[-20:]),
            'holds', arm.node)
    frames = [message.header.frame_id for message in received.messages]
    first = max(index for index, frame in enumerate(frames) if frame) + 1
    assert_brakes(points(received.messages[first]))


def assert_brakes(stop):
    """Check that a trajectory comes to rest as soon as the limits allow."""
    limits = load_robot('six_axis_arm').limits
    rest = next(time for time, row in zip(stop.times, stop.rows) if not row[1].any()
                or np.abs(row[1]).max() < 1e-9)
    speeds = np.abs(stop.rows[0][1])
    # At most: the acceleration turned round, and the way down to rest; in steps of a waypoint.
    most = (speeds / limits.acceleration[:6] + 2.5 * limits.acceleration[:6] / limits.jerk[:6])
    assert rest <= most.max() + 0.02, (rest, most)
    assert not stop.rows[-1][1].any()


def test_a_position_array_has_the_robots_joints_in_their_order():
    arm, gripper = receive('position_array', Float64MultiArray, Float64MultiArray)
    positions = np.array([message.data for message in arm.messages])
    assert not any(array_refusal(message.data, 6) for message in arm.messages)
    assert gripper.messages
    assert not any(array_refusal(message.data, 1) for message in gripper.messages)
    np.testing.assert_allclose(positions[0], HOME, atol=0.01)
    assert np.ptp(positions, axis=0).max() > 0.01


def test_a_joint_state_names_each_joint_of_arm_and_gripper():
    arm, gripper = receive('joint_state', JointState, JointState, gripper__output='joint_state')
    for listener, names in ((arm, JOINTS), (gripper, ['gripper'])):
        assert listener.messages
        for message in listener.messages:
            assert list(message.name) == names
            assert len(message.position) == len(message.velocity) == len(names)
            assert np.isfinite([*message.position, *message.velocity]).all()


def test_a_twist_is_in_the_base_frame_at_the_speed_of_the_deltas_and_zero_in_a_hold():
    arm, gripper = receive('twist', TwistStamped, JointTrajectory)
    received = arm.messages
    frames = {'base_link', 'tool'}
    assert not [refusal for now, message in zip(arm.times, received)
                if (refusal := twist_refusal(message, now, frames))]
    _, refusals = follow(gripper, ['gripper'], 'jazzy', [0.04])
    assert refusals and not any(refusals), set(refusals)
    speeds = np.array([[message.twist.linear.x, message.twist.linear.y, message.twist.linear.z,
                        message.twist.angular.x, message.twist.angular.y, message.twist.angular.z]
                       for message in received])
    assert {message.header.frame_id for message in received} == {'base_link'}
    stamps = [message.header.stamp.sec for message in received]
    assert stamps == sorted(stamps) and stamps[0] > 0
    # 10 mm in 0.2 s at most, along y only.
    assert 0.001 < np.abs(speeds[:, 1]).max() < 0.075
    across = np.abs(np.delete(speeds, 1, axis=1)).max(axis=1)
    assert across.max() < 0.05, speeds[max(0, across.argmax() - 3):across.argmax() + 3]
    assert not speeds[-1].any()
