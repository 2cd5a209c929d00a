# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The software stop of the operator page: a publisher of the emergency stop."""

import threading

from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from std_msgs.msg import Bool

from vla_ros.ros.command_publisher import QUIET

#: With ten, a press is not replaced by its release before it was sent.
_PROFILE = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
#: Seconds between two messages while pressed: a node that starts later receives one, too.
_REPEAT_PERIOD = 0.1
#: Seconds in which a release is to be acknowledged.
_ACKNOWLEDGE = 0.5


class StopButton:
    """
    A button on ``arm/estop`` that is silent until it is pressed.

    A silent publisher is no emergency stop that was heard, so that the page never stands in for
    the one that ``safety.require_estop`` waits for. A released one leaves the graph, and a new
    one takes its place: it does not have to go on saying something for ``safety.estop_timeout``,
    and where publishers cannot be told apart (Humble, Jazzy) it never speaks for another.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._pressed = False
        self._publisher = self._advertise()
        node.create_timer(_REPEAT_PERIOD, self._repeat, clock=Clock(
            clock_type=ClockType.STEADY_TIME))

    @property
    def is_pressed(self) -> bool:
        """Whether it is pressed."""
        return self._pressed

    def count_listeners(self) -> int:
        """Count the subscriptions that receive it."""
        return self._publisher.get_subscription_count()

    def press(self) -> None:
        """Press it, in the caller's thread."""
        with self._lock:
            self._pressed = True
            self._publisher.publish(Bool(data=True))

    def release(self) -> None:
        """Release it; wait until the message was acknowledged."""
        with self._lock:
            if not self._pressed:
                return
            self._pressed = False
            released = self._publisher
            released.publish(Bool(data=False))
            self._publisher = self._advertise()
        released.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGE))
        self._node.destroy_publisher(released)

    def _advertise(self) -> Publisher:
        return self._node.create_publisher(Bool, 'arm/estop', _PROFILE, event_callbacks=QUIET)

    def _repeat(self) -> None:
        with self._lock:
            if self._pressed:
                self._publisher.publish(Bool(data=True))
