# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Floods of messages, malformed messages, and a killed node."""

import itertools
import signal
import time

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import HOME  # noqa: E402, I100
from arm_harness import JOINTS  # noqa: E402
from arm_harness import robot  # noqa: E402
from node_harness import NEWEST  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_msgs.msg import String  # noqa: E402


@pytest.fixture(scope='module')
def running():
    """Yield a moving arm."""
    with robot() as (arm, camera):
        arm.wait_for('RUNNING')
        yield arm, camera


def malformed_joint_states():
    """Yield joint states with differing lengths, not finite positions and long names."""
    nan, inf = float('nan'), float('inf')
    yield JointState()
    yield JointState(name=JOINTS)
    yield JointState(position=HOME)
    yield JointState(name=JOINTS, position=[nan] * 6)
    yield JointState(name=JOINTS, position=[inf] * 3)
    yield JointState(name=['x' * 10_000] * 20, position=[0.0] * 20)
    yield from (JointState(name=[f'joint_{number}'], position=[1.0]) for number in range(7, 2000))


def malformed_images():
    """Yield images with sizes that do not fit and unknown encodings."""
    for encoding, step, size in itertools.cycle([('rgb8', 0, 0), ('rgb8', 24, 191), ('', 24, 192),
                                                 ('no such encoding', 24, 192)]):
        image = Image(height=8, width=8, encoding=encoding, step=step)
        image.data.frombytes(bytes(size))
        yield image


def test_the_node_survives_ten_thousand_malformed_messages_on_every_topic(running):
    """The arm moves afterwards."""
    arm, _ = running
    node = arm.observer.node
    topics = [(node.create_publisher(Image, '/camera/image_raw', NEWEST), malformed_images()),
              (arm.states, itertools.cycle(malformed_joint_states())),
              (node.create_publisher(String, '/vla/instruction', 10),
               (String(data=text) for text in itertools.cycle(['\0', '', ' ' * 1000, '\n', '😀'])
                )),
              (node.create_publisher(Bool, '/arm/estop', 10),
               itertools.repeat(Bool(data=False)))]
    for publisher, _ in topics:
        arm.observer.wait_for_match(publisher, arm.node)
    for _ in range(10_000):
        for publisher, messages in topics:
            publisher.publish(next(messages))
    arm.observer.instruct('swing')
    arm.wait_for('RUNNING')
    arm.wait_for_motion()


def test_a_flood_of_instructions_does_not_delay_an_emergency_stop(running):
    """A thousand instructions a second are published."""
    arm, _ = running
    count = itertools.count()
    publisher = arm.observer.node.create_publisher(String, '/vla/instruction', 10)
    flood = arm.observer.node.create_timer(
        0.001, lambda: publisher.publish(String(data=f'swing {next(count)}')))
    arm.observer.wait(lambda: 'swing 500' <= arm.observer.diagnostics[-1]['instruction'], 'flood',
                      arm.node)
    pressed = time.monotonic()
    arm.press()
    arm.wait_for('ESTOP')
    assert time.monotonic() - pressed < 2.0
    arm.observer.node.destroy_timer(flood)
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert arm.call('rearm').success
    arm.observer.instruct('swing')
    arm.wait_for('RUNNING')


def test_commands_end_with_a_killed_node_and_a_new_one_starts_at_the_arms_position(running):
    """The first command of the new node is near the measured position."""
    arm, _ = running
    arm.wait_for_motion()
    arm.node.end(signal.SIGKILL)
    killed = time.monotonic()
    with arm.observer.changed:
        arm.observer.changed.wait(0.3)
        last = arm.commands[-1][0]
    # Commands on their way may be received late on a busy machine.
    assert last - killed < 0.8, 'commands of a dead node'
    rest = arm.vector()
    domain = arm.observer.context.get_domain_id()
    arm.node = type(arm.node)(domain, 'arm=0.02', {
        'robot.file': 'six_axis_arm', 'action.space': 'dataset', 'instruction': 'swing',
        'black_box.folder': '""'})
    try:
        first = arm.wait_for_commands(1)[0]
        positions = dict(zip(first.name, first.position))
        assert max(abs(positions[name] - rest[index]) for index, name in enumerate(JOINTS)) < 0.02
        arm.wait_for_motion()
    finally:
        arm.node.end(signal.SIGKILL)
