# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm with real processes: it moves within its limits, and every fault holds it."""

import time

import arms
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import assert_held  # noqa: E402, I100
from arm_harness import CameraProcess  # noqa: E402
from arm_harness import NODE  # noqa: E402
from arm_harness import robot  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from rclpy.qos import QoSDurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402


@pytest.fixture(scope='module')
def running():
    """Yield a moving arm for all tests that leave it moving."""
    with robot() as (arm, camera):
        arm.wait_for('RUNNING')
        yield arm, camera


def test_commands_stay_within_the_limits_and_carry_the_images_frame(running):
    """The command rate is reached, too."""
    arm, _ = running
    arm.wait_for_motion()
    commands = arm.wait_for_commands(200)
    limits = arms.six_axis_arm().limits
    assert list(commands[0].name) == list(limits.names)
    assert {command.header.frame_id for command in commands} == {'camera'}
    positions = np.array([command.position for command in commands])
    velocities = np.array([command.velocity for command in commands])
    assert (positions >= limits.lower).all() and (positions <= limits.upper).all()
    assert (np.abs(velocities) <= limits.velocity).all()
    # Commands follow the clock of the node; the reception times here only have its mean.
    assert (np.abs(np.diff(positions, axis=0)) <= limits.velocity * 0.2).all()
    assert float(arm.wait_for('RUNNING')['command rate [Hz]']) > 50.0


def test_without_teleop_enabled_there_is_no_takeover_interface(running):
    arm, _ = running
    node = arm.observer.node
    arm.observer.wait_for_match(arm.button, arm.node)
    for topic in ('deadman', 'joint_command', 'twist'):
        assert node.count_subscribers(f'/teleop/{topic}') == 0
    services = {name for name, _ in node.get_service_names_and_types()}
    assert f'{NODE}/rearm' in services and f'{NODE}/resume' not in services
    assert arm.wait_for('RUNNING')['control mode'] == 'AUTONOMOUS'


def test_a_killed_camera_holds_the_arm_and_a_new_one_ends_the_hold(running):
    arm, camera = running
    camera.kill()
    killed = time.monotonic()
    arm.wait_for('HOLD', 'stale image')
    assert time.monotonic() - killed < 2.0  # max_age is 0.5 s; bench_stop.py measures the time
    assert_held(arm)
    replacement = CameraProcess(arm.observer.context.get_domain_id())
    camera._process = replacement._process
    arm.wait_for('RUNNING')
    arm.wait_for_motion()


@pytest.mark.parametrize('mode', ['bgr8', 'mono8'])
def test_a_camera_may_change_its_encoding_at_run_time(running, mode):
    arm, camera = running
    camera.set_mode(mode)
    arm.wait_for_motion()
    camera.set_mode('live')
    arm.wait_for('RUNNING')


def test_repeated_pixels_of_a_moving_arm_hold_it(running):
    arm, camera = running
    arm.wait_for('RUNNING')
    camera.set_mode('freeze')
    arm.wait_for('HOLD', 'frozen image: the camera sends the same pixels')
    assert_held(arm)
    camera.set_mode('live')
    arm.wait_for('RUNNING')


def test_a_repeated_image_with_its_old_stamp_holds_the_arm(running):
    arm, camera = running
    camera.set_mode('stuck')
    arm.wait_for('HOLD', 'image')
    camera.set_mode('live')
    arm.wait_for('RUNNING')


def test_silent_joint_states_hold_the_arm_until_they_return(running):
    arm, _ = running
    arm.is_silent = True
    try:
        arm.wait_for('HOLD', 'stale joint states')
        with arm.observer.changed:
            before = len(arm.observer.diagnostics)
        assert_held(arm)
        # Valid results continue, and none of them ends the hold.
        assert {status['state'] for status in arm.observer.diagnostics[before:]} <= {'HOLD'}
    finally:
        arm.is_silent = False
    arm.wait_for('RUNNING')


@pytest.mark.parametrize('failure, reason', [
    ('crash', 'policy error: RuntimeError: out of everything'), ('invalid', 'invalid tokens'),
    ('nan', 'not finite'), ('far', 'limit: the tip would be at'), ('beyond', 'unreachable')])
def test_an_invalid_result_holds_the_arm_until_a_valid_one(running, failure, reason):
    arm, _ = running
    arm.observer.instruct(failure)
    arm.wait_for('HOLD', reason)
    assert_held(arm)
    arm.observer.instruct('swing')
    arm.wait_for('RUNNING')


@pytest.mark.parametrize('failure, reason', [
    ('memory', 'out of memory'), ('jump', 'jump')])
def test_a_jump_or_out_of_memory_holds_until_a_rearm(running, failure, reason):
    """Another instruction does not end the hold."""
    arm, _ = running
    arm.observer.instruct(failure)
    arm.wait_for('HOLD', reason)
    arm.observer.instruct('swing')
    status = arm.observer.diagnostics
    arm.observer.wait(lambda: status[-1]['instruction'] == 'swing', 'the instruction', arm.node)
    arm.wait_for('HOLD', '~/rearm')
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')


def test_a_subscriber_of_commands_with_another_qos_holds(running):
    """Such a driver would never receive a command. The next valid result ends the hold."""
    arm, _ = running
    arm.wait_for('RUNNING')
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    arm.observer.node.create_subscription(JointState, '/arm/joint_command', print, latched)
    arm.observer.wait(lambda: any(
        status['state'] == 'HOLD'
        and 'QoS mismatch: someone on arm/joint_command' in status['message']
        for status in arm.observer.diagnostics), 'a hold', arm.node)
    arm.wait_for('RUNNING')


def test_violated_action_limits_are_counted_in_the_status(running):
    messages = pytest.importorskip('vla_ros_msgs.msg', reason='vla_ros_msgs is not built')
    arm, _ = running
    statuses = []
    arm.observer.listen(messages.VlaStatus, '/vla/status', RELIABLE, statuses.append)
    before = int(arm.wait_for('RUNNING')['action limit workspace'])
    arm.observer.instruct('far')
    assert int(arm.wait_for('HOLD', 'workspace')['action limit workspace']) > before

    def is_counted():
        if not statuses:
            return False
        counts = dict(zip(statuses[-1].action_limit_names, statuses[-1].action_limit_counts))
        return counts['workspace'] > before

    arm.observer.wait(is_counted, 'a status that counts it', arm.node)
    assert len(statuses[-1].action_limit_names) == len(statuses[-1].action_limit_counts) == 10
    assert statuses[-1].adapter == ''
    arm.observer.instruct('swing')
    arm.wait_for('RUNNING')


def test_the_hold_service_holds_until_a_rearm(running):
    arm, _ = running
    assert arm.call('hold').success
    arm.wait_for('HOLD', 'operator')
    assert_held(arm)
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')


def test_no_command_follows_the_acknowledgement_of_an_emergency_stop(running):
    """The release alone does not end the stop."""
    arm, _ = running
    received = []
    # It is not destroyed: rclpy does not support that while another thread spins.
    arm.observer.node.create_subscription(
        JointState, '/arm/joint_command',
        lambda message, info: received.append(info['source_timestamp']), RELIABLE)
    arm.wait_for_motion()
    arm.press()
    acknowledged = arm.wait_for('ESTOP', 'pressed')['stamp']
    assert not arm.call('rearm').success
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert received and max(received) <= acknowledged
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')
    arm.wait_for_motion()
