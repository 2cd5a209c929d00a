# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The receiver's thread survives exceptions and reports its end."""

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
    """Yield a node without an executor."""
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    found = rclpy.create_node('receiver', context=context)
    yield found
    found.destroy_node()
    context.try_shutdown()


def receive(node, take):
    """Start a receiver; return it, its publisher, and a queue of reasons of its end."""
    ended: queue.Queue = queue.Queue()
    subscription = node.create_subscription(Bool, 'topic', lambda _: None, 10,
                                            callback_group=LoopGroup())
    publisher = node.create_publisher(Bool, 'topic', 10)
    receiver = MessageReceiver(node, subscription, take, ended.put)
    return receiver, publisher, ended


def test_an_exception_of_the_callback_does_not_end_the_receiver(node):
    taken: queue.Queue = queue.Queue()

    def take(message):
        taken.put(message.data)
        raise ValueError('invalid message')
    receiver, publisher, ended = receive(node, take)
    for value in (True, False):
        publisher.publish(Bool(data=value))
        assert taken.get(timeout=DEADLINE) is value
    receiver.stop()
    assert ended.empty()


def test_an_exit_of_the_callback_is_reported(node):
    def take(message):
        raise SystemExit('a library exits')
    receiver, publisher, ended = receive(node, take)
    publisher.publish(Bool())
    assert isinstance(ended.get(timeout=DEADLINE), SystemExit)
    receiver.stop()
