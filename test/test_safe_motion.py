# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm between real processes: it moves as it should, and stops for every fault."""

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
    """Give an arm that swings, the same to all tests that leave it swinging."""
    with robot() as (arm, camera):
        arm.wait_for('RUNNING')
        yield arm, camera


def test_it_moves_within_its_limits(running):
    """Commands come at their rate, carry the image's frame, and never exceed a limit."""
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
    # The clock that commands follow is the node's; here only its mean is known.
    assert (np.abs(np.diff(positions, axis=0)) <= limits.velocity * 0.2).all()
    assert float(arm.wait_for('RUNNING')['command rate [Hz]']) > 50.0


def test_without_teleop_enabled_there_is_no_takeover_interface(running):
    """By default there is neither a topic nor a service of a takeover."""
    arm, _ = running
    node = arm.observer.node
    arm.observer.wait_for_match(arm.button, arm.node)
    for topic in ('deadman', 'joint_command', 'twist'):
        assert node.count_subscribers(f'/teleop/{topic}') == 0
    services = {name for name, _ in node.get_service_names_and_types()}
    assert f'{NODE}/rearm' in services and f'{NODE}/resume' not in services
    assert arm.wait_for('RUNNING')['control mode'] == 'AUTONOMOUS'


def test_a_killed_camera_holds_and_a_new_one_goes_on(running):
    """Within the age that is allowed."""
    arm, camera = running
    camera.kill()
    killed = time.monotonic()
    arm.wait_for('HOLD', 'stale image')
    assert time.monotonic() - killed < 2.0  # 0.5 s are allowed; bench_stop.py measures
    assert_held(arm)
    replacement = CameraProcess(arm.observer.context.get_domain_id())
    camera._process = replacement._process
    arm.wait_for('RUNNING')
    arm.wait_for_motion()


@pytest.mark.parametrize('mode', ['bgr8', 'mono8'])
def test_a_camera_may_change_its_encoding(running, mode):
    """A camera may change it while it runs."""
    arm, camera = running
    camera.set_mode(mode)
    arm.wait_for_motion()
    camera.set_mode('live')
    arm.wait_for('RUNNING')


def test_a_frozen_camera_holds(running):
    """The same pixels, though the arm has moved."""
    arm, camera = running
    arm.wait_for('RUNNING')
    camera.set_mode('freeze')
    arm.wait_for('HOLD', 'frozen image: the camera sends the same pixels')
    assert_held(arm)
    camera.set_mode('live')
    arm.wait_for('RUNNING')


def test_a_camera_that_repeats_its_image_holds(running):
    """The same image with its old stamp is stale soon."""
    arm, camera = running
    camera.set_mode('stuck')
    arm.wait_for('HOLD', 'image')
    camera.set_mode('live')
    arm.wait_for('RUNNING')


def test_silent_joints_hold_at_the_last_command(running):
    """And the arm goes on once they are heard again."""
    arm, _ = running
    arm.is_silent = True
    try:
        arm.wait_for('HOLD', 'stale joint states')
        with arm.observer.changed:
            heard = len(arm.observer.diagnostics)
        assert_held(arm)
        # Good answers go on coming, and none of them ends the hold for a moment.
        assert {said['state'] for said in arm.observer.diagnostics[heard:]} <= {'HOLD'}
    finally:
        arm.is_silent = False
    arm.wait_for('RUNNING')


@pytest.mark.parametrize('trouble, reason', [
    ('crash', 'policy error: RuntimeError: out of everything'), ('invalid', 'invalid tokens'),
    ('nan', 'not finite'), ('far', 'limit: the tip would be at'), ('beyond', 'unreachable')])
def test_an_invalid_result_holds_until_a_good_one(running, trouble, reason):
    """Whatever was wrong with it."""
    arm, _ = running
    arm.observer.instruct(trouble)
    arm.wait_for('HOLD', reason)
    assert_held(arm)
    arm.observer.instruct('swing')
    arm.wait_for('RUNNING')


@pytest.mark.parametrize('trouble, reason', [
    ('memory', 'out of memory'), ('jump', 'jump')])
def test_a_hold_for_the_operator_waits_for_a_rearm(running, trouble, reason):
    """Another instruction does not do."""
    arm, _ = running
    arm.observer.instruct(trouble)
    arm.wait_for('HOLD', reason)
    arm.observer.instruct('swing')
    said = arm.observer.diagnostics
    arm.observer.wait(lambda: said[-1]['instruction'] == 'swing', 'the instruction', arm.node)
    arm.wait_for('HOLD', '~/rearm')
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')


def test_a_publisher_with_another_qos_holds(running):
    """A driver that would never hear a command; until the next good answer."""
    arm, _ = running
    arm.wait_for('RUNNING')
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    arm.observer.node.create_subscription(JointState, '/arm/joint_command', print, latched)
    arm.observer.wait(lambda: any(
        said['state'] == 'HOLD' and 'QoS mismatch: someone on arm/joint_command' in said['message']
        for said in arm.observer.diagnostics), 'a hold', arm.node)
    arm.wait_for('RUNNING')


def test_violated_action_limits_are_counted_in_the_status(running):
    """By name, in the status and in the diagnostics."""
    messages = pytest.importorskip('vla_ros_msgs.msg', reason='vla_ros_msgs is not built')
    arm, _ = running
    statuses = []
    arm.observer.listen(messages.VlaStatus, '/vla/status', RELIABLE, statuses.append)
    before = int(arm.wait_for('RUNNING')['action limit workspace'])
    arm.observer.instruct('far')
    assert int(arm.wait_for('HOLD', 'workspace')['action limit workspace']) > before

    def counted():
        if not statuses:
            return False
        counts = dict(zip(statuses[-1].action_limit_names, statuses[-1].action_limit_counts))
        return counts['workspace'] > before

    arm.observer.wait(counted, 'a status that counts it', arm.node)
    assert len(statuses[-1].action_limit_names) == len(statuses[-1].action_limit_counts) == 10
    assert statuses[-1].adapter == ''
    arm.observer.instruct('swing')
    arm.wait_for('RUNNING')


def test_a_hold_by_the_operator_ends_with_rearm(running):
    """By two services."""
    arm, _ = running
    assert arm.call('hold').success
    arm.wait_for('HOLD', 'operator')
    assert_held(arm)
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')


def test_an_emergency_stop_ends_every_command(running):
    """Not one comes after the status that acknowledges it, and releasing is not enough."""
    arm, _ = running
    heard = []
    # It stays: rclpy does not bear that subscriptions go while another thread spins.
    arm.observer.node.create_subscription(
        JointState, '/arm/joint_command',
        lambda message, info: heard.append(info['source_timestamp']), RELIABLE)
    arm.wait_for_motion()
    arm.press()
    acknowledged = arm.wait_for('ESTOP', 'pressed')['stamp']
    assert not arm.call('rearm').success
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert heard and max(heard) <= acknowledged
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')
    arm.wait_for_motion()
