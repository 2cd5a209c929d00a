# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The camera's thread does not end in silence."""

import queue

import pytest

rclpy = pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from rclpy.context import Context  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from vla_ros.ros.message_receiver import MessageReceiver  # noqa: E402
from vla_ros.ros.motion_loop import LoopGroup  # noqa: E402

DEADLINE = 20.0


@pytest.fixture
def node():
    """Give a node that nobody spins."""
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    found = rclpy.create_node('receiver', context=context)
    yield found
    found.destroy_node()
    context.try_shutdown()


def receive(node, take):
    """Start a receiver; give it, its publisher, and what ends it."""
    ended: queue.Queue = queue.Queue()
    subscription = node.create_subscription(Bool, 'topic', lambda _: None, 10,
                                            callback_group=LoopGroup())
    publisher = node.create_publisher(Bool, 'topic', 10)
    receiver = MessageReceiver(node, subscription, take, ended.put)
    return receiver, publisher, ended


def test_a_message_that_cannot_be_taken_does_not_end_the_receiver(node):
    taken: queue.Queue = queue.Queue()

    def take(message):
        taken.put(message.data)
        raise ValueError('not this one')
    receiver, publisher, ended = receive(node, take)
    for word in (True, False):
        publisher.publish(Bool(data=word))
        assert taken.get(timeout=DEADLINE) is word
    receiver.stop()
    assert ended.empty()


def test_the_reason_of_its_end_is_reported(node):
    def take(message):
        raise SystemExit('a library has had enough')
    receiver, publisher, ended = receive(node, take)
    publisher.publish(Bool())
    assert isinstance(ended.get(timeout=DEADLINE), SystemExit)
    receiver.stop()
