# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A teleoperator takes the arm over and resumes the policy, with real processes."""

from contextlib import contextmanager
import math
import os
import signal
import subprocess
import sys

import arms
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import JOINTS  # noqa: E402, I100
from arm_harness import robot  # noqa: E402
import rclpy  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from sensor_msgs.msg import Joy  # noqa: E402
from teleop_harness import assert_rests  # noqa: E402
from teleop_harness import Commanded  # noqa: E402
from teleop_harness import joints  # noqa: E402
from teleop_harness import Teleoperator  # noqa: E402
from teleop_harness import twist  # noqa: E402
from vla_ros.motion.kinematics import Kinematics  # noqa: E402

ARM = arms.six_axis_arm()
#: Upper limit of joint_1 in rad: narrower than the robot's, and below commands of the tests.
UPPER = 0.9
TIMEOUT = 0.5


@pytest.fixture(scope='module')
def running():
    """Yield a moving arm and a teleoperator for all tests."""
    limits = f'[{UPPER}, .nan, .nan, .nan, .nan, .nan, .nan]'
    with robot(teleop__enabled='true', teleop__timeout=str(TIMEOUT),
               limits__upper=limits) as (arm, _):
        teleoperator = Teleoperator(arm)
        arm.wait_for('RUNNING')
        yield arm, teleoperator


@pytest.fixture
def taken(running):
    """Yield the arm in a takeover and at rest; resume the policy afterwards."""
    arm, teleoperator = running
    teleoperator.command = lambda: None
    teleoperator.take_over()
    teleoperator.hold_still()
    arm.wait_for('RUNNING')
    arm.observer.wait(lambda: np.ptp([message.position for _, message in arm.commands[-20:]],
                                     axis=0).max() < 1e-4, 'rest', arm.node)
    yield arm, teleoperator
    teleoperator.release()
    if arm.observer.diagnostics[-1]['state'] == 'ESTOP':
        arm.press(False)
        arm.wait_for('ESTOP', 'released')
        assert arm.call('rearm').success
    assert teleoperator.resume().success
    arm.wait_for('RUNNING')


def test_a_takeover_and_its_end_cause_no_jump(running):
    """The policy moves, then the teleoperator, then nobody, then the policy again."""
    arm, teleoperator = running
    commanded = Commanded(arm)
    arm.wait_for_motion()
    teleoperator.take_over()
    end = teleoperator.go([0.25, -0.2, 0.2, 0.0, 0.2, 0.3])
    arm.observer.wait(lambda: np.abs(arm.vector() - end).max() < 1e-3, 'the goal', arm.node)
    assert arm.wait_for('RUNNING')['control mode'] == 'TAKEOVER'
    assert not teleoperator.resume().success  # the deadman is held
    teleoperator.command = lambda: twist('base_link', y=-0.1)
    arm.observer.wait(lambda: np.abs(arm.vector() - end).max() > 0.1, 'a twist', arm.node)
    teleoperator.release()  # during a motion
    assert arm.wait_for('WAITING', 'paused after a takeover: call ~/resume')
    assert_rests(arm)
    inferred = arm.wait_for('WAITING')['frames received']
    assert int(inferred) > 0
    assert teleoperator.resume().success
    status = arm.wait_for('RUNNING')
    assert status['control mode'] == 'AUTONOMOUS'
    arm.wait_for_motion()
    assert commanded.received[-1][1].header.frame_id == 'camera'
    commanded.assert_smooth(ARM.limits)


@pytest.mark.parametrize('frame', [ARM.base_frame, ARM.tip_frame])
def test_a_twist_is_along_the_axes_of_its_frame(taken, frame):
    arm, teleoperator = taken
    kinematics = Kinematics(ARM)
    before = kinematics.pose(arm.vector())
    teleoperator.command = lambda: twist(frame, y=0.05)
    arm.observer.wait(lambda: np.linalg.norm(
        kinematics.pose(arm.vector()).position - before.position) > 0.02, 'a motion', arm.node)
    motion = kinematics.pose(arm.vector()).position - before.position
    axis = np.array([0.0, 1.0, 0.0]) if frame == ARM.base_frame else before.rotation[:, 1]
    assert motion @ axis / np.linalg.norm(motion) > 0.99


def stamped(arm, *seconds):
    """Return commands with stamps at these offsets from the present, in turn."""
    here, turns = arm.vector(), iter(range(10 ** 9))

    def command():
        message = joints(here)
        offset = seconds[next(turns) % len(seconds)]
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(
            arm.observer.node.get_clock().now().nanoseconds + round(1e9 * offset), 10 ** 9)
        return message
    return command


INVALID_COMMANDS = (
    (lambda arm: lambda: joints([math.nan] * 6), 'not finite'),
    (lambda arm: lambda: joints([0.0] * 6, [*JOINTS[:5], 'elbow']), 'elbow is no joint'),
    (lambda arm: lambda: joints([0.0] * 5), '6 names and 5 positions'),
    (lambda arm: lambda: joints(arm.vector() + 0.4), 'away from the arm, teleop.max_distance'),
    (lambda arm: lambda: twist('world', x=0.1), "a twist in the frame 'world'"),
    (lambda arm: lambda: twist('base_link', x=90.0), 'limit: the tip would be at'),
    (lambda arm: stamped(arm, -3.0), 'the stamp of a command is 3.'),
    (lambda arm: stamped(arm, 0.0, -0.2, -0.2), 'before the one that came before it'),
    (lambda arm: lambda: None, 'no command for'))


def test_an_invalid_command_holds_until_a_valid_one(taken):
    arm, teleoperator = taken
    before = arm.vector()
    for make, reason in INVALID_COMMANDS:
        teleoperator.command = make(arm)
        arm.observer.wait(lambda: reason in arm.observer.diagnostics[-1]['message'], reason,
                          arm.node)
        status = arm.observer.diagnostics[-1]
        assert status['state'] == 'HOLD' and '\n' not in status['message']
        assert np.abs(arm.vector() - before).max() < 1e-3
        teleoperator.hold_still()
        assert arm.wait_for('RUNNING')['control mode'] == 'TAKEOVER'


def test_a_takeover_stays_within_the_limits(taken):
    arm, teleoperator = taken
    commanded = Commanded(arm)
    teleoperator.command = lambda: joints(arm.vector() + [0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    arm.observer.wait(lambda: arm.vector()[0] > UPPER - 1e-4, 'the limit', arm.node)
    arm.wait_for_commands(30)
    assert max(message.position[0] for _, message in commanded.received) <= UPPER
    commanded.assert_smooth(ARM.limits)
    teleoperator.command = lambda: joints(arm.vector() - [0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    arm.observer.wait(lambda: arm.vector()[0] < 0.2, 'the way back', arm.node)


def test_a_deadman_that_falls_silent_pauses_and_its_return_moves_nothing(running):
    arm, teleoperator = running
    teleoperator.take_over()
    teleoperator.command = lambda: twist('base_link', y=0.02)
    arm.wait_for('RUNNING')
    teleoperator.deadman = None
    teleoperator.wait_for('PAUSED')
    teleoperator.deadman = True  # as after a lost network
    assert_rests(arm)
    assert arm.observer.diagnostics[-1]['control mode'] == 'PAUSED'
    teleoperator.take_over()
    arm.wait_for('RUNNING')
    teleoperator.release()
    assert teleoperator.resume().success
    arm.wait_for('RUNNING')


def test_an_emergency_stop_ends_a_takeover(taken):
    """No command follows the stop, and its release moves nothing."""
    arm, teleoperator = taken
    commanded = Commanded(arm)
    teleoperator.command = lambda: twist('base_link', y=0.02)
    arm.wait_for_commands(20)
    arm.press()
    status = arm.wait_for('ESTOP', 'pressed')
    assert status['control mode'] == 'PAUSED'
    refusals = sum('a deadman that is pressed is refused' in line for line in arm.node.errors)
    teleoperator.press()  # without effect
    arm.observer.poll(lambda: sum('a deadman that is pressed is refused' in line
                                  for line in arm.node.errors) > refusals, 'a refusal', arm.node)
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert max(time for time, _ in commanded.received) * 1e9 <= status['stamp']
    before = arm.vector()
    assert arm.call('rearm').success
    arm.wait_for('WAITING', 'paused')
    assert (arm.vector() == before).all()


def test_a_second_teleoperator_is_refused_during_a_takeover(taken):
    arm, teleoperator = taken
    other_node = rclpy.create_node('other', context=arm.observer.context)
    other = Teleoperator(arm, other_node)
    before = arm.vector()
    other.command = lambda: joints(before + 0.2)
    other.press()
    for refusal in ('commands of /other on /teleop/joint_command are refused: /observer holds the '
                    'deadman', 'another teleoperator holds the arm'):
        arm.observer.poll(lambda: any(refusal in line for line in arm.node.errors), refusal,
                          arm.node)
    assert np.abs(arm.vector() - before).max() < 1e-3
    assert arm.wait_for('RUNNING')['control mode'] == 'TAKEOVER'
    other.deadman, other.command = None, lambda: None
    # Its publishers stay: rclpy does not support their destruction while another thread spins.


def test_a_task_is_refused_during_a_takeover(taken):
    arm, _ = taken
    messages = pytest.importorskip('vla_ros_msgs.srv', reason='vla_ros_msgs is not built')
    request = messages.StartTask.Request()
    request.instruction, request.timeout, request.success = 'swing', 5.0, 'timeout'
    response = arm.observer.call(messages.StartTask, '/vla_inference_node/start_task', request,
                                 arm.node)
    assert 'TAKEOVER by a teleoperator' in str(response)


@contextmanager
def teleop_process(arm, device, *parameters):
    """Run ``vla_teleop`` as a process; yield the stream of its keys."""
    command = [sys.executable, '-m', 'vla_ros.cli.teleop', device, '--ros-args']
    for one in parameters:
        command += ['-p', one]
    environment = {**os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                   'ROS_DOMAIN_ID': str(arm.observer.context.get_domain_id())}
    process = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE)
    try:
        arm.observer.poll(lambda: 'vla_teleop' in arm.observer.node.get_node_names(),
                          'vla_teleop on the graph', arm.node)
        yield process.stdin
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def engage(arm, hold):
    """Release and press a deadman in turn until the node has discovered it."""
    turns = iter(range(10 ** 9))

    def is_taken_over():
        is_held = next(turns) % 100 >= 50
        hold(is_held)
        return is_held and arm.observer.diagnostics[-1]['control mode'] == 'TAKEOVER'

    arm.observer.poll(is_taken_over, 'a takeover', arm.node)


def test_a_keyboard_takes_over_moves_the_arm_and_resumes_the_policy(running):
    arm, teleoperator = running
    start = Kinematics(ARM)
    with teleop_process(arm, 'keyboard') as keys:
        def press(key):
            keys.write(key)
            keys.flush()

        engage(arm, lambda is_held: press('t' if is_held else 'x'))
        before = start.pose(arm.vector()).position

        def is_moved():
            press('r')
            return start.pose(arm.vector()).position[2] - before[2] > 0.01

        arm.observer.poll(is_moved, 'a motion upwards', arm.node)
        press('x')
        teleoperator.wait_for('PAUSED')

        def is_given_back():
            # Repeated, as the program advises before it has discovered the service.
            press('c')
            return arm.observer.diagnostics[-1]['control mode'] == 'AUTONOMOUS'

        arm.observer.poll(is_given_back, 'the policy', arm.node)
        arm.wait_for('RUNNING')


def test_the_arm_follows_a_leader_arm_with_a_pedal(running):
    arm, teleoperator = running
    node = arm.observer.node
    leader = node.create_publisher(JointState, '/leader/joint_states', 10)
    pedal = node.create_publisher(Joy, '/joy', 10)
    names = [f'motor_{index}' for index in range(6)]
    # The leader arm stays at the position of the arm until it leads.
    person = {'buttons': [0], 'leads_to': None}

    def publish():
        goal = arm.vector() if person['leads_to'] is None else person['leads_to']
        leader.publish(joints(goal, names))
        pedal.publish(Joy(axes=[], buttons=person['buttons']))

    node.create_timer(0.02, publish)
    with teleop_process(arm, 'leader', 'joy.deadman:=0',
                        f'leader.joints:=[{", ".join(names)}]'):
        for publisher in (leader, pedal):
            arm.observer.wait_for_match(publisher, arm.node)
        engage(arm, lambda is_held: person.update(buttons=[int(is_held)]))
        goal = person['leads_to'] = arm.vector() + 0.15
        arm.observer.wait(lambda: np.abs(arm.vector() - goal).max() < 1e-3, 'the goal', arm.node)
        person['buttons'] = [0]
        teleoperator.wait_for('PAUSED')
    assert teleoperator.resume().success
    arm.wait_for('RUNNING')
